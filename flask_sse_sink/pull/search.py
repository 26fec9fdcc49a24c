"""Finds the events of a pulled sink that are free, in the order of their ids."""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

from ..event import decode_envelope
from ..filters import Filter
from ..log import EventLog, StoredEnvelope
from ..log.deliveries import DeliveryStore, Place
from .lifetimes import Lifetimes

#: A batch's envelopes in bytes; the one that reaches this many is the batch's last.
BATCH_BYTES = 16 * 2**20
# How many events are read at once.
_PAGE = 1000
# Filters whose positions are remembered.
_MAX_POSITIONS = 256


class Findings(NamedTuple):
    """What a search found: free events, lowest ids first, and how far it went.

    ``expired`` are events with a row that are too old. Events up to ``gone`` were pruned, 0 where
    none was that the sink didn't know of. Up to ``passed`` nothing is fresh that the search was
    for, up to ``through`` nothing but what was found.
    """

    envelopes: list[StoredEnvelope]
    expired: list[int]
    passed: int
    through: int
    gone: int


class Search:
    """Searches the events of one sink.

    For each filter it remembers up to where nothing is fresh, so that a consumer of some types
    doesn't pass again and again over what it confirmed, while others haven't confirmed theirs.
    """

    def __init__(
        self, log: EventLog, store: DeliveryStore, sink: str, lifetimes: Lifetimes | None
    ) -> None:
        self._log = log
        self._store = store
        self._sink = sink
        self._lifetimes = lifetimes
        self._positions: OrderedDict[tuple[int, Filter], int] = OrderedDict()

    def find(self, place: Place, filter: Filter, count: int, spare: int = 0) -> Findings:
        """Return up to ``count`` free events that the filter lets through.

        ``spare`` more are returned where they cost nothing: others may take some of them first.
        """
        enough, count = count, count + spare
        with_row, expired = self._with_row(place, filter, count)
        position = self._positions.get((place.generation, filter), 0)
        after = self._after(place, max(place.cursor, position))
        if len(with_row) == count and with_row[-1][0] <= after:
            return Findings(with_row, expired, after, after, 0)
        fresh, through, gone = self._fresh(place, filter, after, (enough, count))
        passed = fresh[0][0] - 1 if fresh else through
        self._remember((place.generation, filter), passed)
        merged = _within_bytes(sorted([*with_row, *fresh])[:count])
        left_out = [id for id, _ in fresh if id > merged[-1][0]]
        if left_out:
            through = left_out[0] - 1
        return Findings(merged, expired, passed, through, gone)

    def count(self, place: Place, filter: Filter, after: int, limit: int) -> int:
        """Return how many fresh events above ``after`` are to be delivered, up to ``limit``."""
        count, more = 0, True
        while more and count < limit:
            page = self._log.replay(after, _PAGE, filter)
            after, more = page.through, page.more
            envelopes = self._without_row(place, page.envelopes)
            count += sum(not self._is_over(each, place.now_us) for each in envelopes)
        return min(count, limit)

    def count_among(self, ids: list[int], filter: Filter, now_us: int) -> int:
        """Return how many of these events the filter lets through and aren't too old."""
        envelopes = self._store.envelopes(ids)
        return sum(
            filter.matches(decode_envelope(each[1])) and not self._is_over(each, now_us)
            for each in envelopes
        )

    def _after(self, place: Place, after: int) -> int:
        """Return an id up to which nothing is to be delivered: all of it is too old."""
        if self._lifetimes is None:
            return after
        return max(after, self._log.head_before(place.now_us - self._lifetimes.longest_us))

    def _with_row(
        self, place: Place, filter: Filter, count: int
    ) -> tuple[list[StoredEnvelope], list[int]]:
        """Return free events that have a row, and the ids of those that are too old."""
        found: list[StoredEnvelope] = []
        expired: list[int] = []
        after, ids = 0, [0] if place.free_rows else []
        while ids and len(found) < count:
            ids = self._store.free_rows(self._sink, after, max(count, _PAGE), place.now_us)
            for id, envelope in self._store.envelopes(ids):
                event = decode_envelope(envelope)
                if not filter.matches(event):
                    continue
                if self._lifetimes and self._lifetimes.is_over(event, place.now_us):
                    expired.append(id)
                elif len(found) < count:
                    found.append((id, envelope))
            after = ids[-1] if ids else after
        return found, expired

    def _fresh(
        self, place: Place, filter: Filter, after: int, counts: tuple[int, int]
    ) -> tuple[list[StoredEnvelope], int, int]:
        """Return fresh events, the id up to which there are no others, and what was pruned.

        ``counts`` says how many are enough, and how many there may be.
        """
        enough, count = counts
        fresh: list[StoredEnvelope] = []
        size = gone = 0
        limit = min(_PAGE, count)
        while True:
            page = self._log.replay(after, limit, filter)
            if page.gone > after:
                gone = page.gone
            envelopes = self._without_row(place, page.envelopes)
            for envelope in envelopes:
                if self._is_over(envelope, place.now_us):
                    continue
                fresh.append(envelope)
                size += len(envelope[1])
                if len(fresh) == count or size >= BATCH_BYTES:
                    last = envelope[0] == (page.envelopes[-1][0] if page.envelopes else 0)
                    return fresh, page.through if last else envelope[0], gone
            # Others' events are passed over in larger and larger steps.
            after, limit = page.through, min(_PAGE, 4 * limit)
            if not page.more or len(fresh) >= enough:
                return fresh, after, gone

    def _without_row(self, place: Place, envelopes: list[StoredEnvelope]) -> list[StoredEnvelope]:
        if not place.rows or not envelopes:
            return envelopes
        rows = self._store.with_row(self._sink, [id for id, _ in envelopes])
        return [each for each in envelopes if each[0] not in rows] if rows else envelopes

    def _is_over(self, envelope: StoredEnvelope, now_us: int) -> bool:
        if self._lifetimes is None:
            return False
        return self._lifetimes.is_over(decode_envelope(envelope[1]), now_us)

    def _remember(self, key: tuple[int, Filter], passed: int) -> None:
        if passed > self._positions.get(key, 0):
            self._positions[key] = passed
            self._positions.move_to_end(key)
            while len(self._positions) > _MAX_POSITIONS:
                self._positions.popitem(last=False)


def _within_bytes(envelopes: list[StoredEnvelope]) -> list[StoredEnvelope]:
    size = 0
    for count, (_, envelope) in enumerate(envelopes, 1):
        size += len(envelope)
        if size >= BATCH_BYTES:
            return envelopes[:count]
    return envelopes
