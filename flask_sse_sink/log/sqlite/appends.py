"""Stores producers' batches; those that wait while another one commits share the next commit."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence

from ...event import NewEvent, Source, encode_envelope
from ...exceptions import LogUnavailable
from ..protocol import Appended, iso, now_us
from . import queries
from .connections import Connections


class _Batch:
    """One producer's events, and what became of them."""

    def __init__(self, events: Sequence[NewEvent]) -> None:
        self.events = events
        self.result: Appended | None = None
        self.failure: LogUnavailable | None = None


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
    """Stores batches through ``connections.writer``; calls ``on_stored`` after each commit."""

    def __init__(self, connections: Connections, on_stored: Callable[[], None]) -> None:
        self._connections = connections
        self._on_stored = on_stored
        self._waiting: list[_Batch] = []
        self._sources = _Sources()

    def append(self, events: Sequence[NewEvent]) -> Appended:
        """Store a batch, all or nothing, and return once it is on the disk.

        :raises LogUnavailable: nothing of it was stored.
        """
        batch = _Batch(events)
        self._waiting.append(batch)
        with self._connections.writer.lock:
            # The thread that held the lock before may have stored this batch with its own.
            if batch.result is None and batch.failure is None:
                self._commit()
        if batch.result is None:
            raise batch.failure or LogUnavailable(f"{self._connections.path}: not stored")
        return batch.result

    def _commit(self) -> None:
        """Store every batch that waits, in one transaction."""
        batches, self._waiting = self._waiting, []
        try:
            with self._connections.transaction() as db:
                at = now_us()
                results = [self._insert(db, batch.events, at) for batch in batches]
        except LogUnavailable as error:
            self._sources.clear()
            for batch in batches:
                batch.failure = error
            return
        except BaseException as error:
            self._sources.clear()
            for batch in batches:
                batch.failure = LogUnavailable(f"{self._connections.path}: {error!r}")
            raise
        for batch, result in zip(batches, results, strict=True):
            batch.result = result
        if any(result.accepted for result in results):
            self._on_stored()

    def _insert(self, db: sqlite3.Connection, events: Sequence[NewEvent], at: int) -> Appended:
        sources = [self._sources.get(db, event.source) for event in events]
        keys = [(source.id, event.event_id) for source, event in zip(sources, events, strict=True)]
        known = queries.known_ids(db, keys)
        created_at = iso(at)
        next_id = queries.head(db) + 1
        ids: list[int] = []
        rows = []
        for key, source, event in zip(keys, sources, events, strict=True):
            id = known.get(key)
            if id is None:
                id = known[key] = next_id
                next_id += 1
                envelope = encode_envelope(event.as_event(id, created_at, source)).decode()
                rows.append((id, *key, event.event_type, at, event.occurred_at, envelope))
            ids.append(id)
        db.executemany("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
        return Appended(ids, len(events) - len(rows))
