"""What a client missed: its own way through the log, up to where the live events begin."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import NamedTuple

from ..config.settings import ReplayBound
from ..filters import Filter
from ..log import EventLog, Page
from . import frame
from .chunk import WriteBatch

PAGE = 500
EARLIEST = "earliest"
#: The names of the last id in a query, in the order in which they are looked at: ours, and those
#: that EventSource libraries send which can't set headers.
QUERY_NAMES = ("last_event_id", "lastEventId", "lastEventID", "Last-Event-ID")

_ID = re.compile(r"[0-9]{1,19}")
_MAX_ID = 2**63 - 1


class ResumePosition(NamedTuple):
    """Where a client wants to go on: after an id, of the log with this identity if it says so.

    ``earliest`` says that it doesn't care what is no longer kept.
    """

    id: int
    identity: str = ""
    earliest: bool = False


def parse(
    header: str | None, query: str | None, identity: str | None = None
) -> ResumePosition | None:
    """Return where a request wants to go on, None where it wants live events only.

    ``header`` is its ``Last-Event-ID``, which wins, ``query`` what stands in the
    query under one of :data:`QUERY_NAMES`, and ``identity`` in ``log``. Empty ones are as none.

    :raises ValueError: it is no id; the message tells how to write one.
    """
    text = (header or "").strip() or (query or "").strip()
    if not text:
        return None
    if text == EARLIEST:
        return ResumePosition(0, earliest=True)
    if not _ID.fullmatch(text) or int(text) > _MAX_ID:
        raise ValueError(
            f"{text[:80]!r} is no event's id; send the id of the last event you have, "
            f"or `{EARLIEST}` for all that is kept"
        )
    return ResumePosition(int(text), (identity or "").strip())


class _Place(NamedTuple):
    """Where to read on, what the client is told before, and whether a gap there is no news."""

    after: int
    notice: bytes = b""
    known: bool = False


class Replay:
    """Reads the log for one client, page by page, on the client's own thread.

    ``after`` is the id up to which it has read, None where the client began live. ``enter`` lets
    the client have the live events and returns the id that they come after, ``leave`` takes them
    from it again, and ``considered`` returns an id up to which the live clients were handed all.
    """

    __slots__ = (
        *("after", "at_end", "entered", "leave", "considered"),
        *("_enter", "_log", "_filter", "_bound", "_asked"),
    )

    def __init__(
        self,
        log: EventLog,
        filter: Filter,
        bound: ReplayBound,
        asked: ResumePosition | None,
        enter: Callable[[], int],
        leave: Callable[[], None],
        considered: Callable[[], int],
    ) -> None:
        self._log = log
        self._filter = filter
        self._bound = bound
        self._asked = asked
        self._enter = enter
        self.leave = leave
        self.considered = considered
        self.after = None if asked is None else asked.id
        #: Whether the last page reached the end of the log.
        self.at_end = False
        #: The id that the live events come after, once the client has those.
        self.entered = -1

    def enter(self) -> int:
        """Let the client have the live events, and return the id that they come after.

        :raises LogUnavailable: it doesn't have them, and the same can be tried again.
        """
        self.entered = self._enter()
        return self.entered

    def restart(self, after: int) -> None:
        """Read on after this id, all of which the log had: no bound holds for that."""
        self.after = after
        self.at_end = False

    def read(self, until: int | None) -> WriteBatch:
        """Return the next page as frames, with a notice before them where events are gone.

        No event above ``until`` is among them. The frames may be none although there are more.

        :raises LogUnavailable: nothing was read, and the same can be tried again.
        """
        place = self._place()
        page = self._log.replay(place.after, PAGE, self._filter, until)
        parts = [place.notice] if place.notice else []
        lost = 0
        if page.gone > place.after and not place.known:
            lost = self._gap(parts, page, place.after)
        parts += [frame.stored(id, envelope) for id, envelope in page.envelopes]
        self._asked = None
        self.after = page.through
        self.at_end = not page.more
        return WriteBatch(b"".join(parts), len(page.envelopes), lost)

    def _gap(self, parts: list[bytes], page: Page, after: int) -> int:
        count = self._count(after, page.gone)
        parts.append(frame.missed(count, after + 1, page.gone, id=page.gone, reason="pruned"))
        return count or 0

    def _count(self, after: int, last: int) -> int | None:
        """Return how many events the client missed; what a filter held back can't be told."""
        return last - after if self._filter.everything else None

    def _place(self) -> _Place:
        """Return where to read on; the first time that is to be worked out from what was asked."""
        assert self.after is not None, "live"
        asked = self._asked
        if asked is None:
            return _Place(self.after)
        head = self._log.head()
        floor = self._floor(head)
        if asked.identity and asked.identity != self._log.identity:
            return self._elsewhere(floor, "other_log", asked.id, head)
        if asked.id > head:
            return self._elsewhere(floor, "unknown_id", asked.id, head)
        if asked.earliest:
            return _Place(floor, known=True)
        if asked.id < floor:
            count = self._count(asked.id, floor)
            notice = frame.missed(count, asked.id + 1, floor, id=floor, reason="beyond_replay")
            return _Place(floor, notice)
        return _Place(asked.id)

    def _elsewhere(self, after: int, reason: str, id: int, head: int) -> _Place:
        """Return the beginning: an id of another log says nothing about what this one holds."""
        notice = frame.missed(None, None, None, id=after, reason=reason, asked=id, head=head)
        return _Place(after, notice, known=True)

    def _floor(self, head: int) -> int:
        """Return the id that the sink's bound reaches back to."""
        if self._bound.count is not None:
            return max(0, head - self._bound.count)
        if self._bound.seconds is not None:
            return self._log.head_before(int((time.time() - self._bound.seconds) * 1_000_000))
        return 0
