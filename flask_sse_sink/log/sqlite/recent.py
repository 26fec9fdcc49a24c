"""The events that this process stored last, so that the relay needn't read them from the file."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from ..protocol import StoredEnvelope

# What is kept at most. The relay usually reads an event right after its commit.
_EVENTS = 1000
_BYTES = 512 * 1024


class RecentEvents:
    """The newest events that this process stored, without a hole between their ids."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._events: list[StoredEnvelope] = []
        self._bytes = 0
        self._last_id = 0

    def add(self, events: Sequence[StoredEnvelope]) -> None:
        """Add the events of a commit, lowest id first. To be called in the order of commits."""
        size = sum([len(envelope) for _, envelope in events])
        with self._lock:
            # Another process has stored events in between, or too much is kept.
            if events[0][0] != self._last_id + 1 or self._is_full(len(events), size):
                self._clear()
            self._last_id = events[-1][0]
            if not self._is_full(len(events), size):
                self._events += events
                self._bytes += size

    def after(self, id: int, limit: int) -> list[StoredEnvelope] | None:
        """Return up to ``limit`` events, those right after this id, and forget the ones before.

        Empty where this process has stored nothing after the id. None where it has, and the
        events right after the id aren't kept here.
        """
        with self._lock:
            if self._last_id <= id:
                self._clear()
                return []
            if not self._events or not self._events[0][0] <= id + 1:
                return None
            del self._events[: id + 1 - self._events[0][0]]
            self._bytes = sum([len(envelope) for _, envelope in self._events])
            return self._events[:limit]

    def clear(self) -> None:
        """Keep no event."""
        with self._lock:
            self._clear()

    def _clear(self) -> None:
        self._events = []
        self._bytes = 0

    def _is_full(self, count: int, size: int) -> bool:
        return len(self._events) + count > _EVENTS or self._bytes + size > _BYTES
