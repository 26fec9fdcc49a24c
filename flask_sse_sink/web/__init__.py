"""HTTP endpoints other than the streams: ingest, health, metrics, the front page."""
