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
from pathlib import Path

from ... import event as envelope
from ...event import Event, NewEvent, Source
from ...exceptions import LogUnavailable, LogUnusable
from ...filters import Filter
from .. import NO_COPY, PROBE_BYTES, Appended, Page, Record, iso, now_us
from ..dates import FAR_FUTURE_US, Dates
from .notifier import Notifier
from .queries import head as newest
from .queries import identity as identity_of
from .queries import known_ids, matching, oldest
from .schema import check_version, prepare

LOCK_SECONDS = 5.0
# Of the table for probes: an id and a time, about.
_PROBE_ROW_BYTES = 12

# What clients are told, who may be anybody.
_PUBLIC = {
    "SQLITE_FULL": "the disk is full",
    "SQLITE_BUSY": "the event log is busy",
    "SQLITE_LOCKED": "the event log is busy",
    "SQLITE_READONLY": "the event log can't be written",
    "SQLITE_CANTOPEN": "the event log can't be opened",
    "SQLITE_PERM": "the event log can't be opened",
    "SQLITE_IOERR": "the disk doesn't take or give data",
    "SQLITE_CORRUPT": "the event log is damaged",
    "SQLITE_NOTADB": "the event log is damaged",
}
_AWAY = "the event log is away"
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

    One connection writes, one reads what is new and one replays, each behind a lock of its own:
    of many replays one reads at a time. A connection that failed is closed, and the next call
    opens another: the log is back as soon as the cause is gone.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._open_lock = threading.Lock()
        self._write_lock = threading.Lock()
        self._read_lock = threading.Lock()
        self._replay_lock = threading.Lock()
        self._bell_lock = threading.Lock()
        self._writer: sqlite3.Connection | None = None
        self._reader: sqlite3.Connection | None = None
        self._replayer: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None
        self._bell: Notifier | None = None
        self._waiting: list[_Batch] = []
        self._sources: dict[str, Source] = {}
        self._dates = Dates(str(self.path))

    def inspect(self) -> None:
        try:
            if self.path.is_dir():
                raise LogUnusable(f"{self.path}: is a folder; name a file in it in database.url")
            if not self.path.is_file() or not self.path.stat().st_size:
                return
        except OSError as error:
            raise LogUnusable(
                f"{self.path}: {error.strerror}; name another file in database.url"
            ) from error
        with self._errors():
            uri = f"{self.path.absolute().as_uri()}?mode=ro"
            with contextlib.closing(sqlite3.connect(uri, uri=True)) as db:
                check_version(db, self.path)

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
        with self._reading() as db:
            rows = db.execute(
                "SELECT CAST(envelope AS BLOB) FROM events WHERE id > ? ORDER BY id LIMIT ?",
                (after, limit),
            ).fetchall()
        return [envelope.stored(row[0]) for row in rows]

    def replay(self, after: int, limit: int, filter: Filter, until: int | None = None) -> Page:
        with self._replaying() as db:
            end = newest(db) if until is None else min(newest(db), until)
            gone = max(after, min(oldest(db) - 1, end))
            envelopes, through = matching(db, filter, gone, end, limit)
        return Page(envelopes, through, gone, through < end)

    def head(self) -> int:
        with self._reading() as db:
            return newest(db)

    def head_before(self, before_us: int) -> int:
        with self._replaying() as db:
            high = newest(db)
            low = oldest(db) - 1
            # Ids rise with time, as long as nobody sets the clock back; an index would cost more.
            while low < high:
                middle = (low + high + 1) // 2
                sql = "SELECT created_at FROM events WHERE id = ?"
                if db.execute(sql, (middle,)).fetchone()[0] < before_us:
                    low = middle
                else:
                    high = middle - 1
            return low

    @property
    def identity(self) -> str:
        with self._reading() as db:
            return identity_of(db)

    def tail(self, after: int, timeout: float) -> int:
        bell = self._hung_bell()
        # The bell hangs before the log is looked at, so that no ring falls in between.
        head = self.head()
        if head > after:
            return head
        bell.wait(timeout)
        return self.head()

    def interrupt(self) -> None:
        self._hung_bell().ring(own=True)

    def prune(
        self, before_us: int, limit: int, keep: int = 0, future_us: int = FAR_FUTURE_US
    ) -> int:
        with self._replaying() as db:

            def rows(after: int, count: int) -> list[tuple[int, int]]:
                sql = "SELECT id, created_at FROM events WHERE id > ? ORDER BY id LIMIT ?"
                return db.execute(sql, (after, count)).fetchall()

            last = newest(db) - keep if keep else 0
            due = self._dates.due(rows, limit, before_us, last, future_us)
        if not due:
            return 0
        with self._transaction() as db:
            return db.execute("DELETE FROM events WHERE id <= ?", (due,)).rowcount

    def records(self, after: int, limit: int) -> list[Record]:
        with self._replaying() as db:
            sql = "SELECT id, created_at, occurred_at, CAST(envelope AS BLOB) FROM events"
            rows = db.execute(f"{sql} WHERE id > ? ORDER BY id LIMIT ?", (after, limit))
            return [Record(*row) for row in rows]

    def restore(self, records: Sequence[Record], head: int, identity: str) -> None:
        events = [envelope.stored(record.envelope) for record in records]
        with self._transaction() as db:
            before = newest(db)
            if before and identity != identity_of(db) or events and events[0].id <= before:
                raise LogUnusable(f"{self.path}: {NO_COPY}")
            db.execute("UPDATE about SET identity = ?", (identity,))
            sources = {(event.source.id, event.source.name) for event in events}
            db.executemany("INSERT OR IGNORE INTO sources (id, name) VALUES (?, ?)", sources)
            db.executemany(
                "INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?)",
                [
                    (record.id, event.source.id, event.event_id, event.event_type)
                    + (record.created_at_us, record.occurred_at, record.envelope.decode())
                    for record, event in zip(records, events, strict=True)
                ],
            )
            # The highest id may be of an event that was pruned.
            db.execute("DELETE FROM sqlite_sequence WHERE name = 'events'")
            db.execute("INSERT INTO sqlite_sequence VALUES ('events', ?)", (head,))
        self._any_bell().ring()

    def check(self) -> None:
        with self._transaction() as db:
            # New rows before the old ones go: they need room of their own, as an event does.
            top = db.execute("SELECT coalesce(max(id), 0) FROM probe").fetchone()[0]
            rows = range(top + 1, top + 1 + PROBE_BYTES // _PROBE_ROW_BYTES)
            at = now_us()
            db.executemany("INSERT INTO probe VALUES (?, ?)", ((id, at) for id in rows))
            db.execute("DELETE FROM probe WHERE id <= ?", (top,))

    def close(self) -> None:
        with self._write_lock, self._read_lock, self._replay_lock:
            for name in ("_writer", "_reader", "_replayer"):
                self._drop(name)
        with self._bell_lock:
            if self._bell is not None:
                self._bell.close()
                self._bell = None

    def _commit(self) -> None:
        """Store every batch that waits, in one transaction."""
        batches, self._waiting = self._waiting, []
        try:
            with self._writing() as db:
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
        sources = [self._source(db, event.source or "") for event in events]
        keyed = [(by.id, event.event_id) for by, event in zip(sources, events, strict=True)]
        known = known_ids(db, keyed)
        created_at = iso(at)
        next_id = newest(db) + 1
        ids: list[int] = []
        rows = []
        for key, source, event in zip(keyed, sources, events, strict=True):
            id = known.get(key)
            if id is None:
                id = known[key] = next_id
                next_id += 1
                occurred_at = event.occurred_at and event.occurred_at.isoformat()
                text = envelope.encode(event.stored(id, created_at, source)).decode()
                rows.append((id, *key, event.event_type, at, occurred_at, text))
            ids.append(id)
        db.executemany("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
        return Appended(ids, len(events) - len(rows))

    def _source(self, db: sqlite3.Connection, name: str) -> Source:
        found = self._sources.get(name)
        if found is None:
            # The cache is emptied when a transaction fails, and with it a source that was new.
            db.execute("INSERT OR IGNORE INTO sources (name) VALUES (?)", (name,))
            row = db.execute("SELECT id FROM sources WHERE name = ?", (name,)).fetchone()
            found = self._sources[name] = Source(row[0], name)
        return found

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """Lend the connection that writes, in a transaction of its own."""
        with self._write_lock, self._writing() as db:
            yield db

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """Lend the same to who holds its lock."""
        with self._errors("_writer"):
            self._refuse_replaced()
            db = self._connection("_writer")
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
                db.execute("COMMIT")
            except BaseException:
                self._sources.clear()
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise

    @contextlib.contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._read_lock, self._errors("_reader"):
            yield self._connection("_reader")

    @contextlib.contextmanager
    def _replaying(self) -> Iterator[sqlite3.Connection]:
        """Lend the connection that replays; all it reads is of one moment."""
        with self._replay_lock, self._errors("_replayer"):
            db = self._connection("_replayer")
            db.execute("BEGIN")
            try:
                yield db
            finally:
                db.execute("COMMIT")

    def _connection(self, name: str) -> sqlite3.Connection:
        found: sqlite3.Connection | None = getattr(self, name)
        if found is None:
            found = self._open()
            setattr(self, name, found)
        return found

    def _refuse_replaced(self) -> None:
        """Refuse to go on where the path no longer leads to the file that is open."""
        if (self._writer or self._reader) and self._file != self._file_there():
            raise LogUnavailable(
                f"{self.path}: the file was removed or replaced while it was open; "
                "put it back, or restart every worker",
                "the event log was removed or replaced",
            )

    def _file_there(self) -> tuple[int, int] | None:
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
                    f"{self.path}: its folder can't be made ({error.strerror}); make it",
                    _PUBLIC["SQLITE_CANTOPEN"],
                ) from error
            db = sqlite3.connect(
                self.path, timeout=LOCK_SECONDS, isolation_level=None, check_same_thread=False
            )
            try:
                check_version(db, self.path)
                _use_wal(db)
                db.execute("PRAGMA synchronous = FULL")
                if prepare(db, self.path):
                    self._sync_folder()
            except BaseException:
                db.close()
                raise
            self._file = self._file_there()
            return db

    def _sync_folder(self) -> None:
        # A new file's name is on the disk only when its folder is.
        folder = os.open(self.path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _any_bell(self) -> Notifier:
        with self._bell_lock:
            if self._bell is None:
                self._bell = Notifier(self.path.with_name(self.path.name + "-bells"))
            return self._bell

    def _hung_bell(self) -> Notifier:
        bell = self._any_bell()
        with self._bell_lock:
            bell.hang()
        return bell

    @contextlib.contextmanager
    def _errors(self, connection: str = "") -> Iterator[None]:
        """Turn SQLite's errors into ours, and drop the connection on which one came."""
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            self._drop(connection)
            name = getattr(error, "sqlite_errorname", "")
            # Extended codes add to the primary one: SQLITE_IOERR_WRITE.
            primary = "_".join(name.split("_")[:2])
            public = _PUBLIC.get(primary, _AWAY)
            if primary in _DAMAGE:
                raise LogUnusable(f"{self.path}: {_DAMAGE[primary]}", public) from error
            raise LogUnavailable(f"{self.path}: {_CURES.get(primary, error)}", public) from error

    def _drop(self, connection: str) -> None:
        found: sqlite3.Connection | None = getattr(self, connection, None)
        if found is not None:
            with contextlib.suppress(sqlite3.Error):
                found.close()
            setattr(self, connection, None)


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
