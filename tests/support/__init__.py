"""What the tests share: servers, streams and what reads them, Redis, and measurements."""
