"""The place of a pulled sink in the log: up to where its events are confirmed."""

from __future__ import annotations

from typing import NamedTuple

from ..filters import Filter
from ..log import EventLog
from ..log.deliveries import DeliveryStore, Place, Span, Start
from .lifetimes import Lifetimes

# How many events are read at once to move the cursor.
_PAGE = 500
# Of so many pruned events it is known which the sink has not confirmed.
_MAX_KNOWN = 100 * _PAGE


class Rules(NamedTuple):
    """The settings of a sink that say what its consumers get."""

    match: Filter
    start: Start = "earliest"
    max_attempts: int = 0
    lifetimes: Lifetimes | None = None


class SinkPlace:
    """Makes, reads and moves the place of one sink.

    A place is made for a sink that has none. Its cursor passes over events once nothing up to
    there is to be delivered any more.
    """

    def __init__(self, log: EventLog, store: DeliveryStore, sink: str, rules: Rules) -> None:
        self._log = log
        self._store = store
        self._sink = sink
        self._rules = rules

    def open(self) -> None:
        """Give the sink its place in the log, unless it has one.

        :raises LogUnavailable: the log is away.
        """
        self._store.open(self._sink, self._rules.start)

    def get(self) -> Place:
        """Return where the sink is; it gets a place if it has none."""
        place = self._store.place(self._sink, self._rules.max_attempts)
        if place is None:
            # The sink was forgotten, or the log was made anew.
            self.open()
            place = self._store.place(self._sink, self._rules.max_attempts)
        if place is None:
            raise RuntimeError(f"the pulled sink {self._sink} has lost its place")
        return place

    def advance(self) -> None:
        """Move the cursor over events that were confirmed above it.

        :raises LogUnavailable: the log is away.
        """
        limit = 1
        while (place := self.get()).rows:
            page = self._log.replay(place.cursor, limit, self._rules.match)
            ids = [id for id, _ in page.envelopes]
            rows = self._store.with_row(self._sink, ids)
            fresh = [id for id in ids if id not in rows]
            passed = fresh[0] - 1 if fresh else page.through
            if passed <= place.cursor:
                return
            if limit > 1 or not fresh:
                span = Span(place.cursor, passed, passed)
                self._store.advance(self._sink, span, place.generation)
            if fresh or not page.more:
                return
            limit = _PAGE

    def skip_gone(self, place: Place, gone: int) -> None:
        """Move the cursor over events up to ``gone``, which were pruned; count them as missed."""
        ids = None
        if self._rules.match.everything and gone - place.cursor <= _MAX_KNOWN:
            ids = range(place.cursor + 1, gone + 1)
        self._store.miss(self._sink, gone, ids)

    def reset_beyond_head(self, place: Place) -> bool:
        """Set the cursor to the head if it is above it; return whether it was.

        It is where the log has lost its newest events. Those that come have ids that were settled.
        """
        if not place.cursor or place.cursor <= (head := self._log.head()):
            return False
        self._store.reset(self._sink, head)
        return True
