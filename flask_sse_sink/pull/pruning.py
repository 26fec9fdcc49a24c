"""What is done for a pulled sink before events are pruned that it hasn't confirmed."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from ..event import decode_envelope
from ..log import EventLog
from ..log.deliveries import DeliveryStore, Place
from .place import Rules

_log = logging.getLogger(__name__)

_PAGE = 500
# How often a sink's warning is repeated at most.
_WARNING_SECONDS = 60.0


class PruneGuard:
    """Holds back the pruning of events that a sink hasn't confirmed, or counts them as missed.

    ``hold`` is how many events may be kept for the sink's sake at most; 0 holds none back.
    ``on_missed`` is called with the number of events that were pruned unconfirmed.
    """

    def __init__(
        self,
        log: EventLog,
        store: DeliveryStore,
        sink: str,
        rules: Rules,
        hold: int,
    ) -> None:
        self._log = log
        self._store = store
        self._sink = sink
        self._rules = rules
        self._hold = hold
        self._next_warning = 0.0
        self.on_missed: Callable[[int], None] = lambda count: None

    def before_prune(self, through: int) -> int:
        """Return the id up to which events may be pruned, instead of ``through``.

        :raises LogUnavailable: the log is away; nothing may be pruned.
        """
        place = self._store.place(self._sink, self._rules.max_attempts)
        if place is None:
            return through
        fresh = self._fresh(place, through)
        if self._hold:
            unconfirmed = [*fresh[:1], *self._oldest_row(through)]
            # An event stays while no more than so many are newer.
            oldest = max(min(unconfirmed, default=through + 1), self._log.head() - self._hold + 1)
            if oldest <= through:
                self._warn(
                    "%d events wait for sink %s beyond database.retention, from id %d on: "
                    "its consumer is behind",
                    through - oldest + 1,
                    self._sink,
                    oldest,
                )
                through = oldest - 1
                fresh = [id for id in fresh if id <= through]
        if through > 0:
            self._count_missed(through, fresh)
        return max(0, through)

    def _fresh(self, place: Place, through: int) -> list[int]:
        """Return the sink's events above the cursor that are about to be pruned."""
        ids: list[int] = []
        after = place.cursor
        while after < through:
            page = self._log.replay(after, _PAGE, self._rules.match, through)
            lifetimes = self._rules.lifetimes
            for id, envelope in page.envelopes:
                if lifetimes is None or not lifetimes.is_over(
                    decode_envelope(envelope), place.now_us
                ):
                    ids.append(id)
            after = page.through
            if not page.more:
                break
        rows = self._store.with_row(self._sink, ids) if place.rows else set()
        return [id for id in ids if id not in rows]

    def _oldest_row(self, through: int) -> list[int]:
        """Return the id of the oldest event with a row that isn't confirmed, if it is due."""
        for status in self._store.status():
            if status.name == self._sink and 0 < status.oldest_row <= through:
                return [status.oldest_row]
        return []

    def _count_missed(self, through: int, fresh: list[int]) -> None:
        count = self._store.miss(self._sink, through, fresh)
        if count:
            self.on_missed(count)
            self._warn(
                "%d events of sink %s were pruned before they were confirmed, up to id %d; "
                "its consumer is told so in `missed`. Raise database.retention, or set "
                "database.retention_hold",
                count,
                self._sink,
                through,
            )

    def _warn(self, message: str, *values: object) -> None:
        now = time.monotonic()
        if now >= self._next_warning:
            self._next_warning = now + _WARNING_SECONDS
            _log.warning(message, *values)
