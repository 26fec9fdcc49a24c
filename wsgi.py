"""The server's WSGI app: ``gunicorn wsgi:app`` or ``flask --app wsgi run``."""

from flask_sse_sink.server.wsgi import app

__all__ = ["app"]
