"""The event log in the memory of one process: for tests and tries, as it ends with the process."""

from __future__ import annotations

import secrets
import sqlite3
import threading
from pathlib import Path
from typing import Any

from .errors import LOCK_SECONDS
from .log import SQLiteLog

#: What stands for a file's path in the URL of a log in memory.
MEMORY = ":memory:"


class MemoryLog(SQLiteLog):
    """A :class:`SQLiteLog` in a database of its own, which :meth:`close` deletes.

    SQLite's "memdb" is a file system in memory: the log's connections share a database as they
    share a file, with the same locks. It begins with SQLite 3.36.
    """

    def __init__(self, lock_seconds: float = LOCK_SECONDS) -> None:
        self._database = MemoryDatabase()
        super().__init__(MEMORY, self._database.connect, lock_seconds, _OneProcess())

    def inspect(self) -> None:
        """Do nothing: there is no file to check."""

    def close(self) -> None:
        super().close()
        self._database.close()
        # The next use begins with an empty log.
        self._recent.clear()


class MemoryDatabase:
    """A database in memory, which is there from the first connection until :meth:`close`."""

    def __init__(self) -> None:
        self._uri = f"file:/{secrets.token_hex(8)}?vfs=memdb"
        # SQLite deletes a database that nothing is connected to, also one whose connections were
        # closed after an error.
        self._keeper: sqlite3.Connection | None = None

    def connect(self, path: Path, **options: Any) -> sqlite3.Connection:
        if self._keeper is None:
            self._keeper = self._open(check_same_thread=False)
            # An open connection to a file without a page isn't enough.
            self._keeper.execute("PRAGMA user_version").fetchone()
        return self._open(**options)

    def close(self) -> None:
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            keeper.close()

    def _open(self, **options: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = sqlite3.connect(self._uri, uri=True, **options)
        return connection


class _OneProcess:
    """What a :class:`Notifier` is where no other process can share the log."""

    def __init__(self) -> None:
        self._notified = threading.Event()

    def listen(self) -> None:
        pass

    def notify(self, *, this_process: bool = False) -> None:
        if this_process:
            self._notified.set()

    def wait(self, timeout: float) -> bool:
        was_notified = self._notified.wait(timeout)
        self._notified.clear()
        return was_notified

    def close(self) -> None:
        pass
