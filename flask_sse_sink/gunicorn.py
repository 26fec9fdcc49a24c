"""What ``gunicorn.conf.py`` imports: gunicorn's settings, made from the configuration file."""

from .server.configuration import configure

__all__ = ["configure"]
