"""Tests with real servers, sockets, processes, Redis and clients."""
