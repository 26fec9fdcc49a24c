"""The event log in one SQLite file: one machine, many workers.

Write-ahead logging with ``synchronous=FULL``: a commit is on the disk before it is answered.
SQLite admits one writer at a time, so that ids, given inside the transaction, rise in the order
of commits. Producers that wait while another commits share the next commit.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from msgspec import Raw

from ..event import Event, NewEvent, Source
from ..exceptions import LogUnavailable, LogUnusable
from . import Appended
from .doorbell import Doorbell

# "sse1" as a number: tells our files from other programs'.
APPLICATION_ID = 0x73736531
SCHEMA_VERSION = 1
LOCK_SECONDS = 5.0

# AUTOINCREMENT keeps the highest id ever given, so that none comes back after a prune.
_SCHEMA = """
CREATE TABLE sources (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
) STRICT;
CREATE TABLE events (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    source_id INTEGER NOT NULL REFERENCES sources (id),
    event_id TEXT NOT NULL,
    event_type TEXT NOT NULL,
    entity_id TEXT,
    created_at INTEGER NOT NULL, -- microseconds since the epoch
    occurred_at TEXT,
    data TEXT NOT NULL,
    meta TEXT NOT NULL,
    UNIQUE (source_id, event_id)
) STRICT;
CREATE TABLE probe (id INTEGER PRIMARY KEY, at INTEGER NOT NULL) STRICT;
"""

_CURES = {
    "SQLITE_FULL": "the disk is full; free some space",
    "SQLITE_BUSY": f"another program has held the file for {LOCK_SECONDS:g} s; end that program",
    "SQLITE_LOCKED": "another connection holds the file; try again",
    "SQLITE_READONLY": "the file or its folder can't be written; give this user the right to",
    "SQLITE_CANTOPEN": "the file can't be opened; make its folder, and give this user the right "
    "to read and write it",
    "SQLITE_PERM": "the file can't be opened; give this user the right to read and write it",
    "SQLITE_IOERR": "the disk doesn't take or give data; see the system's log, and its free space",
}
_DAMAGE = {
    "SQLITE_CORRUPT": "the file is damaged; restore a copy, or move it away to begin anew "
    "(the `.recover` command of sqlite3 saves what can be saved)",
    "SQLITE_NOTADB": "the file is no SQLite database; name another in database.url",
}


class _Batch:
    """One producer's events, waiting for the commit that they share with other producers'."""

    def __init__(self, events: Sequence[NewEvent]) -> None:
        self.events = events
        self.result: Appended | None = None
        self.failure: LogUnavailable | None = None


class SQLiteLog:
    """An :class:`~flask_sse_sink.log.EventLog` in the file ``path``, made where there is none.

    One connection writes and one reads, each behind a lock of its own. A connection that failed
    is closed, and the next call opens another: the log is back as soon as the cause is gone.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._open_lock = threading.Lock()
        self._write_lock = threading.Lock()
        self._read_lock = threading.Lock()
        self._bell_lock = threading.Lock()
        self._writer: sqlite3.Connection | None = None
        self._reader: sqlite3.Connection | None = None
        self._identity: tuple[int, int] | None = None
        self._bell: Doorbell | None = None
        self._waiting: list[_Batch] = []
        self._source_ids: dict[str, int] = {}
        self._sources: dict[int, Source] = {}

    def inspect(self) -> None:
        if self.path.is_file() and self.path.stat().st_size:
            with self._errors():
                uri = f"{self.path.absolute().as_uri()}?mode=ro"
                with contextlib.closing(sqlite3.connect(uri, uri=True)) as db:
                    self._check_version(db)

    def append(self, events: Sequence[NewEvent]) -> Appended:
        batch = _Batch(events)
        self._waiting.append(batch)
        with self._write_lock:
            # Whoever held the lock before may have stored this batch with its own.
            if batch.result is None and batch.failure is None:
                self._commit()
        if batch.result is None:
            raise batch.failure or LogUnavailable(f"{self.path}: not stored")
        return batch.result

    def read(self, after: int, limit: int) -> list[Event]:
        with self._read_lock, self._errors(reading=True):
            db = self._reading()
            rows = db.execute(
                "SELECT id, event_id, event_type, entity_id, created_at, data, source_id, meta"
                " FROM events WHERE id > ? ORDER BY id LIMIT ?",
                (after, limit),
            ).fetchall()
            return [
                Event(
                    id, event_id, event_type, entity_id, _iso(created_at),
                    Raw(data), self._source(db, source_id), Raw(meta),
                )
                for id, event_id, event_type, entity_id, created_at, data, source_id, meta in rows
            ]  # fmt: skip

    def head(self) -> int:
        with self._read_lock, self._errors(reading=True):
            return _head(self._reading())

    def tail(self, after: int, timeout: float) -> bool:
        bell = self._hung_bell()
        # The bell hangs before the log is looked at, so that no ring falls in between.
        if self.head() > after:
            return True
        bell.wait(timeout)
        return self.head() > after

    def interrupt(self) -> None:
        self._hung_bell().ring(own=True)

    def prune(self, before_us: int, limit: int) -> int:
        with self._write_lock, self._errors(writing=True), self._transaction() as db:
            rows = db.execute(
                "SELECT id, created_at FROM events ORDER BY id LIMIT ?", (limit,)
            ).fetchall()
            last = 0
            # Only from the front, so that what is left has no holes, even if the clock was set.
            for id, created_at in rows:
                if created_at >= before_us:
                    break
                last = id
            return db.execute("DELETE FROM events WHERE id <= ?", (last,)).rowcount if last else 0

    def check(self) -> None:
        with self._write_lock, self._errors(writing=True), self._transaction() as db:
            db.execute("INSERT OR REPLACE INTO probe VALUES (1, ?)", (now_us(),))

    def close(self) -> None:
        with self._write_lock, self._read_lock:
            self._drop(reading=True, writing=True)
        with self._bell_lock:
            if self._bell is not None:
                self._bell.close()
                self._bell = None

    def _commit(self) -> None:
        """Store every batch that waits, in one transaction."""
        batches, self._waiting = self._waiting, []
        try:
            with self._errors(writing=True):
                with self._transaction() as db:
                    at = now_us()
                    results = [self._insert(db, batch.events, at) for batch in batches]
        except LogUnavailable as error:
            for batch in batches:
                batch.failure = error
            return
        except BaseException as error:
            for batch in batches:
                batch.failure = LogUnavailable(f"{self.path}: {error!r}")
            raise
        for batch, result in zip(batches, results, strict=True):
            batch.result = result
        if any(result.accepted for result in results):
            self._any_bell().ring()

    def _insert(self, db: sqlite3.Connection, events: Sequence[NewEvent], at: int) -> Appended:
        keyed = [(self._source_id(db, event.source or ""), event.event_id) for event in events]
        known = _known(db, keyed)
        next_id = _head(db) + 1
        ids: list[int] = []
        rows = []
        for key, event in zip(keyed, events, strict=True):
            id = known.get(key)
            if id is None:
                id = known[key] = next_id
                next_id += 1
                occurred_at = event.occurred_at and event.occurred_at.isoformat()
                rows.append(
                    (id, *key, event.event_type, event.entity_id, at, occurred_at)
                    + (event.data_json, event.meta_json)
                )
            ids.append(id)
        db.executemany("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)
        return Appended(ids, len(events) - len(rows))

    def _source_id(self, db: sqlite3.Connection, name: str) -> int:
        if name not in self._source_ids:
            # The cache is emptied when a transaction fails, and with it a source that was new.
            db.execute("INSERT OR IGNORE INTO sources (name) VALUES (?)", (name,))
            row = db.execute("SELECT id FROM sources WHERE name = ?", (name,)).fetchone()
            self._source_ids[name] = row[0]
        return self._source_ids[name]

    def _source(self, db: sqlite3.Connection, id: int) -> Source:
        if id not in self._sources:
            row = db.execute("SELECT name FROM sources WHERE id = ?", (id,)).fetchone()
            self._sources[id] = Source(id, row[0])
        return self._sources[id]

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        db = self._writing()
        db.execute("BEGIN IMMEDIATE")
        try:
            yield db
            db.execute("COMMIT")
        except BaseException:
            self._source_ids.clear()
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise

    def _writing(self) -> sqlite3.Connection:
        self._refuse_replaced()
        if self._writer is None:
            self._writer = self._open()
        return self._writer

    def _reading(self) -> sqlite3.Connection:
        if self._reader is None:
            self._reader = self._open()
        return self._reader

    def _refuse_replaced(self) -> None:
        """Refuse to go on where the path no longer leads to the file that is open."""
        if (self._writer or self._reader) and self._identity != self._file_identity():
            raise LogUnavailable(
                f"{self.path}: the file was removed or replaced while it was open; "
                "put it back, or restart every worker"
            )

    def _file_identity(self) -> tuple[int, int] | None:
        try:
            found = os.stat(self.path)
        except OSError:
            return None
        return found.st_dev, found.st_ino

    def _open(self) -> sqlite3.Connection:
        with self._open_lock:
            self._refuse_replaced()
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise LogUnavailable(
                    f"{self.path}: its folder can't be made ({error.strerror}); make it"
                ) from error
            db = sqlite3.connect(
                self.path, timeout=LOCK_SECONDS, isolation_level=None, check_same_thread=False
            )
            try:
                self._prepare(db)
            except BaseException:
                db.close()
                raise
            self._identity = self._file_identity()
            return db

    def _prepare(self, db: sqlite3.Connection) -> None:
        self._check_version(db)
        _use_wal(db)
        db.execute("PRAGMA synchronous = FULL")
        if db.execute("PRAGMA user_version").fetchone()[0]:
            return
        db.execute("BEGIN IMMEDIATE")
        try:
            # Another process may have been faster.
            if not db.execute("PRAGMA user_version").fetchone()[0]:
                for statement in _SCHEMA.split(";\n"):
                    db.execute(statement)
                db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise
        # A new file's name is on the disk only when its folder is.
        folder = os.open(self.path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _check_version(self, db: sqlite3.Connection) -> None:
        # The tables are counted first: another process may make them and the two numbers now.
        tables = db.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
        version = db.execute("PRAGMA user_version").fetchone()[0]
        application = db.execute("PRAGMA application_id").fetchone()[0]
        if not tables:
            return
        if application != APPLICATION_ID:
            raise LogUnusable(
                f"{self.path}: the database of another program; name another in database.url"
            )
        if version > SCHEMA_VERSION:
            raise LogUnusable(
                f"{self.path}: written by a newer flask-sse-sink (schema {version}, this one "
                f"knows {SCHEMA_VERSION}); update this one, or name another in database.url"
            )

    def _any_bell(self) -> Doorbell:
        with self._bell_lock:
            if self._bell is None:
                self._bell = Doorbell(self.path.with_name(self.path.name + "-bells"))
            return self._bell

    def _hung_bell(self) -> Doorbell:
        bell = self._any_bell()
        with self._bell_lock:
            bell.hang()
        return bell

    @contextlib.contextmanager
    def _errors(self, *, reading: bool = False, writing: bool = False) -> Iterator[None]:
        """Turn SQLite's errors into ours, and drop the connection on which one came."""
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            self._drop(reading=reading, writing=writing)
            name = getattr(error, "sqlite_errorname", "")
            # Extended codes add to the primary one: SQLITE_IOERR_WRITE.
            primary = "_".join(name.split("_")[:2])
            if primary in _DAMAGE:
                raise LogUnusable(f"{self.path}: {_DAMAGE[primary]}") from error
            raise LogUnavailable(f"{self.path}: {_CURES.get(primary, error)}") from error

    def _drop(self, *, reading: bool, writing: bool) -> None:
        if writing and self._writer is not None:
            with contextlib.suppress(sqlite3.Error):
                self._writer.close()
            self._writer = None
        if reading and self._reader is not None:
            with contextlib.suppress(sqlite3.Error):
                self._reader.close()
            self._reader = None


def _use_wal(db: sqlite3.Connection) -> None:
    """Switch to write-ahead logging. Where another is at it too, SQLite doesn't wait by itself."""
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            db.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return


def now_us() -> int:
    """Return the time in microseconds since the epoch."""
    return time.time_ns() // 1000


def _head(db: sqlite3.Connection) -> int:
    row = db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'events'").fetchone()
    return row[0] if row else 0


def _known(
    db: sqlite3.Connection, keys: list[tuple[int, str | None]]
) -> dict[tuple[int, str | None], int]:
    """Return the ids of those (source id, event id) pairs that are in the log."""
    if len(keys) == 1:
        sql = "SELECT id FROM events WHERE source_id = ? AND event_id = ?"
        row = db.execute(sql, keys[0]).fetchone()
        return {keys[0]: row[0]} if row else {}
    known = {}
    for source_id in {source_id for source_id, _ in keys}:
        names = [event_id for source, event_id in keys if source == source_id]
        for event_id, id in db.execute(
            "SELECT event_id, id FROM events WHERE source_id = ?"
            " AND event_id IN (SELECT value FROM json_each(?))",
            (source_id, msgspec.json.encode(names).decode()),
        ):
            known[source_id, event_id] = id
    return known


def _iso(microseconds: int) -> str:
    return datetime.fromtimestamp(microseconds / 1_000_000, UTC).isoformat()
