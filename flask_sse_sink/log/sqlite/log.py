"""The event log in one SQLite file: one machine, many workers.

Write-ahead logging with ``synchronous=FULL``: a commit is on the disk before it is answered.
SQLite admits one writer at a time, so that ids, given inside the transaction, rise in the order
of commits.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ...event import NewEvent, decode_envelope
from ...exceptions import LogUnusable
from ...filters import Filter
from ..due import DueEvents
from ..protocol import (
    FAR_FUTURE_US,
    NO_COPY,
    PROBE_BYTES,
    Appended,
    BeforePrune,
    LogStatus,
    Page,
    Record,
    StoredEnvelope,
    now_us,
    prune_all,
)
from . import queries
from .appends import Appends
from .connections import Connect, Connections
from .deliveries import SQLiteDeliveries
from .errors import LOCK_SECONDS
from .matching import matching
from .notifier import AnyNotifier, Notifier
from .recent import RecentEvents
from .revocations import SQLiteRevocations

# A row of the table for probes takes about this much: an id and a time.
_PROBE_ROW_BYTES = 12


class SQLiteLog:
    """An :class:`~flask_sse_sink.log.EventLog` in the file ``path``, created where there is none.

    A connection that failed is closed, and the next call opens another: the log works again as
    soon as the cause is gone. ``connect`` opens a connection; ``lock_seconds`` is how long a call
    waits while another process has the file locked; ``notifier`` wakes the other processes.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        connect: Connect = sqlite3.connect,
        lock_seconds: float = LOCK_SECONDS,
        notifier: AnyNotifier | None = None,
    ) -> None:
        self.path = Path(path)
        self._connections = Connections(self.path, connect, lock_seconds)
        self._notifier = notifier or Notifier(self.path.with_name(self.path.name + "-bells"))
        self._recent = RecentEvents()
        self._appends = Appends(self._connections, self._recent, self._notifier.notify)
        self.revocations = SQLiteRevocations(self._connections, self._notifier.notify)
        self._due = DueEvents(str(self.path))
        #: Keeps the places of pulled sinks.
        self.deliveries = SQLiteDeliveries(self._connections)

    @property
    def identity(self) -> str:
        with self._connections.reader.lend() as db:
            return queries.identity(db)

    def inspect(self) -> None:
        self._connections.inspect()

    def append(self, events: Sequence[NewEvent]) -> Appended:
        return self._appends.append(events)

    def read(self, after: int, limit: int) -> list[StoredEnvelope]:
        with self._connections.reader.lend() as db:
            return queries.envelopes(db, after, limit)

    def appended(self, after: int, limit: int) -> list[StoredEnvelope] | None:
        return self._recent.after(after, limit)

    def replay(self, after: int, limit: int, filter: Filter, until: int | None = None) -> Page:
        with self._connections.replayer.snapshot() as db:
            head = queries.head(db)
            end = head if until is None else min(head, until)
            gone = max(after, min(queries.oldest(db) - 1, end))
            envelopes, through = matching(db, filter, gone, end, limit)
        return Page(envelopes, through, gone, through < end)

    def head(self) -> int:
        with self._connections.reader.lend() as db:
            return queries.head(db)

    def status(self) -> LogStatus:
        with self._connections.replayer.snapshot() as db:
            status = queries.status(db)
        newest = self.path.with_name(self.path.name + "-wal")
        if newest.exists():
            status = status._replace(size_bytes=status.size_bytes + newest.stat().st_size)
        return status

    def head_before(self, before_us: int) -> int:
        with self._connections.replayer.snapshot() as db:
            return queries.head_before(db, before_us)

    def tail(self, after: int, timeout: float) -> int:
        # Listens before it looks at the log, so that no notification falls in between.
        self._notifier.listen()
        head = self.head()
        if head > after:
            return head
        self._notifier.wait(timeout)
        return self.head()

    def interrupt(self) -> None:
        self._notifier.listen()
        self._notifier.notify(this_process=True)

    def prune(
        self,
        before_us: int,
        limit: int,
        keep: int = 0,
        future_us: int = FAR_FUTURE_US,
        before_prune: BeforePrune = prune_all,
    ) -> int:
        with self._connections.replayer.snapshot() as db:

            def dates(after: int, count: int) -> list[tuple[int, int]]:
                return queries.dates(db, after, count)

            last = queries.head(db) - keep if keep else 0
            due = self._due.last_due(dates, limit, before_us, last, future_us)
        if due:
            due = before_prune(due)
        if not due:
            return 0
        self._recent.clear()
        with self._transaction() as db:
            return db.execute("DELETE FROM events WHERE id <= ?", (due,)).rowcount

    def records(self, after: int, limit: int) -> list[Record]:
        with self._connections.replayer.snapshot() as db:
            return queries.records(db, after, limit)

    def restore(self, records: Sequence[Record], head: int, identity: str) -> None:
        events = [decode_envelope(record.envelope) for record in records]
        with self._transaction() as db:
            before = queries.head(db)
            is_copy = not before or identity == queries.identity(db)
            if not is_copy or (events and events[0].id <= before):
                raise LogUnusable(f"{self.path}: {NO_COPY}")
            db.execute("UPDATE about SET identity = ?", (identity,))
            queries.restore(db, records, events, head)
        self._notifier.notify()

    def check(self) -> None:
        with self._transaction() as db:
            # New rows before the old ones go: they need room of their own, as an event does.
            top = db.execute("SELECT coalesce(max(id), 0) FROM probe").fetchone()[0]
            rows = range(top + 1, top + 1 + PROBE_BYTES // _PROBE_ROW_BYTES)
            at = now_us()
            db.executemany("INSERT INTO probe VALUES (?, ?)", ((id, at) for id in rows))
            db.execute("DELETE FROM probe WHERE id <= ?", (top,))

    def close(self) -> None:
        self._connections.close()
        self._notifier.close()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """Lend the connection that writes, all or nothing."""
        with self._connections.writer.lock, self._connections.transaction() as db:
            yield db
