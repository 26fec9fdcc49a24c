"""How long events may wait for a consumer: the settings ``ttl_enabled`` and its companions."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache

from ..event import Event


class Lifetimes:
    """The seconds for which events are delivered, by their type; others have ``default``."""

    def __init__(self, default: float, by_type: Mapping[str, float]) -> None:
        self._default = default
        self._by_type = dict(by_type)
        seconds = [default, *by_type.values()]
        #: Events that are older than this are over, whatever their type, in microseconds.
        self.longest_us = int(max(seconds) * 1_000_000)
        #: Those that aren't older than this aren't over.
        self.shortest_us = int(min(seconds) * 1_000_000)

    def is_over(self, event: Event, now_us: int) -> bool:
        """Return whether the event is too old to be delivered."""
        seconds = self._by_type.get(event.event_type, self._default)
        return _stored_at_us(event.created_at) + seconds * 1_000_000 <= now_us


@lru_cache(maxsize=64)
def _stored_at_us(created_at: str) -> int:
    # The events of a batch have the same time.
    return round(datetime.fromisoformat(created_at).timestamp() * 1_000_000)
