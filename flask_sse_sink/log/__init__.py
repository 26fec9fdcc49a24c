"""The event log: stored once, in one order, read by every process.

:class:`EventLog` is what the rest of the package knows of it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple, Protocol

from ..config.settings import DatabaseSettings
from ..event import Event, NewEvent
from ..exceptions import ConfigError
from ..filters import Filter
from .dates import FAR_FUTURE_US

# A page of a replay holds about so many bytes, and one event at least.
PAGE_BYTES = 256 * 1024
# A filter that more types than this match is taken to be a wide one: the log is read through.
NARROW_TYPES = 64

# An event of some kilobytes: what :meth:`EventLog.check` stores.
PROBE_BYTES = 8192

NO_COPY = "it holds events that aren't of the log to be copied; name an empty one"


class Appended(NamedTuple):
    """What became of a batch: the ids in the order sent, and how many were there already."""

    ids: list[int]
    duplicates: int

    @property
    def accepted(self) -> int:
        """Return how many events were stored."""
        return len(self.ids) - self.duplicates


class Page(NamedTuple):
    """Some events of a log, for who has read it up to an id: the answer of a replay.

    ``envelopes`` has ids and envelopes, lowest first; every event from there up to ``through``
    was considered, and ``more`` tells that there are events above. Up to ``gone`` they are no
    longer kept; it is the id that was read up to where none is missing.
    """

    envelopes: list[tuple[int, bytes]]
    through: int
    gone: int
    more: bool


class Record(NamedTuple):
    """An event with all that a log keeps of it: what is copied from one log to another.

    ``created_at_us`` is in microseconds since the epoch, ``occurred_at`` as the producer wrote it.
    """

    id: int
    created_at_us: int
    occurred_at: str | None
    envelope: bytes


class EventLog(Protocol):
    """An ordered, durable list of events, shared by any number of processes.

    Ids rise strictly, without gaps, in the order in which events become visible to
    :meth:`read`: whoever has read up to an id will never find a lower one later. An id is never
    used again. Every method but :meth:`close` may raise
    :exc:`~flask_sse_sink.exceptions.LogUnavailable`, and may be called from any thread.
    """

    @property
    def identity(self) -> str:
        """Return what tells this log from one that was made anew, whose ids begin anew too."""

    def inspect(self) -> None:
        """Check what is stored without keeping it open, and without making it.

        :raises LogUnusable: it is damaged, or of another program or a newer version.
        """

    def append(self, events: Sequence[NewEvent]) -> Appended:
        """Store a batch, all or nothing, and return when it would survive a power cut.

        An event whose source and event id are in the log is not stored again; its id is answered.
        """

    def read(self, after: int, limit: int) -> list[Event]:
        """Return up to ``limit`` events with ids above ``after``, lowest first."""

    def replay(self, after: int, limit: int, filter: Filter, until: int | None = None) -> Page:
        """Return up to ``limit`` events with ids above ``after`` that the filter lets through.

        None is above ``until``, and beyond about a quarter of a megabyte there are fewer. It
        disturbs neither :meth:`read` nor :meth:`append`, and where a filter is narrow it doesn't
        go through what that holds back. A page may be empty although there are more.
        """

    def head(self) -> int:
        """Return the id of the newest event ever stored, 0 where there was none."""

    def head_before(self, before_us: int) -> int:
        """Return what :meth:`head` was at a time, in microseconds since the epoch.

        Where nothing that old is kept, that is the newest id that was pruned, or 0.
        """

    def tail(self, after: int, timeout: float) -> int:
        """Wait until there are events above ``after``, at most ``timeout`` seconds.

        Returns the id of an event above ``after``, or, where there is none, the head: that is
        below ``after`` where the log has lost what it had. What this same object appended need
        not end the wait.
        """

    def interrupt(self) -> None:
        """Make a :meth:`tail` in progress, or else the next one, look and return at once."""

    def prune(
        self, before_us: int, limit: int, keep: int = 0, future_us: int = FAR_FUTURE_US
    ) -> int:
        """Delete up to ``limit`` of the oldest events, and return how many were deleted.

        Those stored before ``before_us``, in microseconds since the epoch, and those that aren't
        among the newest ``keep``; with 0, their number doesn't matter. What is left has no holes.
        Dates after ``future_us`` are wrong: such events go with the next one that goes.
        """

    def records(self, after: int, limit: int) -> list[Record]:
        """Return up to ``limit`` events with ids above ``after``, and all that is kept of them."""

    def restore(self, records: Sequence[Record], head: int, identity: str) -> None:
        """Store events of the log with this identity under the ids that they have there.

        All or nothing. ``head`` is what :meth:`head` is to be after it. It becomes that log: its
        identity, too, and its sources' ids.

        :raises LogUnusable: it isn't empty, and isn't a copy of that log, or has later events.
        """

    def check(self) -> None:
        """Prove that an event of some kilobytes could be stored now.

        :raises LogUnavailable: it couldn't.
        """

    def close(self) -> None:
        """Let go of files and connections; the next call of another method opens them again."""


def open_log(settings: DatabaseSettings) -> EventLog:
    """Return the log that the settings name. Nothing is opened before it is used.

    :raises ConfigError: a library that it needs isn't installed, or doesn't take an option.
    """
    if settings.url.startswith("sqlite:///"):
        from .sqlite.log import SQLiteLog

        return SQLiteLog(settings.url.removeprefix("sqlite:///"))
    try:
        from .redis.client import refused_option
        from .redis.log import RedisLog
    except ImportError as error:
        raise ConfigError(
            "database.url: Redis needs one more library: pip install 'flask-sse-sink[redis]'"
        ) from error
    if what := refused_option(settings.url):
        raise ConfigError(f"database.url: {what}")
    return RedisLog(settings.url, settings.replicas)


def now_us() -> int:
    """Return the time in microseconds since the epoch."""
    return time.time_ns() // 1000


def iso(microseconds: int) -> str:
    """Return a time since the epoch as the envelope has it."""
    return datetime.fromtimestamp(microseconds / 1_000_000, UTC).isoformat()
