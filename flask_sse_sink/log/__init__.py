"""The event log: stored once, in one order, read by every process.

:class:`EventLog` is what the rest of the package knows of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from ..event import Event, NewEvent
from ..settings import DatabaseSettings


class Appended(NamedTuple):
    """What became of a batch: the ids in the order sent, and how many were there already."""

    ids: list[int]
    duplicates: int

    @property
    def accepted(self) -> int:
        """Return how many events were stored."""
        return len(self.ids) - self.duplicates


class EventLog(Protocol):
    """An ordered, durable list of events, shared by any number of processes.

    Ids rise strictly, without gaps, in the order in which events become visible to
    :meth:`read`: whoever has read up to an id will never find a lower one later. An id is never
    used again. Every method but :meth:`close` may raise
    :exc:`~flask_sse_sink.exceptions.LogUnavailable`, and may be called from any thread.
    """

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

    def head(self) -> int:
        """Return the id of the newest event ever stored, 0 where there was none."""

    def tail(self, after: int, timeout: float) -> bool:
        """Wait until there are events above ``after``, at most ``timeout`` seconds.

        Returns whether there are any. What this same object appended need not end the wait.
        """

    def interrupt(self) -> None:
        """Make a :meth:`tail` in progress, or else the next one, look and return at once."""

    def prune(self, before_us: int, limit: int) -> int:
        """Delete up to ``limit`` of the oldest events, none stored at or after ``before_us``.

        The time is in microseconds since the epoch. Returns how many events were deleted.
        """

    def check(self) -> None:
        """Prove that an event could be stored now.

        :raises LogUnavailable: it couldn't.
        """

    def close(self) -> None:
        """Let go of files and connections; the next call of another method opens them again."""


def open_log(settings: DatabaseSettings) -> EventLog:
    """Return the log that the settings name. Nothing is opened before it is used."""
    from .sqlite import SQLiteLog

    return SQLiteLog(settings.url.removeprefix("sqlite:///"))
