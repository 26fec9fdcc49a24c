"""The event log in one SQLite file, or in the memory of one process."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import msgspec

from ...config.databases import DATABASES, is_in_memory, no_log
from ...config.settings import DatabaseSettings
from .log import SQLiteLog
from .memory import MEMORY, MemoryLog

__all__ = ["SQLiteLog"]

_PREFIX = "sqlite:///"
# The version of SQLite in which connections can share a database in memory.
_MEMORY_SINCE = (3, 36)


class SQLiteDatabase:
    """A :class:`~flask_sse_sink.config.databases.DatabaseKind`: ``sqlite:///`` and a path.

    The path ``:memory:`` stands for the memory of one process.
    """

    has_replicas = False

    def check(self, settings: DatabaseSettings) -> str:
        path = settings.url.removeprefix(_PREFIX)
        if is_in_memory(settings) and sqlite3.sqlite_version_info < _MEMORY_SINCE:
            return (
                f"SQLite {sqlite3.sqlite_version} can't keep a log in memory, 3.36 can; "
                "name a file"
            )
        is_path = settings.url.startswith(_PREFIX) and path.strip("/") not in ("", MEMORY)
        return "" if is_path or is_in_memory(settings) else no_log(settings)

    def resolved(self, settings: DatabaseSettings, base: Path) -> DatabaseSettings:
        if is_in_memory(settings):
            return settings
        path = base / settings.url.removeprefix(_PREFIX)
        return msgspec.structs.replace(settings, url=f"{_PREFIX}{path}")

    def open(self, settings: DatabaseSettings) -> SQLiteLog:
        if is_in_memory(settings):
            return MemoryLog()
        return SQLiteLog(settings.url.removeprefix(_PREFIX))


DATABASES.register("sqlite", SQLiteDatabase())
