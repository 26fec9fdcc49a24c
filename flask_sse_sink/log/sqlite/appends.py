"""Stores producers' batches; those that wait while another one commits share the next commit."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Sequence

from ...event import NewEvent, Source, encode_envelope
from ...exceptions import LogUnavailable
from ..protocol import Appended, StoredEnvelope, iso, now_us
from . import queries
from .connections import Connections
from .recent import RecentEvents


class _Batch:
    """One producer's events, and what became of them. ``wake`` is held while its thread waits."""

    __slots__ = ("events", "failure", "result", "wake")

    def __init__(self, events: Sequence[NewEvent]) -> None:
        self.events = events
        self.result: Appended | None = None
        self.failure: LogUnavailable | None = None
        self.wake = threading.Lock()
        self.wake.acquire()

    @property
    def is_done(self) -> bool:
        """Return whether it was stored, or failed."""
        return self.result is not None or self.failure is not None


class _Sources:
    """The sources that one connection has read or inserted, by name."""

    def __init__(self) -> None:
        self._db: sqlite3.Connection | None = None
        self._sources: dict[str, Source] = {}

    def get(self, db: sqlite3.Connection, name: str) -> Source:
        """Return a source, which becomes one now if it is new."""
        if db is not self._db:
            # Another connection may lead to another file.
            self.clear()
            self._db = db
        source = self._sources.get(name)
        if source is None:
            source = self._sources[name] = Source(queries.source_id(db, name), name)
        return source

    def clear(self) -> None:
        """Forget them: the transaction failed, and with it a source that was new."""
        self._sources.clear()


class Appends:
    """Stores batches through ``connections.writer``; calls ``on_stored`` after each commit.

    One producer's thread at a time is the committing one: the first that finds none. It stores
    every batch that waits, wakes their threads, and makes the next waiting thread the committing
    one. So a thread is woken once, and none of them waits for the writer's lock.

    ``recent`` gets the events of each commit.
    """

    def __init__(
        self, connections: Connections, recent: RecentEvents, on_stored: Callable[[], None]
    ) -> None:
        self._connections = connections
        self._recent = recent
        self._on_stored = on_stored
        self._waiting: list[_Batch] = []
        # Held while a thread is the committing one; passed on to the next without a release.
        self._committing = threading.Lock()
        self._sources = _Sources()

    def append(self, events: Sequence[NewEvent]) -> Appended:
        """Store a batch, all or nothing, and return once it is on the disk.

        :raises LogUnavailable: nothing of it was stored.
        """
        batch = _Batch(events)
        self._waiting.append(batch)
        # Another thread that commits finds this batch, as it looks again after its commit.
        commits = self._committing.acquire(blocking=False)
        if not commits:
            batch.wake.acquire()
            commits = not batch.is_done
        if commits:
            try:
                if not batch.is_done:
                    with self._connections.writer.lock:
                        self._commit(batch)
            finally:
                self._pass_on()
        if batch.result is None:
            raise batch.failure or LogUnavailable(f"{self._connections.path}: not stored")
        return batch.result

    def _pass_on(self) -> None:
        """Make the thread of the first batch that waits the committing one, if there is any."""
        while True:
            if self._waiting:
                self._waiting[0].wake.release()
                return
            self._committing.release()
            # A batch may have come after the look, and before the release.
            if not self._waiting or not self._committing.acquire(blocking=False):
                return

    def _commit(self, own: _Batch) -> None:
        """Store every batch that waits, in one transaction, and wake the others' threads."""
        batches: list[_Batch] = []
        stored: list[StoredEnvelope] = []
        try:
            with self._connections.transaction() as db:
                batches = self._take()
                results = self._insert(db, batches, stored)
        except BaseException as error:
            batches = batches or self._take()
            self._fail(batches, error)
            if not isinstance(error, LogUnavailable):
                raise
        else:
            if stored:
                self._recent.add(stored)
            for batch, result in zip(batches, results, strict=True):
                batch.result = result
        finally:
            for batch in batches:
                if batch is not own:
                    batch.wake.release()
        if stored:
            self._on_stored()

    def _take(self) -> list[_Batch]:
        # Two atomic steps on one list: a batch that is added in between stays in it.
        batches = self._waiting[:]
        del self._waiting[: len(batches)]
        return batches

    def _fail(self, batches: list[_Batch], error: BaseException) -> None:
        """Note that none of the batches was stored."""
        self._sources.clear()
        if not isinstance(error, LogUnavailable):
            error = LogUnavailable(f"{self._connections.path}: {error!r}")
        for batch in batches:
            batch.failure = error

    def _insert(
        self, db: sqlite3.Connection, batches: list[_Batch], stored: list[StoredEnvelope]
    ) -> list[Appended]:
        """Insert the batches, and add what wasn't in the log before to ``stored``."""
        at = now_us()
        created_at = iso(at)
        events = [event for batch in batches for event in batch.events]
        sources = [self._sources.get(db, event.source) for event in events]
        keys = [(source.id, event.event_id) for source, event in zip(sources, events, strict=True)]
        known = queries.known_ids(db, keys)
        next_id = queries.head(db) + 1
        ids: list[int] = []
        rows: list[queries.EventRow] = []
        new: list[bool] = []
        for key, source, event in zip(keys, sources, events, strict=True):
            id = known.get(key)
            new.append(id is None)
            if id is None:
                id = known[key] = next_id
                next_id += 1
                envelope = encode_envelope(event.as_event(id, created_at, source))
                stored.append((id, envelope))
                rows.append((id, *key, event.event_type, at, event.occurred_at, envelope.decode()))
            ids.append(id)
        queries.insert(db, rows)
        results = []
        begin = 0
        for batch in batches:
            end = begin + len(batch.events)
            results.append(Appended(ids[begin:end], new[begin:end].count(False)))
            begin = end
        return results
