"""Notices that another log stands in the place of the one that a process follows."""

from __future__ import annotations

import time

from ..event import decode_envelope
from .protocol import EventLog, StoredEnvelope


class ReplacementWatch:
    """Remembers the identity of the log that is followed, and its newest event that was read.

    ``newest`` is set by the reader. The identity is asked for once in ``interval`` seconds.
    """

    def __init__(self, log: EventLog, interval: float) -> None:
        self._log = log
        self._interval = interval
        self._next_check = 0.0
        self.identity = ""
        self.newest: StoredEnvelope | None = None

    def begin(self) -> None:
        """Follow the log that is there now.

        :raises LogUnavailable: the log can't be read.
        """
        self.identity = self._log.identity

    def is_another_log(self) -> bool:
        """Return whether the log's identity has changed.

        :raises LogUnavailable: the log can't be read.
        """
        now = time.monotonic()
        if now < self._next_check:
            return False
        self._next_check = now + self._interval
        return self._log.identity != self.identity

    def has_diverged(self, cursor: int) -> bool:
        """Return whether the log has another event under the id ``cursor`` than the one read.

        That happens where a Redis replica took over that lacked the newest events.

        :raises LogUnavailable: the log can't be read.
        """
        newest = self.newest
        if newest is None or newest[0] != cursor:
            return False
        there = self._log.read(cursor - 1, 1)
        return bool(there) and there[0][0] == cursor and _event_id(there[0]) != _event_id(newest)


def _event_id(envelope: StoredEnvelope) -> str:
    return decode_envelope(envelope[1]).event_id
