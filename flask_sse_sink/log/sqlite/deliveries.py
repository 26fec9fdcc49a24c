"""The places of pulled sinks in the SQLite file: a :class:`~..deliveries.DeliveryStore`.

The statements stand in :mod:`.pulled_sinks`, :mod:`.pulled_events` and :mod:`.pulled_batches`, a
module a table. Leases end by this machine's clock of the time of day: the file is used on one
machine only, and leases outlive a reboot.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import msgspec

from ...filters import Filter
from ..deliveries import (
    Confirmed,
    Place,
    PullStatus,
    Span,
    Start,
    Taken,
    Taking,
    TooManySinks,
    UnknownBatch,
    check_batch,
    read_ids,
)
from ..protocol import StoredEnvelope, now_us
from . import matching, pulled_batches, pulled_events, pulled_sinks, queries
from .connections import Connections
from .pulled_sinks import SinkRow
from .shared_commits import SharedCommits

T = TypeVar("T")


class SQLiteDeliveries:
    """Keeps the places of pulled sinks in the log's own file. ``clock`` is for tests."""

    def __init__(self, connections: Connections, clock: Callable[[], int] = now_us) -> None:
        self._connections = connections
        self._commits = SharedCommits(connections)
        self.clock = clock

    def now_us(self) -> int:
        return self.clock()

    def open(self, sink: str, start: Start) -> None:
        now = self.clock()

        def write(db: sqlite3.Connection) -> bool:
            return pulled_sinks.open_sink(db, sink, now, to_head=start == "latest")

        if not self._commits.run(write):
            raise TooManySinks("sink: too many sinks of type http_pull; remove some")

    def place(self, sink: str, max_attempts: int = 0) -> Place | None:
        now = self.clock()
        with self._connections.reader.lend() as db:
            row = pulled_sinks.sink_row(db, sink)
            if row is None:
                return None
            if not pulled_events.has_rows(db, row.number):
                return Place(row.cursor, row.generation, row.missed, 0, 0, False, now)
            used_up = bool(max_attempts) and pulled_events.has_used_up(
                db, row.number, now, max_attempts
            )
        if used_up:
            number = row.number
            self._commits.run(lambda db: pulled_events.bury(db, number, now, max_attempts))
        with self._connections.reader.lend() as db:
            free = pulled_events.count_free(db, row.number, now)
            next_us = pulled_events.next_free(db, row.number, now)
        return Place(row.cursor, row.generation, row.missed, free, next_us, True, now)

    def free_rows(self, sink: str, after: int, limit: int, now_us: int) -> list[int]:
        with self._connections.reader.lend() as db:
            number = pulled_sinks.number_of(db, sink)
            return pulled_events.free_ids(db, number, after, limit, now_us)

    def with_row(self, sink: str, ids: Sequence[int]) -> set[int]:
        with self._connections.reader.lend() as db:
            return set(pulled_events.event_rows(db, pulled_sinks.number_of(db, sink), ids))

    def envelopes(self, ids: Sequence[int]) -> list[StoredEnvelope]:
        with self._connections.reader.lend() as db:
            return db.execute(
                "SELECT id, CAST(envelope AS BLOB) FROM events"
                " WHERE id IN (SELECT value FROM json_each(?)) ORDER BY id",
                (msgspec.json.encode(ids).decode(),),
            ).fetchall()

    def count_fresh(self, sink: str, after: int, filter: Filter, limit: int) -> int | None:
        with self._connections.replayer.snapshot() as db:
            row = pulled_sinks.sink_row(db, sink)
            if row is None:
                return 0
            if filter.everything:
                above = pulled_events.count(db, row.number, "id > ?", after)
                fresh: int = queries.head(db) - max(after, queries.oldest(db) - 1) - above
                return max(0, min(limit, fresh))
            where = "TRUE"
            if pulled_events.has_rows(db, row.number, after):
                rows = f"SELECT 1 FROM pulled_events WHERE sink = {row.number}"
                where = f"NOT EXISTS ({rows} AND id = e.id)"
            return matching.count(db, filter, after, limit, where)

    def take(self, sink: str, taking: Taking) -> Taken:
        return self._commits.run(lambda db: pulled_batches.take(db, sink, taking))

    def advance(self, sink: str, span: Span, generation: int) -> None:
        self._commits.run(lambda db: pulled_sinks.advance(db, sink, span, generation))

    def batch_ids(self, sink: str, batch: int) -> list[int]:
        with self._connections.reader.lend() as db:
            self._check(pulled_sinks.sink_row(db, sink), batch)
            kept = pulled_batches.batch_row(db, batch)
            return read_ids(kept.ids) if kept else []

    def confirm(self, sink: str, batch: int, ids: Iterable[int] | None = None) -> Confirmed:
        part = None if ids is None else frozenset(ids)
        return self._of_batch(
            sink, batch, lambda db, row: pulled_batches.confirm(db, row, batch, part)
        )

    def extend(self, sink: str, batch: int, until_us: int) -> int:
        return self._of_batch(
            sink, batch, lambda db, row: pulled_batches.extend(db, row, batch, until_us)
        )

    def release(self, sink: str, batch: int, until_us: int, max_attempts: int = 0) -> int:
        return self._of_batch(
            sink,
            batch,
            lambda db, row: pulled_batches.release(db, row, batch, until_us, max_attempts),
        )

    def _of_batch(
        self, sink: str, batch: int, write: Callable[[sqlite3.Connection, SinkRow], T]
    ) -> T:
        def checked(db: sqlite3.Connection) -> T | UnknownBatch:
            row = pulled_sinks.sink_row(db, sink)
            try:
                known = self._check(row, batch)
            except UnknownBatch as error:
                return error
            return write(db, known)

        result = self._commits.run(checked)
        if isinstance(result, UnknownBatch):
            raise result
        return result

    @staticmethod
    def _check(row: SinkRow | None, batch: int) -> SinkRow:
        if row is None:
            raise UnknownBatch(batch)
        check_batch(batch, row.number, row.batches)
        return row

    def dead(self, sink: str, after: int, limit: int) -> list[tuple[int, int]]:
        with self._connections.reader.lend() as db:
            number = pulled_sinks.number_of(db, sink)
            return pulled_events.dead_letters(db, number, after, limit)

    def retry(self, sink: str, ids: Iterable[int] | None = None) -> int:
        part = None if ids is None else list(ids)

        def write(db: sqlite3.Connection) -> int:
            return pulled_events.retry(db, pulled_sinks.number_of(db, sink), part)

        return self._commits.run(write)

    def miss(self, sink: str, through: int, ids: Sequence[int] | None) -> int | None:
        return self._commits.run(lambda db: pulled_sinks.miss(db, sink, through, ids))

    def acknowledge(self, sink: str, missed: int) -> bool:
        return self._commits.run(lambda db: pulled_sinks.acknowledge(db, sink, missed))

    def reset(self, sink: str, cursor: int) -> None:
        now = self.clock()
        self._commits.run(lambda db: pulled_sinks.reset(db, sink, cursor, now))

    def forget(self, before_us: int) -> list[str]:
        with self._connections.reader.lend() as db:
            if not pulled_sinks.unused(db, before_us):
                return []
        return self._commits.run(lambda db: pulled_sinks.forget(db, before_us))

    def status(self) -> list[PullStatus]:
        now = self.clock()
        with self._connections.replayer.snapshot() as db:
            return [_status(db, row, now) for row in pulled_sinks.all_sinks(db)]


def _status(db: sqlite3.Connection, row: SinkRow, now: int) -> PullStatus:
    counts = pulled_events.counts(db, row.number, now)
    oldest = pulled_events.oldest_unconfirmed(db, row.number)
    return PullStatus(
        name=row.name,
        cursor=row.cursor,
        out=counts.out,
        waiting=counts.waiting,
        dead=counts.dead,
        confirmed_above=counts.settled,
        oldest_row=oldest,
        missed=row.missed,
    )
