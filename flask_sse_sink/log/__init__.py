"""The event log: every event is stored once, in one order, and read by every process.

:class:`EventLog` is what the rest of the package knows of a log. The kinds of log register
themselves by their URLs' schemes, in :data:`~flask_sse_sink.config.databases.DATABASES`.
"""

from __future__ import annotations

from ..config.databases import DATABASES, no_log, scheme_of
from ..config.settings import DatabaseSettings
from ..exceptions import ConfigError
from . import redis, sqlite  # noqa: F401 # they register themselves
from .protocol import Appended, EventLog, LogStatus, Page, Record, StoredEnvelope

__all__ = [
    "Appended",
    "EventLog",
    "LogStatus",
    "Page",
    "Record",
    "StoredEnvelope",
    "open_log",
]


def open_log(settings: DatabaseSettings) -> EventLog:
    """Return the log that the settings name. Nothing is opened before the log is used.

    :raises ConfigError: the URL names no log, a library that the log needs isn't installed, or
        that library doesn't take an option.
    """
    kind = DATABASES.get(scheme_of(settings))
    if kind is None:
        raise ConfigError(f"database.url: {no_log(settings)}")
    log: EventLog = kind.open(settings)
    return log
