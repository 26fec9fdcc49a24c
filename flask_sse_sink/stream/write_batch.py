"""A batch: what is to be written next to a client."""

from __future__ import annotations

from typing import NamedTuple


class WriteBatch(NamedTuple):
    """What is to be written next to a client.

    ``data`` holds ``frames`` event frames, and before them a notice of ``lost`` events if there
    are any. ``stored_at`` is when the oldest of the events was stored, in seconds since the epoch.
    ``rest`` is written before ``data``, as it is: the end of a chunk that was sent in part, whose
    frames are counted here. ``behind`` is set where a lossless queue overflowed: the log has what
    comes after this id. ``way`` is the batch's label in the metrics.
    """

    data: bytes
    frames: int = 0
    lost: int = 0
    stored_at: float | None = None
    rest: memoryview | None = None
    behind: int | None = None
    way: str = "queue"
