"""What ``gunicorn --worker-class flask_sse_sink.worker.StreamWorker`` imports."""

from .server.worker import StreamWorker

__all__ = ["StreamWorker"]
