"""Tests in this process: no server, no Redis, and nothing that is waited for."""
