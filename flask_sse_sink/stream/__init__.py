"""One SSE stream, from its request to its last byte."""
