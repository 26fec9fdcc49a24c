"""Streams that open: a few at a time, and the others in turn."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from .http_connection import HttpConnection

# Thousands of threads that all want to run only hold each other up: a few are as fast as one
# core, and leave it to other requests in between.
LIMIT = 8
# A stream that takes longer to open counts no more: it may wait for a slow client.
LONGEST_SECONDS = 0.5


class Openings:
    """Gives requests for streams to ``serve``, :data:`LIMIT` at a time, in the order they came.

    Requests of another kind pass all of them. For the main thread only.
    """

    def __init__(
        self,
        serve: Callable[[HttpConnection], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._serve = serve
        self._clock = clock
        # Those that open, the oldest first, and since when.
        self._opening: dict[HttpConnection, float] = {}
        self._waiting: deque[HttpConnection] = deque()

    def __len__(self) -> int:
        """Return how many requests wait for their turn."""
        return len(self._waiting)

    def add(self, connection: HttpConnection) -> None:
        """Serve a request for a stream as soon as it is its turn."""
        self._waiting.append(connection)
        self._serve_next()

    def on_opened(self, connection: HttpConnection) -> None:
        """Note that a stream is open, or was answered otherwise; nothing happens a second time."""
        if self._opening.pop(connection, None) is not None:
            self._serve_next()

    def release_overdue(self) -> None:
        """Count those no more that have been opening for too long."""
        overdue = self._clock() - LONGEST_SECONDS
        for connection, since in list(self._opening.items()):
            if since > overdue:
                break
            self.on_opened(connection)

    def _serve_next(self) -> None:
        while self._waiting and len(self._opening) < LIMIT:
            connection = self._waiting.popleft()
            self._opening[connection] = self._clock()
            self._serve(connection)
