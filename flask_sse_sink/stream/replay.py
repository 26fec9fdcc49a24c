"""Replay: what a client missed, read from the log up to where its live events begin."""

from __future__ import annotations

import time
from typing import NamedTuple

from ..config.values import ReplayBound
from ..filters import Filter
from ..log import EventLog, Page
from . import frame
from .membership import Membership
from .subscription import ResumePosition
from .write_batch import WriteBatch

PAGE = 500
#: The batch's label in the metrics.
WAY = "replay"


class _Start(NamedTuple):
    """Where a replay begins to read, and a notice for the client.

    ``gap_is_known``: the notice, or the client's own request, covers events that are gone there.
    """

    after: int
    notice: bytes = b""
    gap_is_known: bool = False


class Replay:
    """Reads the log for one client, page by page, on the client's own thread.

    ``filter`` is the client's filter, narrowed by that of the sink; ``bound`` is the sink's
    setting. ``after`` is the id up to which the client has read, None where it began live.
    """

    __slots__ = (
        "_bound",
        "_filter",
        "_format",
        "_log",
        "_position",
        "after",
        "at_end",
        "live_after",
        "membership",
    )

    def __init__(
        self,
        log: EventLog,
        filter: Filter,
        bound: ReplayBound,
        position: ResumePosition | None,
        membership: Membership,
    ) -> None:
        self._log = log
        self._filter = filter
        self._format = membership.format
        self._bound = bound
        if position is not None and position.since_us is not None:
            # The client gets what comes after its first frame, whatever time it asked for and
            # whatever the clocks of the machines say.
            position = position._replace(id=membership.delivered_up_to())
        self._position = position
        self.membership = membership
        self.after = None if position is None else position.id
        #: Whether the last page reached the end of the log.
        self.at_end = False
        #: The id after which the live events come, once the client gets those.
        self.live_after = -1

    def join(self) -> int:
        """Let the client have the live events, and return the id that they come after.

        :raises LogUnavailable: the client wasn't added; the same can be tried again.
        """
        self.live_after = self.membership.join()
        return self.live_after

    def restart(self, after: int) -> None:
        """Leave the live events, and read on after this id; the sink's bound doesn't apply."""
        self.membership.set_apart()
        self.after = after
        self.at_end = False

    def heartbeat(self) -> bytes:
        """Return a heartbeat with the id that the client has come to, if that is known."""
        assert self.after is not None, "the client is live"
        if self._position is not None and self._position.since_us is not None:
            return frame.HEARTBEAT
        return frame.heartbeat(self.after)

    def read(self, until: int | None) -> WriteBatch:
        """Return the next page as frames, with a notice before them where events are missing.

        No event above ``until`` is among them. There may be no frames although there are more
        events to read.

        :raises LogUnavailable: nothing was read; the same can be tried again.
        """
        start = self._start()
        page = self._log.replay(start.after, PAGE, self._filter, until)
        parts = [start.notice] if start.notice else []
        lost = 0
        if page.gone > start.after and not start.gap_is_known:
            lost = self._add_gap(parts, page, start.after)
        encode = self._format
        parts += [encode(id, envelope) for id, envelope in page.envelopes]
        self._position = None
        self.after = page.through
        self.at_end = not page.more
        return WriteBatch(b"".join(parts), len(page.envelopes), lost, way=WAY)

    def _add_gap(self, parts: list[bytes], page: Page, after: int) -> int:
        """Add a notice of events that are no longer kept; return their number, 0 if unknown."""
        count = self._count(after, page.gone)
        parts.append(frame.missed(count, after + 1, page.gone, id=page.gone, reason="pruned"))
        return count or 0

    def _count(self, after: int, last: int) -> int | None:
        """Return how many events the client missed, None where a filter held back some of them."""
        return last - after if self._filter.everything else None

    def _start(self) -> _Start:
        """Return where to read on. The first time, that depends on what the client asked for."""
        assert self.after is not None, "the client is live"
        position = self._position
        if position is None:
            return _Start(self.after)
        head = self._log.head()
        floor = self._floor(head)
        if position.since_us is not None:
            # Nobody knows when events that are no longer kept were stored: they aren't told.
            id = min(position.id, self._log.head_before(position.since_us))
            return self._start_within(id, floor, gap_is_known=True)
        if position.identity and position.identity != self._log.identity:
            return self._start_over(floor, "other_log", position.id, head)
        if position.id > head:
            return self._start_over(floor, "unknown_id", position.id, head)
        if position.earliest:
            return _Start(floor, gap_is_known=True)
        return self._start_within(position.id, floor)

    def _start_within(self, id: int, floor: int, gap_is_known: bool = False) -> _Start:
        """Return the start after an id, or with a notice after the sink's bound if it is later."""
        if id >= floor:
            return _Start(id, gap_is_known=gap_is_known)
        count = self._count(id, floor)
        notice = frame.missed(count, id + 1, floor, id=floor, reason="beyond_replay")
        return _Start(floor, notice, gap_is_known)

    def _start_over(self, after: int, reason: str, id: int, head: int) -> _Start:
        """Return the beginning: an id of another log says nothing about what this one holds."""
        notice = frame.missed(None, None, None, id=after, reason=reason, asked=id, head=head)
        return _Start(after, notice, gap_is_known=True)

    def _floor(self, head: int) -> int:
        """Return the id after which the sink's bound lets a replay begin."""
        if self._bound.count is not None:
            return max(0, head - self._bound.count)
        if self._bound.seconds is not None:
            return self._log.head_before(int((time.time() - self._bound.seconds) * 1_000_000))
        return 0
