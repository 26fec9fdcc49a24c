"""Frames that go out together, and what a client's thread takes of them."""

from __future__ import annotations

import time
from datetime import datetime
from typing import NamedTuple, Self

from . import frame
from .event import Event


class Chunk:
    """Frames that go out together, made once and shared by all clients with the same filter.

    ``ids`` rise; ``stored_at`` is when the first event was stored, in seconds since the epoch,
    ``made_at`` now, on the monotonic clock. ``wire`` is empty until :meth:`code` makes it.
    """

    __slots__ = (
        *("events", "frames", "ids", "first_id", "last_id", "count"),
        *("data", "wire", "stored_at", "made_at"),
    )

    def __init__(self, events: list[Event]) -> None:
        self._fill(
            events,
            [frame.message(event) for event in events],
            [event.id for event in events],
            datetime.fromisoformat(events[0].created_at).timestamp(),
        )

    @classmethod
    def gap(cls, count: int | None, first_id: int, last_id: int) -> Self:
        """Return the notice that these events are lost, in the place that they would have had."""
        self = cls.__new__(cls)
        notice = frame.missed(count, first_id, last_id, reason="pruned")
        self._fill([], [notice], [last_id], time.time())
        return self

    def _fill(
        self, events: list[Event], frames: list[bytes], ids: list[int], stored_at: float
    ) -> None:
        self.events = events
        self.frames = frames
        self.ids = ids
        self.first_id = ids[0]
        self.last_id = ids[-1]
        self.count = len(frames)
        self.data = frames[0] if len(frames) == 1 else b"".join(frames)
        self.wire = b""
        self.stored_at = stored_at
        self.made_at = time.monotonic()

    def code(self) -> bytes:
        """Return the frames as one chunk of HTTP/1.1's chunked coding. Rule: RFC 9112, 7.1."""
        self.wire = b"%X\r\n%b\r\n" % (len(self.data), self.data)
        return self.wire

    def after(self, id: int) -> Chunk | None:
        """Return the part with ids above this one, None if nothing is."""
        events = [event for event in self.events if event.id > id]
        return Chunk(events) if events else None


class Taken(NamedTuple):
    """What was taken to be written: bytes, the event frames in them, how many were lost before.

    ``stored_at`` is when the oldest of the events was stored, in seconds since the epoch.
    ``rest`` goes to the wire before ``data``, as it is: the end of a chunk that was sent in part,
    whose frames are counted here. ``behind`` is set where too much waited: the log has to tell
    what comes after this id.
    """

    data: bytes
    frames: int
    lost: int = 0
    stored_at: float | None = None
    rest: memoryview | None = None
    behind: int | None = None
