"""One pulled sink: what its consumers extract, confirm and give back.

Longer than other modules: the steps change the same few things, and are read side by side.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ..event import decode_envelope
from ..filters import Filter
from ..log import EventLog, StoredEnvelope
from ..log.deliveries import DeliveryStore, Missed, Place, Span, Start, Taking
from .lifetimes import Lifetimes
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
_MAX_LAG = 100_000
# How many events are read at once to move the cursor.
_PAGE = 500


class NotGranted(Exception):
    """Somebody may not read every event of a batch, or of some dead letters.

    ``readable`` is what they may read.
    """

    def __init__(self, readable: Filter) -> None:
        super().__init__()
        self.readable = readable


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


class Backlog(NamedTuple):
    """How many events aren't confirmed, up to 100,000; are leased; are dead letters."""

    lag: int
    out: int
    dead: int


class Rules(NamedTuple):
    """The settings of a sink that say what its consumers get."""

    match: Filter
    start: Start = "earliest"
    max_attempts: int = 0
    lifetimes: Lifetimes | None = None


class Consumption:
    """The events of one sink on their way to its consumers, who confirm them."""

    def __init__(self, log: EventLog, store: DeliveryStore, sink: str, rules: Rules) -> None:
        self._log = log
        self._store = store
        self._sink = sink
        self._rules = rules
        self._search = Search(log, store, sink, rules.lifetimes)

    def open(self) -> None:
        """Give the sink its place in the log, unless it has one.

        :raises LogUnavailable: the log is away.
        """
        self._store.open(self._sink, self._rules.start)

    def place(self) -> Place:
        """Return where the sink is; it gets a place if it has none."""
        place = self._store.place(self._sink, self._rules.max_attempts)
        if place is None:
            # The sink was forgotten, or the log was made anew.
            self.open()
            place = self._store.place(self._sink, self._rules.max_attempts)
        if place is None:
            raise RuntimeError(f"the pulled sink {self._sink} has lost its place")
        return place

    def extract(self, filter: Filter, limit: int, lease_us: int = 0) -> Batch:
        """Return up to ``limit`` free events that the sink and the filter let through.

        With a lease of some microseconds nobody else gets them meanwhile.

        :raises LogUnavailable: the log is away; nothing was leased.
        """
        wanted = self._rules.match.narrowed(filter)
        for _ in range(_TRIES):
            place = self.place()
            findings = self._search.find(place, wanted, limit, _SPARE if lease_us else 0)
            if findings.gone > place.cursor:
                self._store.miss(self._sink, findings.gone, self._known_gone(place, findings.gone))
                continue
            if not findings.envelopes:
                if self._is_beyond_head(place):
                    continue
                return self._nothing(place, wanted, findings)
            batch = self._take(place, wanted, findings, limit, lease_us)
            if batch is not None:
                return batch
        return Batch(0, [], 0, 0, {}, _report(place), place.now_us)

    def _is_beyond_head(self, place: Place) -> bool:
        """Return whether the cursor was above the newest event; it is there now.

        Then the log has lost its newest events, and those that come have ids that were settled.
        """
        if not place.cursor or place.cursor <= (head := self._log.head()):
            return False
        self._store.reset(self._sink, head)
        return True

    def _known_gone(self, place: Place, gone: int) -> Sequence[int] | None:
        """Return the ids of the sink's events that were pruned, None where nobody knows them."""
        if not self._rules.match.everything or gone - place.cursor > 100 * _PAGE:
            return None
        return range(place.cursor + 1, gone + 1)

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

    def confirm(
        self, batch: int, ids: Iterable[int] | None = None, readable: Filter | None = None
    ) -> int:
        """Confirm a batch, or these of its events; return how many are confirmed by this.

        ``readable`` is what somebody may read, None for everything.

        :raises UnknownBatch: the sink never had such a batch.
        :raises NotGranted: they may not read all of its events; none was confirmed.
        :raises LogUnavailable: the log is away; none was confirmed.
        """
        self._check_granted(batch, readable)
        count, is_above = self._store.confirm(self._sink, batch, ids)
        if is_above:
            self.advance()
        return count

    def extend(self, batch: int, lease_us: int, readable: Filter | None = None) -> tuple[int, int]:
        """Lease a batch for so long from now; return how many events, and until when.

        Raises what :meth:`confirm` does.
        """
        self._check_granted(batch, readable)
        until_us = self._store.now_us() + lease_us
        return self._store.extend(self._sink, batch, until_us), until_us

    def release(self, batch: int, delay_us: int = 0, readable: Filter | None = None) -> int:
        """Give a batch back, free after the delay; return how many events were leased.

        Raises what :meth:`confirm` does.
        """
        self._check_granted(batch, readable)
        until_us = self._store.now_us() + delay_us
        return self._store.release(self._sink, batch, until_us, self._rules.max_attempts)

    def dead(
        self, after: int, limit: int, readable: Filter | None = None
    ) -> list[tuple[StoredEnvelope, int]]:
        """Return dead letters above an id that may be read, with their attempts."""
        # Those whose last lease has run out become dead letters now.
        self.place()
        letters: list[tuple[StoredEnvelope, int]] = []
        while len(letters) < limit:
            rows = self._store.dead(self._sink, after, limit)
            if not rows:
                break
            after = rows[-1][0]
            attempts = dict(rows)
            for stored in self._store.envelopes(list(attempts)):
                if readable is None or readable.matches(decode_envelope(stored[1])):
                    letters.append((stored, attempts[stored[0]]))
        return letters[:limit]

    def retry(self, ids: Sequence[int] | None = None, readable: Filter | None = None) -> int:
        """Free these dead letters, or all that may be read; return how many those are.

        :raises NotGranted: they may not read all of these.
        """
        self.place()
        if readable is not None:
            if ids is None:
                ids = [stored[0] for stored, _ in self.dead(0, 2**31, readable)]
            else:
                self._check_readable(sorted(ids), readable)
        return self._store.retry(self._sink, ids)

    def backlog(self) -> Backlog:
        """Return how far the consumers are behind."""
        place = self.place()
        status = next((each for each in self._store.status() if each.name == self._sink), None)
        out, waiting, dead = (status.out, status.waiting, status.dead) if status else (0, 0, 0)
        match = self._rules.match
        fresh = self._store.count_fresh(self._sink, place.cursor, match, _MAX_LAG)
        if fresh is None:
            fresh = self._search.count(place, match, place.cursor, MAX_REMAINING)
        return Backlog(min(_MAX_LAG, fresh + out + waiting), out, dead)

    def oldest_fresh(self) -> int:
        """Return the id of the oldest event that was never leased, 0 if there is none."""
        place = self.place()
        found = self._search.find(place._replace(free_rows=0), self._rules.match, 1)
        return found.envelopes[0][0] if found.envelopes else 0

    def acknowledge(self, missed: int) -> bool:
        """Repeat no report up to this id any more; return whether there was one."""
        return self._store.acknowledge(self._sink, missed)

    def _check_granted(self, batch: int, readable: Filter | None) -> None:
        ids = self._store.batch_ids(self._sink, batch) if readable is not None else []
        if readable is not None:
            self._check_readable(ids, readable)

    def _check_readable(self, ids: Sequence[int], readable: Filter) -> None:
        for _, envelope in self._store.envelopes(ids):
            if not readable.matches(decode_envelope(envelope)):
                raise NotGranted(readable)

    def advance(self) -> None:
        """Move the cursor over events that were confirmed above it.

        :raises LogUnavailable: the log is away.
        """
        limit = 1
        while (place := self.place()).rows:
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
