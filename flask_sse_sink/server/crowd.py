"""Warnings of a worker that has more connections than it can carry."""

from __future__ import annotations

import time
from typing import Any

_SECONDS_BETWEEN = 10.0


class CrowdWarnings:
    """Writes warnings to gunicorn's log, of all kinds together one in ten seconds at most."""

    def __init__(self, log: Any) -> None:
        self._log = log
        self._next = 0.0

    def connections_closed(
        self, connections: int, limit: int, requests: int, threads: int
    ) -> None:
        """Warn that connections are closed to make room; tell how many there are of what."""
        if self._is_due():
            self._log.warning(
                "connections without a complete request are closed to make room: %d connections, "
                "%d at most; %d requests for %d threads. A proxy that buffers requests keeps slow "
                "clients away",
                connections,
                limit,
                requests,
                threads,
            )

    def not_accepted(self, error: OSError) -> None:
        """Warn that the system has no room for another connection."""
        if self._is_due():
            self._log.error("can't accept a connection: %s; raise `ulimit -n`", error.strerror)

    def _is_due(self) -> bool:
        now = time.monotonic()
        if now < self._next:
            return False
        self._next = now + _SECONDS_BETWEEN
        return True
