"""The event log in Redis Streams."""
