"""The event log in one SQLite file."""

from __future__ import annotations

from pathlib import Path

import msgspec

from ...config.databases import DATABASES, no_log
from ...config.settings import DatabaseSettings
from .log import SQLiteLog

__all__ = ["SQLiteLog"]

_PREFIX = "sqlite:///"


class SQLiteDatabase:
    """A :class:`~flask_sse_sink.config.databases.DatabaseKind`: ``sqlite:///`` and a path."""

    has_replicas = False

    def check(self, settings: DatabaseSettings) -> str:
        path = settings.url.removeprefix(_PREFIX)
        is_file = settings.url.startswith(_PREFIX) and path.strip("/") not in ("", ":memory:")
        return "" if is_file else no_log(settings)

    def resolved(self, settings: DatabaseSettings, base: Path) -> DatabaseSettings:
        path = base / settings.url.removeprefix(_PREFIX)
        return msgspec.structs.replace(settings, url=f"{_PREFIX}{path}")

    def open(self, settings: DatabaseSettings) -> SQLiteLog:
        return SQLiteLog(settings.url.removeprefix(_PREFIX))


DATABASES.register("sqlite", SQLiteDatabase())
