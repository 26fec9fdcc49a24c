"""When each event's POST was sent: memory shared by the publisher and the clients' process."""

from __future__ import annotations

import mmap
from pathlib import Path

CAPACITY = 1 << 20


class Board:
    """The moment, in nanoseconds since the epoch, at which the POST of each event was sent.

    Wall-clock time, because the kernel stamps what arrives with it.
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
