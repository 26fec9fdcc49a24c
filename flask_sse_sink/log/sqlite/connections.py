"""The connections to the SQLite file: opening them, lending them, closing them after an error."""

from __future__ import annotations

import contextlib
import os
import random
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from ...exceptions import LogUnavailable, LogUnusable
from .errors import LOCK_SECONDS, no_folder, translated
from .schema import SCHEMA

#: Opens a connection, as :func:`sqlite3.connect` does.
Connect = Callable[..., sqlite3.Connection]


class Connection:
    """One connection, which its first use opens and an error closes: the next use opens another.

    A thread uses the connection only while it holds ``lock``.
    """

    def __init__(
        self, path: Path, open: Callable[[], sqlite3.Connection], lock_seconds: float
    ) -> None:
        self._lock_seconds = lock_seconds
        self.lock = threading.Lock()
        self._path = path
        self._open = open
        self._db: sqlite3.Connection | None = None

    @property
    def is_open(self) -> bool:
        """Return whether it is open now."""
        return self._db is not None

    @contextlib.contextmanager
    def lend(self) -> Iterator[sqlite3.Connection]:
        """Lend the connection for single statements.

        :raises LogUnavailable: SQLite failed.
        """
        with self.lock, self._errors() as db:
            yield db

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[sqlite3.Connection]:
        """Lend the connection to read: every statement sees the log as of the same moment.

        :raises LogUnavailable: SQLite failed.
        """
        with self.lock, self._errors() as db:
            db.execute("BEGIN")
            try:
                yield db
            finally:
                db.execute("COMMIT")

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Lend the connection to write, all or nothing. The caller holds :attr:`lock`.

        :raises LogUnavailable: SQLite failed, and nothing was written.
        """
        with self._errors() as db:
            _begin(db, self._lock_seconds)
            try:
                yield db
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise

    def close(self) -> None:
        """Close it if it is open. The caller holds :attr:`lock`."""
        db, self._db = self._db, None
        if db is not None:
            with contextlib.suppress(sqlite3.Error):
                db.close()

    @contextlib.contextmanager
    def _errors(self) -> Iterator[sqlite3.Connection]:
        """Lend the connection, close it after an error, and translate that."""
        try:
            if self._db is None:
                self._db = self._open()
            yield self._db
        except (sqlite3.Error, OSError) as error:
            self.close()
            raise translated(error, self._path) from error


class Connections:
    """The log's three connections to one file.

    ``writer`` writes, ``reader`` reads new events, and ``replayer`` reads old ones. They are
    separate, so that a long replay delays neither of the others.
    """

    def __init__(
        self, path: Path, connect: Connect = sqlite3.connect, lock_seconds: float = LOCK_SECONDS
    ) -> None:
        self.path = path
        self._connect = connect
        self._lock_seconds = lock_seconds
        self._opening = threading.Lock()
        # Device and inode of the open file.
        self._file: tuple[int, int] | None = None
        self.writer = Connection(path, self._open_writer, lock_seconds)
        self.reader = Connection(path, self._open, lock_seconds)
        self.replayer = Connection(path, self._open, lock_seconds)

    def inspect(self) -> None:
        """Check the file without creating it; keeps nothing open.

        :raises LogUnusable: it can't be a log of this version.
        """
        try:
            if self.path.is_dir():
                raise LogUnusable(f"{self.path}: is a folder; name a file in it in database.url")
            if not self.path.is_file() or not self.path.stat().st_size:
                return
        except OSError as error:
            raise LogUnusable(
                f"{self.path}: {error.strerror}; name another file in database.url"
            ) from error
        try:
            uri = f"{self.path.absolute().as_uri()}?mode=ro"
            with contextlib.closing(sqlite3.connect(uri, uri=True)) as db:
                SCHEMA.check(db, self.path)
        except (sqlite3.Error, OSError) as error:
            raise translated(error, self.path) from error

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Lend the writer, all or nothing. The caller holds ``writer.lock``.

        :raises LogUnavailable: SQLite failed, or another file is in the place of the open one.
        """
        self._refuse_replaced()
        with self.writer.transaction() as db:
            yield db

    def close(self) -> None:
        """Close all three."""
        for connection in (self.writer, self.reader, self.replayer):
            with connection.lock:
                connection.close()

    def _refuse_replaced(self) -> None:
        """Refuse to go on where the path no longer leads to the file that is open."""
        is_open = self.writer.is_open or self.reader.is_open
        if is_open and self._file != self._file_there():
            raise LogUnavailable(
                f"{self.path}: the file was removed or replaced while it was open; "
                "put it back, or restart every worker",
                "the event log was removed or replaced",
            )

    def _file_there(self) -> tuple[int, int] | None:
        try:
            status = os.stat(self.path)
        except OSError:
            return None
        return status.st_dev, status.st_ino

    def _open(self) -> sqlite3.Connection:
        with self._opening:
            self._refuse_replaced()
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise no_folder(error, self.path) from error
            db = self._connect(
                self.path,
                timeout=self._lock_seconds,
                isolation_level=None,
                check_same_thread=False,
            )
            try:
                SCHEMA.check(db, self.path)
                self._use_wal(db)
                # Each commit is on the disk before it is answered.
                db.execute("PRAGMA synchronous = FULL")
                if SCHEMA.prepare(db, self.path):
                    _sync_folder(self.path.parent)
            except BaseException:
                db.close()
                raise
            self._file = self._file_there()
            return db

    def _open_writer(self) -> sqlite3.Connection:
        db = self._open()
        # Where another process writes, _begin() waits for it. A database in memory has no
        # write-ahead log, and its commits wait for those who read.
        if db.execute("PRAGMA journal_mode").fetchone()[0] == "wal":
            db.execute("PRAGMA busy_timeout = 0")
        return db

    def _use_wal(self, db: sqlite3.Connection) -> None:
        """Switch to write-ahead logging.

        Where another process does the same now, SQLite fails at once instead of waiting.
        """
        deadline = time.monotonic() + self._lock_seconds
        while True:
            try:
                db.execute("PRAGMA journal_mode = WAL")
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                    raise
                time.sleep(0.01)
            else:
                return


def _begin(db: sqlite3.Connection, lock_seconds: float) -> None:
    """Begin to write, once no other process does.

    SQLite itself waits in steps of up to 100 ms, in which the other processes write again and
    again. So it isn't left to SQLite: the connection's own timeout is 0.
    """
    deadline = 0.0
    while True:
        try:
            db.execute("BEGIN IMMEDIATE")
            return
        except sqlite3.OperationalError as error:
            now = time.monotonic()
            deadline = deadline or now + lock_seconds
            # The code's upper bits say why it is busy.
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or now > deadline:
                raise
            time.sleep(random.uniform(0.0002, 0.001))


def _sync_folder(path: Path) -> None:
    # The name of a new file is on the disk only once its folder is.
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
