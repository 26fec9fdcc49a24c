"""What ``gunicorn.conf.py`` imports: gunicorn's settings, made from the configuration file."""

from .server.gunicorn import configure

__all__ = ["configure"]
