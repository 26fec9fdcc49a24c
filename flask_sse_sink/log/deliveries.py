"""What a log keeps for pulled sinks: :class:`DeliveryStore`, and the types of its answers.

A pulled sink has a *cursor*: events up to it are settled, except those that have a row. A row is
kept only for an event that is out of order: out in a batch, given back, in the dead letters, or
confirmed above the cursor. So neither the space nor the work grows with what was confirmed.

An event of the sink is

- *fresh* if it is above the cursor and has no row: it was never leased;
- *free* if it is fresh, or if its lease or its delay has run out;
- *settled* if it is at or below the cursor without a row, or confirmed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple, Protocol

from msgspec import Struct

from ..exceptions import ConfigError
from ..filters import Filter
from .protocol import EventLog, StoredEnvelope

#: A batch's id is its number within its sink times this, plus the sink's number. So the id alone
#: tells whose batch it is, also of one that was settled long ago and is no longer kept.
MAX_SINKS = 1000
#: For how long a batch is kept that nobody confirms, after its lease.
KEEP_BATCH_US = 86_400 * 1_000_000
#: And how many batches of a sink are kept at most.
MAX_BATCHES = 100_000
#: Reports of what was pruned unconfirmed, at most; older ones are joined.
MAX_MISSED = 16

Start = Literal["earliest", "latest"]


class Missed(Struct, frozen=True, array_like=True):
    """Events that were pruned before they were confirmed.

    ``id`` names this report; its ids rise. ``count`` is None where nobody knows it.
    """

    id: int
    count: int | None
    first_id: int
    last_id: int

    def joined(self, later: Missed) -> Missed:
        """Return one report for both."""
        known = self.count is not None and later.count is not None
        count = (self.count or 0) + (later.count or 0) if known else None
        first_id = min(self.first_id, later.first_id)
        return Missed(later.id, count, first_id, max(self.last_id, later.last_id))


class Place(NamedTuple):
    """Where a sink is in the log.

    ``generation`` rises when the place is set anew: what was known of the place before is void.
    ``free_rows`` counts the events with a row that are free at ``now_us``, and ``next_us`` is when
    the next lease or delay runs out, 0 where there is none. ``rows`` tells whether any is kept.
    """

    cursor: int
    generation: int
    missed: tuple[Missed, ...]
    free_rows: int
    next_us: int
    rows: bool
    now_us: int


class Span(NamedTuple):
    """What a search has found out: nothing between ``after`` and ``passed`` is fresh.

    Up to ``through`` nothing is fresh but the events that are to be taken. ``after`` was the
    cursor, so that the cursor may move.
    """

    after: int
    passed: int
    through: int


class Taking(NamedTuple):
    """What :meth:`DeliveryStore.take` is asked for.

    At most ``limit`` of ``ids``, which are sorted. ``until_us`` is the end of the lease, 0 for
    none. ``span`` is None where the search looked for a part of the sink's events only, or began
    above the cursor. ``missed`` is the id of the report that the reply has, else 0. ``expired``
    are events with a row that are too old to be delivered: if they are free they are settled.
    """

    ids: Sequence[int]
    limit: int
    until_us: int
    generation: int
    now_us: int
    span: Span | None = None
    missed: int = 0
    expired: Sequence[int] = ()


class Taken(NamedTuple):
    """A batch: its id (0 if it is empty), its events' ids, and how often each was out, with this.

    ``attempts`` has leased events alone. ``is_current`` is false where the place was set anew
    since the search, so that nothing was taken.
    """

    batch: int
    ids: list[int]
    attempts: dict[int, int]
    is_current: bool = True


class Confirmed(NamedTuple):
    """How many events were confirmed, and whether any confirmed one is above the cursor."""

    events: int
    is_above: bool


class PullStatus(NamedTuple):
    """A sink's place and rows, for people. ``oldest_row`` is 0 where no row is unsettled."""

    name: str
    cursor: int
    out: int
    waiting: int
    dead: int
    confirmed_above: int
    oldest_row: int
    missed: tuple[Missed, ...]


class UnknownBatch(LookupError):
    """The sink has never had a batch of this id."""


class TooManySinks(ConfigError):
    """The log keeps places for :data:`MAX_SINKS` pulled sinks at most."""


class DeliveryStore(Protocol):
    """Keeps the places of pulled sinks beside a log's events.

    Each method that changes something is atomic, and returns once the change would survive a
    power cut. Times are in microseconds since the epoch, on :meth:`now_us`: the clock of the log,
    so that machines which share a log agree on when a lease ends. Every method may raise
    :exc:`~flask_sse_sink.exceptions.LogUnavailable`. Any thread may call any method.
    """

    def now_us(self) -> int:
        """Return the time on the clock by which leases end."""

    def open(self, sink: str, start: Start) -> None:
        """Give a sink a place unless it has one: before the earliest event, or at the head.

        Notes in any case that the sink was in use now.

        :raises TooManySinks: there are too many.
        """

    def place(self, sink: str, max_attempts: int = 0) -> Place | None:
        """Return where the sink is, None where it has no place.

        Free events that were leased ``max_attempts`` times go to the dead letters now, unless
        that is 0.
        """

    def free_rows(self, sink: str, after: int, limit: int, now_us: int) -> list[int]:
        """Return ids above ``after`` of events that have a row and are free, lowest first."""

    def with_row(self, sink: str, ids: Sequence[int]) -> set[int]:
        """Return those of the ids that have a row."""

    def envelopes(self, ids: Sequence[int]) -> list[StoredEnvelope]:
        """Return those of these events that the log still has, lowest id first."""

    def count_fresh(self, sink: str, after: int, filter: Filter, limit: int) -> int | None:
        """Return how many fresh events above ``after`` the filter lets through, up to ``limit``.

        ``after`` isn't below the cursor. Returns None where the log has no index for this filter,
        so that they must be read.
        """

    def take(self, sink: str, taking: Taking) -> Taken:
        """Make a batch of events that are free now, and move the cursor as far as it can be."""

    def advance(self, sink: str, span: Span, generation: int) -> None:
        """Move the cursor to ``span.passed``, unless the place was set anew."""

    def batch_ids(self, sink: str, batch: int) -> list[int]:
        """Return the ids of a batch's events that aren't confirmed, none if it is settled.

        :raises UnknownBatch: the sink never had such a batch.
        """

    def confirm(self, sink: str, batch: int, ids: Iterable[int] | None = None) -> Confirmed:
        """Confirm a batch, or only these of its events; return how many are confirmed by this.

        Not counted are events that were confirmed before, and those that another batch has leased
        since. A report that the batch had is no longer repeated.

        :raises UnknownBatch: the sink never had such a batch.
        """

    def extend(self, sink: str, batch: int, until_us: int) -> int:
        """Let the leases of a batch end at this time; return how many events that are.

        :raises UnknownBatch: the sink never had such a batch.
        """

    def release(self, sink: str, batch: int, until_us: int, max_attempts: int = 0) -> int:
        """Give a batch's leased events back, free from this time on; return how many those are.

        :raises UnknownBatch: the sink never had such a batch.
        """

    def dead(self, sink: str, after: int, limit: int) -> list[tuple[int, int]]:
        """Return ids above ``after`` in the dead letters, lowest first, with their attempts."""

    def retry(self, sink: str, ids: Iterable[int] | None = None) -> int:
        """Free these dead letters, or all, with no attempts; return how many those are."""

    def miss(self, sink: str, through: int, ids: Sequence[int] | None) -> int | None:
        """Note that events up to ``through`` are pruned, and return how many were unconfirmed.

        ``ids`` are the events of the sink between the cursor and there, None where nobody knows
        them; then None is returned if the cursor was below ``through``.
        """

    def acknowledge(self, sink: str, missed: int) -> bool:
        """Repeat no reports up to this id any more; return whether there was one."""

    def reset(self, sink: str, cursor: int) -> None:
        """Set a sink's place anew: forget its rows and batches, and go on after ``cursor``.

        The sink gets a place if it has none.
        """

    def forget(self, before_us: int) -> list[str]:
        """Remove the places of sinks that weren't in use since then; return their names."""

    def status(self) -> list[PullStatus]:
        """Return the status of every sink that has a place, by name."""


def deliveries_of(log: EventLog) -> DeliveryStore:
    """Return the store of a log.

    :raises ConfigError: this kind of log has none.
    """
    store: DeliveryStore | None = getattr(log, "deliveries", None)
    if store is None:
        raise ConfigError("database.url: this kind of log keeps nothing for pulled sinks")
    return store


def batch_id(number: int, sink_number: int) -> int:
    """Return the id of a sink's batch with this number."""
    return number * MAX_SINKS + sink_number


def check_batch(batch: int, sink_number: int, batches: int) -> None:
    """Check that a sink with this number, which has had so many batches, has had this one.

    :raises UnknownBatch: it hasn't.
    """
    number, of_sink = divmod(batch, MAX_SINKS)
    if of_sink != sink_number or not 0 < number <= batches:
        raise UnknownBatch(batch)


def write_ids(ids: Sequence[int]) -> str:
    """Return sorted ids as short text: ``1-3,7``."""
    runs: list[list[int]] = []
    for id in ids:
        if runs and id == runs[-1][1] + 1:
            runs[-1][1] = id
        else:
            runs.append([id, id])
    return ",".join(f"{low}-{high}" if low < high else str(low) for low, high in runs)


def read_ids(text: str) -> list[int]:
    """Return the ids that :func:`write_ids` wrote."""
    ids: list[int] = []
    for run in text.split(",") if text else ():
        low, _, high = run.partition("-")
        ids += range(int(low), int(high or low) + 1)
    return ids


def add_missed(reports: Sequence[Missed], new: Missed) -> list[Missed]:
    """Return the reports with one more; the two oldest are joined where they are too many."""
    joined = [*reports, new]
    while len(joined) > MAX_MISSED:
        joined[:2] = [joined[0].joined(joined[1])]
    return joined
