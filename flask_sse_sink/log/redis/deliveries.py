"""The places of pulled sinks in Redis: a :class:`~..deliveries.DeliveryStore`.

Each step is one script, so that it is done whole or not at all. Leases end by the clock of Redis:
the machines that share a log may have different ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias

import msgspec

from ...filters import Filter
from ..deliveries import (
    KEEP_BATCH_US,
    MAX_BATCHES,
    MAX_MISSED,
    Confirmed,
    Missed,
    Place,
    PullStatus,
    Span,
    Start,
    Taken,
    Taking,
    TooManySinks,
    UnknownBatch,
    read_ids,
    write_ids,
)
from ..indexes import merge_of
from ..protocol import StoredEnvelope
from .client import Client
from .indexes import RedisIndexes
from .keys import ABOUT, EVENTS, PULLS, PULLS_FREE, TYPE, id_of, pull_keys

#: Sends what its second argument writes with the client that it gets, and returns the answer.
Written: TypeAlias = Callable[[Any, Callable[[Any], object]], Any]

_missed = msgspec.json.Decoder(tuple[Missed, ...])

_OUT = b"1"


class RedisDeliveries:
    """Keeps the places of pulled sinks beside the log. ``clock`` replaces Redis's, for tests."""

    def __init__(self, client: Client, written: Written) -> None:
        self._client = client
        self._written = written
        self.clock: Callable[[], int] | None = None

    def now_us(self) -> int:
        if self.clock is not None:
            return self.clock()
        with self._client.lend() as (db, _):
            seconds, microseconds = db.time()
        return int(seconds) * 1_000_000 + int(microseconds)

    def open(self, sink: str, start: Start) -> None:
        self._open(sink, start)

    def _open(self, sink: str, cursor: str | int) -> None:
        keys = (PULLS, PULLS_FREE, EVENTS, ABOUT)
        if not self._run("open", sink, [sink, self.now_us(), cursor], keys):
            raise TooManySinks("sink: too many sinks of type http_pull; remove some")

    def place(self, sink: str, max_attempts: int = 0) -> Place | None:
        now = "" if self.clock is None else self.clock()
        with self._client.lend() as (_, scripts):
            values = scripts.pulled["place"](keys=pull_keys(sink), args=[now, max_attempts])
        if values is None:
            return None
        cursor, generation, missed, free, next_us, rows, at = values
        reports = _missed.decode(missed)
        free = min(int(free), 10_001)
        return Place(
            int(cursor), int(generation), reports, free, int(next_us), int(rows) > 0, int(at)
        )

    def free_rows(self, sink: str, after: int, limit: int, now_us: int) -> list[int]:
        free = pull_keys(sink)[3]
        with self._client.lend() as (db, _):
            return [int(id) for id in db.zrangebyscore(free, f"({after}", "+inf", 0, limit)]

    def with_row(self, sink: str, ids: Sequence[int]) -> set[int]:
        if not ids:
            return set()
        with self._client.lend() as (db, _):
            rows = db.hmget(pull_keys(sink)[1], list(ids))
        return {id for id, row in zip(ids, rows, strict=True) if row is not None}

    def envelopes(self, ids: Sequence[int]) -> list[StoredEnvelope]:
        if not ids:
            return []
        with self._client.lend() as (db, _), db.pipeline(transaction=False) as pipe:
            for run in write_ids(sorted(ids)).split(","):
                low, _, high = run.partition("-")
                pipe.xrange(EVENTS, f"{low}-0", f"{high or low}-0")
            answers = pipe.execute()
        return [(id_of(entry), fields[b"e"]) for page in answers for entry, fields in page]

    def count_fresh(self, sink: str, after: int, filter: Filter, limit: int) -> int | None:
        keys = pull_keys(sink)
        with self._client.lend() as (db, scripts):
            if filter.everything:
                with db.pipeline(transaction=False) as pipe:
                    pipe.xrange(EVENTS, "-", "+", count=1)
                    pipe.hget(ABOUT, "head")
                    pipe.zcount(keys[6], f"({after}", "+inf")
                    first, newest, above = pipe.execute()
                head = int(newest or 0)
                oldest = id_of(first[0][0]) if first else head + 1
                return max(0, min(limit, head - max(after, oldest - 1) - int(above)))
            merge = merge_of(filter, RedisIndexes(db)) if filter.is_of_types else None
            if merge is None:
                # Not all events may be in the indexes of entities and sources.
                return None
            streams = [TYPE + key.value for key in merge.keys]
            return int(scripts.count(keys=[keys[6], *streams], args=[after, limit]))

    def take(self, sink: str, taking: Taking) -> Taken:
        kept_until = (taking.until_us or taking.now_us) + KEEP_BATCH_US
        values: list[int] = [taking.generation, taking.until_us, taking.limit, taking.missed]
        values += [kept_until, taking.now_us, MAX_BATCHES]
        values += taking.span or (-1, 0, 0)
        values += [len(taking.expired), *taking.expired, *taking.ids]
        is_current, *answer = self._run("take", sink, values)
        if not is_current:
            return Taken(0, [], {}, False)
        batch, ids, attempts = answer
        taken = [int(id) for id in ids]
        counts = zip(taken, attempts, strict=False)
        return Taken(int(batch), taken, {id: int(count) for id, count in counts})

    def advance(self, sink: str, span: Span, generation: int) -> None:
        self._run("advance", sink, [generation, span.passed])

    def batch_ids(self, sink: str, batch: int) -> list[int]:
        with self._client.lend() as (_, scripts):
            ids = scripts.pulled["batch"](keys=pull_keys(sink), args=[batch])
        if ids is None:
            raise UnknownBatch(batch)
        return read_ids(ids.decode())

    def confirm(self, sink: str, batch: int, ids: Iterable[int] | None = None) -> Confirmed:
        part = [1] if ids is None else [0, *ids]
        count, above = self._run("confirm", sink, [batch, *part])
        if count < 0:
            raise UnknownBatch(batch)
        return Confirmed(count, above > 0)

    def extend(self, sink: str, batch: int, until_us: int) -> int:
        values: list[int | str] = ["extend", until_us, self.now_us(), 0, until_us + KEEP_BATCH_US]
        return self._of_batch("lease", sink, batch, values)

    def release(self, sink: str, batch: int, until_us: int, max_attempts: int = 0) -> int:
        values: list[int | str] = ["release", until_us, self.now_us(), max_attempts, 0]
        return self._of_batch("lease", sink, batch, values)

    def _of_batch(self, name: str, sink: str, batch: int, values: Sequence[int | str]) -> int:
        count = int(self._run(name, sink, [batch, *values]))
        if count < 0:
            raise UnknownBatch(batch)
        return count

    def dead(self, sink: str, after: int, limit: int) -> list[tuple[int, int]]:
        keys = pull_keys(sink)
        with self._client.lend() as (db, _):
            ids = db.zrangebyscore(keys[5], f"({after}", "+inf", 0, limit)
            rows = db.hmget(keys[1], ids) if ids else []
        pairs = zip(ids, rows, strict=True)
        return [(int(id), int(row.split()[2])) for id, row in pairs if row is not None]

    def retry(self, sink: str, ids: Iterable[int] | None = None) -> int:
        return int(self._run("retry", sink, [1] if ids is None else [0, *ids]))

    def miss(self, sink: str, through: int, ids: Sequence[int] | None) -> int | None:
        values = [through, int(ids is not None), MAX_MISSED, *(ids or ())]
        count = int(self._run("miss", sink, values))
        return None if count < 0 else count

    def acknowledge(self, sink: str, missed: int) -> bool:
        return bool(self._run("acknowledge", sink, [missed]))

    def reset(self, sink: str, cursor: int) -> None:
        if not self._run("reset", sink, [cursor]):
            self._open(sink, cursor)

    def forget(self, before_us: int) -> list[str]:
        return [
            sink
            for sink in self._sinks()
            if self._run("forget", sink, [before_us, sink], (PULLS, PULLS_FREE))
        ]

    def status(self) -> list[PullStatus]:
        return [self._status(sink) for sink in self._sinks()]

    def _sinks(self) -> list[str]:
        with self._client.lend() as (db, _):
            return sorted(name.decode() for name in db.hkeys(PULLS))

    def _status(self, sink: str) -> PullStatus:
        place, rows, due, free, done, dead, *_ = pull_keys(sink)
        now = self.now_us()
        with self._client.lend() as (db, _):
            cursor, missed = db.hmget(place, "cursor", "missed")
            busy = [(int(id), time) for id, time in db.zrange(due, 0, -1, withscores=True)]
            states = db.hmget(rows, [id for id, _ in busy]) if busy else []
            free_ids = [int(id) for id in db.zrange(free, 0, 0)]
            free_count, dead_count, done_count = db.zcard(free), db.zcard(dead), db.zcard(done)
        out = sum(
            time > now and row is not None and row.split()[0] == _OUT
            for (_, time), row in zip(busy, states, strict=True)
        )
        return PullStatus(
            name=sink,
            cursor=int(cursor or 0),
            out=out,
            waiting=free_count + len(busy) - out,
            dead=dead_count,
            confirmed_above=done_count,
            oldest_row=min([id for id, _ in busy] + free_ids, default=0),
            missed=_missed.decode(missed or b"[]"),
        )

    def _run(
        self, name: str, sink: str, values: Sequence[int | str], more_keys: Sequence[str] = ()
    ) -> Any:
        """Run a script that writes; return its answer once the replicas have it, too."""
        keys = [*pull_keys(sink), *more_keys]
        with self._client.lend() as (db, scripts):
            script = scripts.pulled[name]
            return self._written(db, lambda client: script(keys=keys, args=values, client=client))
