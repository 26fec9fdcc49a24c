"""How much memory the frames take that wait for clients: each is counted once."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable


class Memory:
    """Counts the bytes of the frames that are alive in a process. They may take ``limit`` bytes.

    Whoever makes a frame calls ``change`` with its size, and with its negative size when the frame
    ends. Queues share frames, so that a frame which waits for a thousand clients counts once.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.reset()

    def reset(self) -> None:
        """Begin at nothing. Frames that were made before change nothing any more."""
        self._lock = threading.Lock()
        self._used = 0
        # A frame ends on any thread, at any moment, even while that thread reads `used`: so it
        # takes no lock. Appending needs none.
        self._changes: deque[int] = deque()
        self.change: Callable[[int], None] = self._changes.append

    @property
    def used(self) -> int:
        """Return how many bytes the frames take."""
        with self._lock:
            for _ in range(len(self._changes)):
                self._used += self._changes.popleft()
            return self._used

    @property
    def exceeded(self) -> bool:
        """Return whether the frames take more than they may."""
        return self.used > self.limit
