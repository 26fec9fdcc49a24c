"""The event log in Redis Streams: many machines, one order.

One script in Redis gives the ids, finds duplicates and appends, all or nothing. Which crashes an
answered append survives is up to Redis's own configuration: see docs/many-machines.md.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from ...event import NewEvent, decode_envelope
from ...exceptions import LogUnavailable, LogUnusable
from ...filters import Filter
from ..due import DueEvents
from ..indexes import merge_of
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
from . import arguments
from .client import Client
from .deliveries import RedisDeliveries
from .errors import TIMEOUT_SECONDS
from .indexes import RedisIndexes
from .keys import ABOUT, EVENTS, PROBE, id_of
from .revocations import RedisRevocations

_log = logging.getLogger(__name__)

SCHEMA_VERSION = 1
# How soon a wait notices that it was interrupted.
_SLICE_SECONDS = 0.5
_PROBE_SECONDS = 60


class RedisLog:
    """An :class:`~flask_sse_sink.log.EventLog` in the Redis that ``url`` names.

    An append is answered once ``replicas`` replicas have it, too. ``timeout`` is how many seconds
    Redis has for each answer.
    """

    def __init__(self, url: str, replicas: int = 0, timeout: float = TIMEOUT_SECONDS) -> None:
        self._client = Client(url, timeout)
        self._replicas = replicas
        self._interrupted = threading.Event()
        self.name = self._client.name
        self._due = DueEvents(self.name)
        self.revocations = RedisRevocations(self._client, self._write)
        #: Keeps the places of pulled sinks.
        self.deliveries = RedisDeliveries(self._client, self._written)

    @property
    def identity(self) -> str:
        with self._client.lend() as (db, _):
            identity: bytes | None = db.hget(ABOUT, "identity")
            if identity is None:
                # Of several processes that do this at once, the first one's value stays.
                db.hsetnx(ABOUT, "identity", secrets.token_hex(8))
                db.hsetnx(ABOUT, "schema", SCHEMA_VERSION)
                identity = db.hget(ABOUT, "identity")
            return (identity or b"").decode()

    def inspect(self) -> None:
        try:
            with self._client.lend() as (db, _):
                version = int(db.hget(ABOUT, "schema") or SCHEMA_VERSION)
                policy = db.info("memory").get("maxmemory_policy", "")
        except LogUnavailable:
            # Redis may start later; until then every call that needs it fails.
            return
        finally:
            self.close()
        if version > SCHEMA_VERSION:
            raise LogUnusable(
                f"{self.name}: written by a newer flask-sse-sink (schema {version}, this one "
                f"knows {SCHEMA_VERSION}); update this one, or name another database"
            )
        if policy.startswith("allkeys"):
            _log.warning(
                "%s: maxmemory-policy is %s, with which Redis may delete the log when its "
                "memory is full; set it to noeviction",
                self.name,
                policy,
            )

    def append(self, events: Sequence[NewEvent]) -> Appended:
        keys, values = arguments.of_append(events, now_us())
        with self._client.lend() as (db, scripts):
            duplicates, ids = self._written(
                db, lambda client: scripts.append(keys=keys, args=values, client=client)
            )
        return Appended([int(id) for id in ids], duplicates)

    def _write(self, db: Any, script: Any, keys: Sequence[str], values: Sequence[Any]) -> Any:
        """Return a script's answer, once the replicas have what it wrote."""
        return self._written(db, lambda client: script(keys=keys, args=values, client=client))

    def _written(self, db: Any, write: Callable[[Any], object]) -> Any:
        """Return the answer to what ``write`` sends, once the replicas have it, too.

        ``write`` gets the client to use.
        """
        return self._confirmed(db, write) if self._replicas else write(db)

    def _confirmed(self, db: Any, write: Callable[[Any], object]) -> Any:
        """Write, and wait until the replicas have it, on the same connection.

        :raises LogUnavailable: they didn't confirm in time. It is stored, and may be lost if the
            master is; the same batch sent again is found to be stored.
        """
        with db.pipeline(transaction=False) as pipe:
            write(pipe)
            # Less than the answer may take, in milliseconds.
            pipe.wait(self._replicas, round(self._client.timeout * 800))
            answer, confirmed = pipe.execute()
        if confirmed < self._replicas:
            raise LogUnavailable(
                f"{self.name}: {confirmed} of {self._replicas} replicas confirmed; mend the "
                "others, or lower database.replicas. Send it again: what is there already is "
                "found by its event_id",
                "too few replicas have confirmed it; send it again with the same event_id",
            )
        return answer

    def read(self, after: int, limit: int) -> list[StoredEnvelope]:
        with self._client.lend() as (db, _):
            entries = db.xrange(EVENTS, f"{after + 1}-0", "+", count=limit)
        return [(id_of(entry), fields[b"e"]) for entry, fields in entries]

    def appended(self, after: int, limit: int) -> list[StoredEnvelope] | None:
        return None

    def replay(self, after: int, limit: int, filter: Filter, until: int | None = None) -> Page:
        with self._client.lend() as (db, scripts):
            merge = None if filter.everything else merge_of(filter, RedisIndexes(db))
            keys, values = arguments.of_replay(after, until, limit, merge)
            entries, through, gone, end, is_merged = scripts.replay(keys=keys, args=values)
        envelopes = [(int(id), envelope) for id, envelope in entries]
        # Below the first event that is indexed, the script returns all events.
        is_exact = filter.everything or (is_merged and merge is not None and merge.is_exact)
        if not is_exact:
            envelopes = [
                (id, envelope)
                for id, envelope in envelopes
                if filter.matches(decode_envelope(envelope))
            ]
        return Page(envelopes, int(through), int(gone), int(through) < int(end))

    def head(self) -> int:
        with self._client.lend() as (db, _):
            return int(db.hget(ABOUT, "head") or 0)

    def status(self) -> LogStatus:
        with self._client.lend() as (db, _):
            head = int(db.hget(ABOUT, "head") or 0)
            events = db.xlen(EVENTS)
            size_bytes = db.memory_usage(EVENTS) or 0
            first = db.xrange(EVENTS, "-", "+", count=1)
        return LogStatus(head, events, size_bytes, int(first[0][1][b"a"]) if first else 0)

    def head_before(self, before_us: int) -> int:
        with self._client.lend() as (_, scripts):
            return int(scripts.head_before(keys=[EVENTS, ABOUT], args=[before_us]))

    def tail(self, after: int, timeout: float) -> int:
        until = time.monotonic() + timeout
        while True:
            left = max(0.001, until - time.monotonic())
            with self._client.lend() as (db, _):
                block = round(min(left, _SLICE_SECONDS) * 1000) or 1
                streams = db.xread({EVENTS: f"{after}-0"}, count=1, block=block)
            if streams:
                return id_of(streams[0][1][0][0])
            if self._interrupted.is_set() or time.monotonic() >= until:
                self._interrupted.clear()
                return self.head()

    def interrupt(self) -> None:
        self._interrupted.set()

    def prune(
        self,
        before_us: int,
        limit: int,
        keep: int = 0,
        future_us: int = FAR_FUTURE_US,
        before_prune: BeforePrune = prune_all,
    ) -> int:
        with self._client.lend() as (db, scripts):

            def dates(after: int, count: int) -> list[tuple[int, int]]:
                entries = db.xrange(EVENTS, f"{after + 1}-0", "+", count=count)
                return [(id_of(entry), int(fields[b"a"])) for entry, fields in entries]

            last = int(db.hget(ABOUT, "head") or 0) - keep if keep else 0
            # Mostly nothing is due, which the first event alone tells.
            if all(before_us <= at <= future_us and id > last for id, at in dates(0, 1)):
                return 0
            due = self._due.last_due(dates, limit, before_us, last, future_us)
            if due:
                due = before_prune(due)
            entries = db.xrange(EVENTS, "-", f"{due}-0", count=limit) if due else []
            if not entries:
                return 0
            keys, values = arguments.of_prune(entries)
            count: int = scripts.prune(keys=keys, args=values)
            return count

    def records(self, after: int, limit: int) -> list[Record]:
        with self._client.lend() as (db, _):
            entries = db.xrange(EVENTS, f"{after + 1}-0", "+", count=limit)
        return [
            Record(id_of(entry), int(fields[b"a"]), fields[b"o"].decode() or None, fields[b"e"])
            for entry, fields in entries
        ]

    def restore(self, records: Sequence[Record], head: int, identity: str) -> None:
        keys, values = arguments.of_restore(records, head, identity)
        with self._client.lend() as (_, scripts):
            if not scripts.restore(keys=keys, args=values):
                raise LogUnusable(f"{self.name}: {NO_COPY}")

    def check(self) -> None:
        with self._client.lend() as (db, _):
            probe = str(now_us()).ljust(PROBE_BYTES)
            if self._replicas:
                self._confirmed(db, lambda pipe: pipe.set(PROBE, probe, ex=_PROBE_SECONDS))
            else:
                db.set(PROBE, probe, ex=_PROBE_SECONDS)

    def close(self) -> None:
        self._client.close()
