"""What every event log does: :class:`EventLog`, and the types of its answers."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import NamedTuple, Protocol, TypeAlias

from ..access.revocations import RevocationStore
from ..event import NewEvent
from ..filters import Filter

#: Envelopes on a replay's page, in bytes; the one that reaches this many is the page's last.
PAGE_BYTES = 256 * 1024
#: The size of what :meth:`EventLog.check` stores: an event of some kilobytes.
PROBE_BYTES = 8192
#: Later than every date that an event can have: no event is dated in the future.
FAR_FUTURE_US = 2**63 - 1

#: The refusal of :meth:`EventLog.restore`.
NO_COPY = "it holds events that aren't of the log to be copied; name an empty one"

#: A stored event as a log returns it: its id and its envelope, one line of UTF-8 JSON.
#: (A plain tuple, as SQLite returns it: making another type of each row costs time.)
StoredEnvelope: TypeAlias = tuple[int, bytes]


class Appended(NamedTuple):
    """The result of an append: the events' ids in the order sent, and how many were duplicates."""

    ids: list[int]
    duplicates: int

    @property
    def accepted(self) -> int:
        """Return how many events were stored."""
        return len(self.ids) - self.duplicates


class Page(NamedTuple):
    """One page of a replay.

    ``envelopes`` are the events that match, lowest id first. ``through`` is the id up to which
    every event was compared with the filter; ``more`` is true where there are events above it.
    Events up to ``gone`` were pruned; it is the id that the reader asked to read after where none
    of the events behind that was.
    """

    envelopes: list[StoredEnvelope]
    through: int
    gone: int
    more: bool


class Record(NamedTuple):
    """An event with everything that a log keeps of it, to copy it from one log to another.

    ``created_at_us`` is in microseconds since the epoch. ``occurred_at`` is ISO 8601, None where
    the producer didn't say.
    """

    id: int
    created_at_us: int
    occurred_at: str | None
    envelope: bytes


#: Is called with the id up to which events are to be pruned, before they are; returns up to which
#: they may be.
BeforePrune: TypeAlias = Callable[[int], int]


def prune_all(through: int) -> int:
    """Return the id as it is: all events may be pruned that are due."""
    return through


class LogStatus(NamedTuple):
    """How much a log holds.

    ``head`` is the id of the newest event ever stored, ``events`` how many events are kept,
    ``size_bytes`` what they take on the disk or in memory. ``oldest_us`` is when the oldest of
    them was stored, in microseconds since the epoch; 0 where none is kept.
    """

    head: int
    events: int
    size_bytes: int
    oldest_us: int


class EventLog(Protocol):
    """An ordered, durable list of events that any number of processes share.

    Ids rise strictly and without gaps, in the order in which events become visible to
    :meth:`read`: a process that has read up to an id never finds a lower one later. No id is used
    twice. Every method but :meth:`close` may raise
    :exc:`~flask_sse_sink.exceptions.LogUnavailable`. Any thread may call any method.
    """

    @property
    def identity(self) -> str:
        """Return the name of this log's sequence of ids: a log that was made anew has another."""

    @property
    def revocations(self) -> RevocationStore:
        """Return what the log keeps of revocations."""

    def inspect(self) -> None:
        """Check the storage before a server starts. Creates nothing, and keeps nothing open.

        :raises LogUnusable: it is damaged, or belongs to another program or a newer version.
        """

    def append(self, events: Sequence[NewEvent]) -> Appended:
        """Store a batch, all or nothing; return once it would survive a power cut.

        An event whose source and event id are in the log already is a duplicate. It isn't stored
        again; its place in the answer has the id of the event that is stored.
        """

    def read(self, after: int, limit: int) -> list[StoredEnvelope]:
        """Return up to ``limit`` events with ids above ``after``, lowest first."""

    def appended(self, after: int, limit: int) -> list[StoredEnvelope] | None:
        """Return what :meth:`read` would, for events that were appended through this object.

        The events come right after the id ``after``. Empty where none was appended after it; what
        other processes appended is left out. None where only :meth:`read` can tell.
        """

    def replay(self, after: int, limit: int, filter: Filter, until: int | None = None) -> Page:
        """Return up to ``limit`` events with ids above ``after`` that the filter lets through.

        No event above ``until`` is among them, and the page ends once its envelopes hold
        :data:`PAGE_BYTES`. A page may be empty although there are more.

        A replay delays neither :meth:`read` nor :meth:`append`. Where a filter lets through few
        entities, types or sources, the log doesn't read the other events.
        """

    def head(self) -> int:
        """Return the id of the newest event ever stored, 0 where there was none."""

    def status(self) -> LogStatus:
        """Return how much the log holds, without reading its events: monitoring asks often."""

    def head_before(self, before_us: int) -> int:
        """Return what :meth:`head` was at a time, in microseconds since the epoch.

        Where no event that old is kept, this is the newest id that was pruned, or 0.
        """

    def tail(self, after: int, timeout: float) -> int:
        """Wait until there are events above ``after``, for at most ``timeout`` seconds.

        Returns the id of an event above ``after``. Where there is none, returns the head, which
        is below ``after`` if the log has lost its newest events. An append through this same
        object need not end the wait. The wait may end early: the notification of an event that
        was seen before may come late.
        """

    def interrupt(self) -> None:
        """End a :meth:`tail` in progress at once, or else the next one."""

    def prune(
        self,
        before_us: int,
        limit: int,
        keep: int = 0,
        future_us: int = FAR_FUTURE_US,
        before_prune: BeforePrune = prune_all,
    ) -> int:
        """Delete up to ``limit`` of the oldest events, and return how many were deleted.

        An event is due if it was stored before ``before_us`` (microseconds since the epoch), or,
        unless ``keep`` is 0, if it isn't among the newest ``keep``. Events go from the front
        only, so that the rest has no gaps. A date after ``future_us`` is wrong: such an event
        goes together with the next event that is due. ``before_prune`` has the last word.
        """

    def records(self, after: int, limit: int) -> list[Record]:
        """Return up to ``limit`` events with ids above ``after``, and all that is kept of them."""

    def restore(self, records: Sequence[Record], head: int, identity: str) -> None:
        """Store events of another log under the ids that they have there, all or nothing.

        ``identity`` is that log's, and becomes this one's; sources keep their ids, too.
        Afterwards :meth:`head` is ``head``.

        :raises LogUnusable: this log has events, and isn't a copy of that log, or has later ones.
        """

    def check(self) -> None:
        """Prove that an event of some kilobytes could be stored now.

        :raises LogUnavailable: it couldn't.
        """

    def close(self) -> None:
        """Close files and connections; the next call of another method opens them again."""


def now_us() -> int:
    """Return the time in microseconds since the epoch."""
    return time.time_ns() // 1000


def iso(microseconds: int) -> str:
    """Return a time in microseconds since the epoch as envelopes have it: ISO 8601 in UTC."""
    return datetime.fromtimestamp(microseconds / 1_000_000, UTC).isoformat()
