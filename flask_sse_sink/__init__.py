"""Stream events from a Python backend over Server-Sent Events.

:class:`SSESink` is the Flask extension, :func:`create_app` the ready server.
"""

from .access.grants import Grants
from .event import Event, Source
from .exceptions import (
    ConfigError,
    InvalidEvent,
    LogUnavailable,
    LogUnusable,
    SSESinkError,
    TooManyClients,
)
from .extension import SSESink
from .server.app import create_app
from .signals import client_connected, client_disconnected, events_stored
from .version import __version__ as __version__
from .web.browser_module import browser_module

__all__ = [
    "ConfigError",
    "Event",
    "Grants",
    "InvalidEvent",
    "LogUnavailable",
    "LogUnusable",
    "SSESink",
    "SSESinkError",
    "Source",
    "TooManyClients",
    "browser_module",
    "client_connected",
    "client_disconnected",
    "create_app",
    "events_stored",
]
