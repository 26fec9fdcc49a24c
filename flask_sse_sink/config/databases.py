"""The kinds of database that a log can be in, by the scheme of ``database.url``.

The configuration and :func:`~flask_sse_sink.log.open_log` ask this registry. To add a kind of
log, register a :class:`DatabaseKind` under its scheme.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from ..registry import Registry
from .settings import DatabaseSettings
from .values import show


class DatabaseKind(Protocol):
    """What there is to know of one kind of database before a log is opened in it."""

    @property
    def has_replicas(self) -> bool:
        """Return whether ``database.replicas`` may be set."""

    def check(self, settings: DatabaseSettings) -> str:
        """Return what is wrong with ``database.url`` and the cure, ``""`` if it is right."""

    def resolved(self, settings: DatabaseSettings, base: Path) -> DatabaseSettings:
        """Return the settings with a relative path in the URL taken from the folder ``base``."""

    def open(self, settings: DatabaseSettings) -> Any:
        """Return the :class:`~flask_sse_sink.log.EventLog` that the settings name.

        Nothing is opened before the log is used.

        :raises ConfigError: a library that it needs isn't installed, or doesn't take an option.
        """


#: The URL of a log in the memory of one process.
MEMORY_URL = "sqlite:///:memory:"

#: Every kind of database, by the scheme of its URLs.
DATABASES: Registry[DatabaseKind] = Registry("kind of database")


def scheme_of(settings: DatabaseSettings) -> str:
    """Return what stands before ``://`` in the URL."""
    return settings.url.partition("://")[0]


def is_in_memory(settings: DatabaseSettings) -> bool:
    """Return whether the log is in the memory of the process that opens it."""
    return settings.url == MEMORY_URL


def no_log(settings: DatabaseSettings) -> str:
    """Return the message for a URL that no kind of database takes."""
    return (
        f"{show(settings.url)} is not a log; write sqlite:/// and a file's path, "
        "e.g. sqlite:///data/events.db, or e.g. redis://host:6379/0"
    )
