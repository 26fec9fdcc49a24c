"""The event log in Redis Streams: many machines, one order.

One script in Redis gives the ids, deduplicates and appends, whole or not at all. What an answered
append survives is for Redis's own configuration to say: see docs/many-machines.md.
"""

from __future__ import annotations

import contextlib
import logging
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import msgspec
from redis.exceptions import RedisClusterException

from ... import event as envelope
from ...event import Event, NewEvent, Source
from ...exceptions import LogUnavailable, LogUnusable
from ...filters import Filter
from .. import NARROW_TYPES, NO_COPY, PAGE_BYTES, PROBE_BYTES, Appended, Page, Record, iso, now_us
from ..dates import FAR_FUTURE_US, Dates
from .client import ERRORS, TIMEOUT_SECONDS, UNREACHABLE, connect, cure, disconnect
from .scripts import (
    ABOUT,
    APPEND,
    EVENTS,
    HEAD_BEFORE,
    IDS,
    PREFIX,
    PRUNE,
    REPLAY,
    RESTORE,
    SOURCES,
    TYPE,
    TYPES,
)
from .url import without_password

_log = logging.getLogger(__name__)

SCHEMA_VERSION = 1
_TRY_SECONDS = 0.5
# How soon a wait looks whether it was interrupted.
_SLICE_SECONDS = 0.5


class RedisLog:
    """An :class:`~flask_sse_sink.log.EventLog` in the Redis that ``url`` names.

    ``replicas`` must have an append before it is answered. A connection that failed is opened
    anew by the next call: the log is back as soon as Redis is. While Redis can't be reached, one
    caller in half a second tries, and the others are told at once: a server whose threads all
    wait for Redis would answer nobody.
    """

    def __init__(self, url: str, replicas: int = 0) -> None:
        self._url = url
        self._replicas = replicas
        self.name = without_password(url)
        self._lock = threading.Lock()
        self._client: Any = None
        self._interrupted = threading.Event()
        self._down: LogUnavailable | None = None
        self._next_try = 0.0
        self._dates = Dates(self.name)

    @property
    def identity(self) -> str:
        with self._redis() as db:
            found: bytes | None = db.hget(ABOUT, "identity")
            if found is None:
                fresh = {"identity": secrets.token_hex(8), "schema": SCHEMA_VERSION}
                for field, value in fresh.items():
                    db.hsetnx(ABOUT, field, value)
                found = db.hget(ABOUT, "identity")
            return (found or b"").decode()

    def inspect(self) -> None:
        try:
            with self._redis() as db:
                version = int(db.hget(ABOUT, "schema") or SCHEMA_VERSION)
                policy = db.info("memory").get("maxmemory_policy", "")
        except LogUnavailable:
            # It may come: whoever needs it says so until then.
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
                *(self.name, policy),
            )

    def append(self, events: Sequence[NewEvent]) -> Appended:
        at = now_us()
        created_at = iso(at)
        places, keys = _places(event.event_type for event in events)
        values: list[str | bytes | int] = [at]
        for event in events:
            occurred_at = event.occurred_at.isoformat() if event.occurred_at else ""
            name, event_id = event.source or "", event.event_id or ""
            values += (places[event.event_type], event.event_type, name, event_id, occurred_at)
            values += _halves(event, created_at)
        with self._redis() as db:
            if self._replicas:
                duplicates, ids = self._confirmed(
                    db, lambda pipe: db.append(keys=keys, args=values, client=pipe)
                )
            else:
                duplicates, ids = db.append(keys=keys, args=values)
        return Appended([int(id) for id in ids], duplicates)

    def _confirmed(self, db: Any, write: Callable[[Any], object]) -> Any:
        """Write, and wait on the same connection until so many replicas have it.

        :raises LogUnavailable: they didn't say so in time. It is stored, and may be lost with
            the master; a repeat finds it.
        """
        with db.pipeline(transaction=False) as pipe:
            write(pipe)
            pipe.wait(self._replicas, round(TIMEOUT_SECONDS * 800))
            answer, confirmed = pipe.execute()
        if confirmed < self._replicas:
            raise LogUnavailable(
                f"{self.name}: {confirmed} of {self._replicas} replicas confirmed; mend the "
                "others, or lower database.replicas. Send it again: what is there already is "
                "found by its event_id",
                "too few replicas have confirmed it; send it again with the same event_id",
            )
        return answer

    def read(self, after: int, limit: int) -> list[Event]:
        with self._redis() as db:
            entries = db.xrange(EVENTS, f"{after + 1}-0", "+", count=limit)
        return [envelope.stored(fields[b"e"]) for _, fields in entries]

    def replay(self, after: int, limit: int, filter: Filter, until: int | None = None) -> Page:
        with self._redis() as db:
            types = None if filter.everything else self._types(db, filter)
            bound = "+" if until is None else str(until)
            keys = [EVENTS, ABOUT, *(TYPE + name for name in types or ())]
            if types == []:
                # Nothing is wanted, but for what is known of the log itself.
                keys.append(TYPE)
            found, through, gone, end = db.replay(
                keys=keys, args=[after, bound, limit, PAGE_BYTES]
            )
        envelopes = [(int(id), text) for id, text in found]
        if types is None and not filter.everything:
            decoded = ((id, text, envelope.stored(text).event_type) for id, text in envelopes)
            envelopes = [(id, text) for id, text, name in decoded if filter.matches(name)]
        return Page(envelopes, int(through), int(gone), int(through) < int(end))

    def _types(self, db: Any, filter: Filter) -> list[str] | None:
        """Return the types in the log that the filter lets through, None where they are many."""
        found = sorted(filter.exact)
        for prefix in filter.prefixes:
            low, high = b"[" + prefix.encode(), b"(" + prefix[:-1].encode() + b"/"
            names = db.zrangebylex(TYPES, low, high, start=0, num=NARROW_TYPES + 1)
            found += [name.decode() for name in names]
        return found if len(found) <= NARROW_TYPES else None

    def head(self) -> int:
        with self._redis() as db:
            return int(db.hget(ABOUT, "head") or 0)

    def head_before(self, before_us: int) -> int:
        with self._redis() as db:
            return int(db.head_before(keys=[EVENTS, ABOUT], args=[before_us]))

    def tail(self, after: int, timeout: float) -> int:
        until = time.monotonic() + timeout
        while True:
            left = max(0.001, until - time.monotonic())
            with self._redis() as db:
                block = round(min(left, _SLICE_SECONDS) * 1000) or 1
                found = db.xread({EVENTS: f"{after}-0"}, count=1, block=block)
            if found:
                return _id(found[0][1][0][0])
            if self._interrupted.is_set() or time.monotonic() >= until:
                self._interrupted.clear()
                return self.head()

    def interrupt(self) -> None:
        self._interrupted.set()

    def prune(
        self, before_us: int, limit: int, keep: int = 0, future_us: int = FAR_FUTURE_US
    ) -> int:
        with self._redis() as db:

            def rows(after: int, count: int) -> list[tuple[int, int]]:
                entries = db.xrange(EVENTS, f"{after + 1}-0", "+", count=count)
                return [(_id(entry), int(fields[b"a"])) for entry, fields in entries]

            last = int(db.hget(ABOUT, "head") or 0) - keep if keep else 0
            # Mostly there is nothing to do, which the first event tells.
            if all(before_us <= at <= future_us and id > last for id, at in rows(0, 1)):
                return 0
            due = self._dates.due(rows, limit, before_us, last, future_us)
            going = db.xrange(EVENTS, "-", f"{due}-0", count=limit) if due else []
            if not going:
                return 0
            types = list(dict.fromkeys(fields[b"t"] for _, fields in going))
            values: list[int | bytes] = [_id(going[-1][0]), len(types), *types]
            for entry, fields in going:
                values += (fields[b"k"], _id(entry))
            keys = [EVENTS, IDS, TYPES, *(TYPE.encode() + name for name in types)]
            count: int = db.prune(keys=keys, args=values)
            return count

    def records(self, after: int, limit: int) -> list[Record]:
        with self._redis() as db:
            entries = db.xrange(EVENTS, f"{after + 1}-0", "+", count=limit)
        return [
            Record(
                *(_id(entry), int(fields[b"a"])),
                *(fields[b"o"].decode() or None, fields[b"e"]),
            )
            for entry, fields in entries
        ]

    def restore(self, records: Sequence[Record], head: int, identity: str) -> None:
        events = [envelope.stored(record.envelope) for record in records]
        places, keys = _places(event.event_type for event in events)
        values: list[str | bytes | int] = [identity, head]
        for record, event in zip(records, events, strict=True):
            values += (places[event.event_type], event.event_type, record.id)
            values += (record.created_at_us, record.occurred_at or "", record.envelope)
            values += (event.source.id, event.source.name, event.event_id)
        with self._redis() as db:
            if not db.restore(keys=keys, args=values):
                raise LogUnusable(f"{self.name}: {NO_COPY}")

    def check(self) -> None:
        with self._redis() as db:
            probe = str(now_us()).ljust(PROBE_BYTES)
            if self._replicas:
                self._confirmed(db, lambda pipe: pipe.set(PREFIX + "probe", probe, ex=60))
            else:
                db.set(PREFIX + "probe", probe, ex=60)

    def close(self) -> None:
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            disconnect(client)

    @contextlib.contextmanager
    def _redis(self) -> Iterator[Any]:
        """Lend the client, and turn its errors into ours."""
        down = self._down
        if down is not None and not self._may_try():
            raise LogUnavailable(str(down), down.public)
        try:
            yield self._opened()
        except ERRORS as error:
            public, told = cure(error)
            told = f"{self.name}: {told}"
            if isinstance(error, RedisClusterException):
                # By now its nodes may have other addresses than those that the client knows.
                self.close()
            if isinstance(error, UNREACHABLE):
                self._down = LogUnavailable(told, public)
                self._next_try = time.monotonic() + _TRY_SECONDS
            raise LogUnavailable(told, public) from error
        self._down = None

    def _may_try(self) -> bool:
        now = time.monotonic()
        with self._lock:
            if now < self._next_try:
                return False
            # Until this one has failed, too.
            self._next_try = now + 2 * TIMEOUT_SECONDS
            return True

    def _opened(self) -> Any:
        client = self._client
        if client is not None:
            return client
        # Without the lock, as a cluster is asked for its nodes: who waits would wait in turn.
        made = connect(self._url, TIMEOUT_SECONDS)
        made.append = made.register_script(APPEND)
        made.replay = made.register_script(REPLAY)
        made.restore = made.register_script(RESTORE)
        made.prune = made.register_script(PRUNE)
        made.head_before = made.register_script(HEAD_BEFORE)
        with self._lock:
            if self._client is None:
                self._client = made
            client = self._client
        if client is not made:
            disconnect(made)
        return client


def _id(entry: bytes) -> int:
    """Return the id of an entry of the stream."""
    return int(entry.partition(b"-")[0])


def _places(types: Iterable[str]) -> tuple[dict[str, int], list[str]]:
    """Return which of the keys is each type's stream, and all keys of a script that stores."""
    names = list(dict.fromkeys(types))
    keys = [EVENTS, ABOUT, SOURCES, IDS, TYPES]
    places = {name: place for place, name in enumerate(names, len(keys) + 1)}
    return places, [*keys, *(TYPE + name for name in names)]


def _halves(event: NewEvent, created_at: str) -> tuple[bytes, bytes]:
    """Return the envelope's text between the two ids that Redis gives, and after them."""
    whole = envelope.encode(event.stored(0, created_at, Source(0, event.source or "")))
    name = msgspec.json.encode(event.source or "")
    end = b',"name":' + name + b'},"meta":' + event.meta_json.encode() + b"}"
    return whole.removeprefix(b'{"id":0').removesuffix(b"0" + end), end
