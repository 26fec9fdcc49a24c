"""The one way in for events: whatever publishes goes through here."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from . import metrics
from .event import NewEvent
from .exceptions import LogUnavailable
from .log import Appended, EventLog
from .relay import Relay

_log = logging.getLogger(__name__)


class Publisher:
    """Stores events in the log, then has the relay deliver them."""

    def __init__(self, log: EventLog, relay: Relay) -> None:
        self._log = log
        self._relay = relay

    def publish(self, events: Sequence[NewEvent]) -> Appended:
        """Store the events, all or none, and stream them; return once they are stored for good.

        :raises LogUnavailable: they can't be stored; none of them was.
        """
        result = self._log.append(events)
        metrics.get().stored(result.accepted, result.duplicates)
        if result.accepted:
            self._deliver(max(result.ids))
        return result

    def _deliver(self, last_id: int) -> None:
        try:
            self._relay.pump_appended(last_id)
        except LogUnavailable as error:
            # The events are stored, so the producer is told so. The tail thread delivers them
            # when the log can be read again.
            _log.warning("stored, but streamed later: %s", error)
