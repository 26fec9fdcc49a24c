"""Counts the memory of the frames that wait for clients; each frame counts once."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable


class Memory:
    """Counts the bytes of all frames that exist in a process. They may take ``limit`` bytes.

    A frame calls ``change`` with its size as it is made, and with the negative size as it ends.
    Queues share frames, so that a frame which waits for a thousand clients counts once.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.reset()

    def reset(self) -> None:
        """Start to count at 0. Frames that were made before no longer change the count."""
        self._lock = threading.Lock()
        self._used = 0
        # A frame may end on any thread at any moment, even while that thread reads `used` and
        # holds the lock. Appending to a deque takes no lock.
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
