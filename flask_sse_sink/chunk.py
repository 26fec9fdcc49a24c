"""Frames that go out together, and what a client's thread takes of them."""

from __future__ import annotations

import time
from datetime import datetime
from typing import NamedTuple

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
        self.events = events
        self.frames = [frame.message(event) for event in events]
        self.ids = [event.id for event in events]
        self.first_id = self.ids[0]
        self.last_id = self.ids[-1]
        self.count = len(events)
        self.data = self.frames[0] if len(events) == 1 else b"".join(self.frames)
        self.wire = b""
        self.stored_at = datetime.fromisoformat(events[0].created_at).timestamp()
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
    whose frames are counted here.
    """

    data: bytes
    frames: int
    lost: int = 0
    stored_at: float | None = None
    rest: memoryview | None = None
