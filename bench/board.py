"""When each event's POST was sent: memory that the publisher and the clients' process share."""

from __future__ import annotations

import mmap
from pathlib import Path

CAPACITY = 1 << 20
"""The board has a place for so many events; higher numbers are never sent."""


class Board:
    """The moment at which the POST of each event was sent, in nanoseconds since the epoch.

    It is wall-clock time, because the kernel's stamps of arrival are, too.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with path.open("r+b" if path.exists() else "w+b") as file:
            file.truncate(CAPACITY * 8)
            self._memory = mmap.mmap(file.fileno(), CAPACITY * 8)
        self.sent = memoryview(self._memory).cast("q")

    def close(self) -> None:
        self.sent.release()
        self._memory.close()
