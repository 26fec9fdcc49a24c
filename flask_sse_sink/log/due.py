"""Which events at the front of a log are due to be pruned, although dates may be wrong.

Ids are the order in which events were stored. An event's date is what the clock of some machine
said, and may be wrong.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

_log = logging.getLogger(__name__)

# Returns the ids and dates of up to so many events above an id, lowest first.
Rows = Callable[[int, int], list[tuple[int, int]]]


class DueEvents:
    """Finds the events of one log that are due; logs a warning at the first wrong date.

    Events go from the front only, so that the rest has no gaps: an event that isn't due keeps
    those behind it. The exception is an event that is dated in the future, stored while a clock
    was wrong. It doesn't keep those behind it, and goes with the first of them that is due.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._warned = 0
        # Every event between the front page and this id is dated in the future.
        self._passed = 0

    def last_due(self, rows: Rows, limit: int, before_us: int, last: int, future_us: int) -> int:
        """Return the id up to which events are due, at most ``limit`` of them; 0 if none is.

        Due are events dated before ``before_us`` and events with ids up to ``last``. Dates after
        ``future_us`` are wrong.
        """
        front = rows(0, limit)
        due = 0
        for id, at in front:
            if at < before_us or id <= last:
                due = id
            elif at <= future_us:
                return due
            elif id > self._warned:
                self._warn(id, at - future_us)
        if len(front) < limit or due == front[-1][0]:
            return due
        if self._next_is_due(rows, front[-1][0], limit, before_us, future_us):
            return front[-1][0]
        return due

    def _next_is_due(
        self, rows: Rows, after: int, limit: int, before_us: int, future_us: int
    ) -> bool:
        """Return whether the first event behind this id that isn't of the future is due."""
        after = max(after, self._passed)
        while page := rows(after, limit):
            for id, at in page:
                if at <= future_us:
                    return at < before_us
                after = self._passed = id
        return False

    def _warn(self, id: int, ahead_us: int) -> None:
        if not self._warned:
            _log.warning(
                "%s: event %d is dated %.1f hours in the future: a clock was wrong when it was "
                "stored. It is pruned together with the events behind it; look after the clocks "
                "of the machines",
                self._name,
                id,
                ahead_us / 3.6e9,
            )
        self._warned = id
