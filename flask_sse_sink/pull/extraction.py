"""Extracts: each returns a batch of free events, and leases them if asked to."""

from __future__ import annotations

from typing import NamedTuple

from ..filters import Filter
from ..log import EventLog, StoredEnvelope
from ..log.deliveries import DeliveryStore, Missed, Place, Span, Taking
from .place import Rules, SinkPlace
from .search import Findings, Search

#: ``remaining`` is exact up to one less than this.
MAX_REMAINING = 10_001
# Consumers that lease at the same time look at the same events: a search finds some more than are
# asked for, so that each of them gets some.
_SPARE = 32
# How often a search begins anew because others took all that it had found.
_TRIES = 20
# An extract that finds nothing moves the cursor over so many events that others' filters get.
_ADVANCE = 1000


class Batch(NamedTuple):
    """What an extract returns; ``id`` is 0 where no event was free.

    ``attempts`` has the leased events that were out before, with how often they were out now.
    ``next_us`` is when an event may become free without being new, 0 for no such time.
    """

    id: int
    envelopes: list[StoredEnvelope]
    remaining: int
    until_us: int
    attempts: dict[int, int]
    missed: Missed | None
    next_us: int = 0


class Extraction:
    """Extracts events of one sink."""

    def __init__(
        self, log: EventLog, store: DeliveryStore, sink: str, rules: Rules, place: SinkPlace
    ) -> None:
        self._log = log
        self._store = store
        self._sink = sink
        self._rules = rules
        self._place = place
        self._search = Search(log, store, sink, rules.lifetimes)

    def extract(self, filter: Filter, limit: int, lease_us: int = 0) -> Batch:
        """Return up to ``limit`` free events that the sink and the filter let through.

        With a lease of some microseconds nobody else gets them meanwhile.

        :raises LogUnavailable: the log is away; nothing was leased.
        """
        wanted = self._rules.match.narrowed(filter)
        for _ in range(_TRIES):
            place = self._place.get()
            findings = self._search.find(place, wanted, limit, _SPARE if lease_us else 0)
            if findings.gone > place.cursor:
                self._place.skip_gone(place, findings.gone)
                continue
            if not findings.envelopes:
                if self._place.reset_beyond_head(place):
                    continue
                return self._nothing(place, wanted, findings)
            batch = self._take(place, wanted, findings, limit, lease_us)
            if batch is not None:
                return batch
        return Batch(0, [], 0, 0, {}, _report(place), place.now_us)

    def _nothing(self, place: Place, wanted: Filter, findings: Findings) -> Batch:
        span = self._span(place, wanted, findings)
        if findings.expired:
            self._store.take(
                self._sink,
                Taking([], 0, 0, place.generation, place.now_us, span, 0, findings.expired),
            )
        elif span is not None and span.passed >= place.cursor + _ADVANCE:
            self._store.advance(self._sink, span, place.generation)
        return Batch(0, [], 0, 0, {}, _report(place), place.next_us)

    def _span(self, place: Place, wanted: Filter, findings: Findings) -> Span | None:
        """Return what a search says about the cursor: nothing if it left out events."""
        if wanted != self._rules.match:
            return None
        return Span(place.cursor, findings.passed, findings.through)

    def _take(
        self, place: Place, wanted: Filter, findings: Findings, limit: int, lease_us: int
    ) -> Batch | None:
        """Return a batch of what was found; None where others took all of it."""
        missed = _report(place)
        until_us = place.now_us + lease_us if lease_us else 0
        taking = Taking(
            [id for id, _ in findings.envelopes],
            limit,
            until_us,
            place.generation,
            place.now_us,
            self._span(place, wanted, findings),
            missed.id if missed else 0,
            findings.expired,
        )
        taken = self._store.take(self._sink, taking)
        if not taken.ids:
            return None
        ids = set(taken.ids)
        envelopes = [each for each in findings.envelopes if each[0] in ids]
        attempts = {id: count for id, count in taken.attempts.items() if count > 1}
        remaining = self._remaining(place, wanted, ids, _looked_through(findings, max(ids)))
        return Batch(taken.batch, envelopes, remaining, until_us, attempts, missed)

    def _remaining(self, place: Place, wanted: Filter, taken: set[int], through: int) -> int:
        """Return how many events are free beside those, up to :data:`MAX_REMAINING`.

        Of the events up to ``through``, no other one is fresh.
        """
        rows = self._free_rows(place, wanted, taken)
        # The cursor may be there now, and what was confirmed below it has no row any more.
        after = max(place.cursor, through)
        limit = MAX_REMAINING - rows
        lifetimes = self._rules.lifetimes
        count = None
        if lifetimes is None or after >= self._log.head_before(
            place.now_us - lifetimes.shortest_us
        ):
            count = self._store.count_fresh(self._sink, after, wanted, limit)
        if count is None:
            count = self._search.count(place, wanted, after, limit)
        return min(MAX_REMAINING, rows + count)

    def _free_rows(self, place: Place, wanted: Filter, taken: set[int]) -> int:
        if not place.free_rows:
            return 0
        ids = self._store.free_rows(self._sink, 0, MAX_REMAINING, place.now_us)
        ids = [id for id in ids if id not in taken]
        if wanted != self._rules.match or self._rules.lifetimes is not None:
            return self._search.count_among(ids, wanted, place.now_us)
        return len(ids)

    def count_fresh(self, place: Place, limit: int) -> int:
        """Return how many events above the cursor are fresh and the sink's.

        Counted up to ``limit``, and up to :data:`MAX_REMAINING` where they have to be read.
        """
        match = self._rules.match
        fresh = self._store.count_fresh(self._sink, place.cursor, match, limit)
        if fresh is None:
            fresh = self._search.count(place, match, place.cursor, MAX_REMAINING)
        return fresh

    def oldest_fresh(self) -> int:
        """Return the id of the oldest event that was never leased, 0 if there is none."""
        place = self._place.get()
        found = self._search.find(place._replace(free_rows=0), self._rules.match, 1)
        return found.envelopes[0][0] if found.envelopes else 0


def _looked_through(findings: Findings, last: int) -> int:
    """Return the id up to which a search found all fresh events, where ``last`` was taken."""
    left_out = [id for id, _ in findings.envelopes if id > last]
    through = min(findings.through, left_out[0] - 1) if left_out else findings.through
    return max(last, through)


def _report(place: Place) -> Missed | None:
    """Return all reports of a sink as one."""
    if not place.missed:
        return None
    joined = place.missed[0]
    for later in place.missed[1:]:
        joined = joined.joined(later)
    return joined
