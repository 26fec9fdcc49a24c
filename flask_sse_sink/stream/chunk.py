"""Frames, chunks of them that go out together, and what a client's thread takes of them."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from datetime import datetime
from functools import lru_cache
from typing import NamedTuple, Self

from ..event import Event
from . import frame
from .memory import Memory

# More than this isn't joined for one send, unless it is a single frame.
CHUNK_BYTES = 256 * 1024
# What Python keeps for a frame beside its bytes: the objects of the frame, its id and its time.
_OBJECT_BYTES = 200
_KEY = "frame"


class Frame:
    """An event's bytes, made once a process and shared by all the queues that it waits in.

    ``id`` is the event's, ``stored_at`` when it was stored, in seconds since the epoch. ``memory``
    counts it as long as anybody refers to it.
    """

    __slots__ = ("data", "id", "stored_at", "_change")

    def __init__(self, data: bytes, id: int, stored_at: float, memory: Memory) -> None:
        self.data = data
        self.id = id
        self.stored_at = stored_at
        self._change = memory.change
        self._change(len(data) + _OBJECT_BYTES)

    def __del__(self) -> None:
        self._change(-len(self.data) - _OBJECT_BYTES)

    @classmethod
    def of(cls, event: Event, memory: Memory) -> Self:
        """Return the event's frame, the same one each time until :func:`release`."""
        made: Self | None = event.__dict__.get(_KEY)
        if made is None:
            stored_at = _timestamp(event.created_at)
            made = cls(frame.message(event), event.id, stored_at, memory)
            event.__dict__[_KEY] = made
        return made


def release(events: Iterable[Event]) -> None:
    """Let the frames end with the last queue that they wait in, whoever keeps the events."""
    for event in events:
        event.__dict__.pop(_KEY, None)


@lru_cache(maxsize=64)
def _timestamp(created_at: str) -> float:
    # The events of a batch have the same time.
    return datetime.fromisoformat(created_at).timestamp()


class Chunk:
    """Frames that go out together, shared by all clients whose filters let the same through.

    Their ids rise. ``size`` is that of all their bytes, ``stored_at`` when the first of the events
    was stored, in seconds since the epoch, ``made_at`` now, on the monotonic clock. ``wire`` is
    what :meth:`code` made, and empty before; whoever sends the chunk empties it again afterwards,
    as what waits is kept as frames.
    """

    __slots__ = (
        *("frames", "first_id", "last_id", "count", "size"),
        *("wire", "stored_at", "made_at"),
    )

    def __init__(self, frames: list[Frame]) -> None:
        first, last = frames[0], frames[-1]
        self.frames = frames
        self.first_id = first.id
        self.last_id = last.id
        self.count = len(frames)
        self.size = sum([len(each.data) for each in frames])
        self.wire = b""
        self.stored_at = first.stored_at
        self.made_at = time.monotonic()

    @classmethod
    def gap(cls, count: int | None, first_id: int, last_id: int, memory: Memory) -> Self:
        """Return the notice that these events are lost, in the place that they would have had."""
        notice = frame.missed(count, first_id, last_id, reason="pruned")
        return cls([Frame(notice, last_id, time.time(), memory)])

    def encoded(self) -> bytes:
        """Return the frames as one chunk of HTTP/1.1's chunked coding. Rule: RFC 9112, 7.1."""
        parts = [each.data for each in self.frames]
        return b"".join([b"%X\r\n" % self.size, *parts, b"\r\n"])

    def code(self) -> bytes:
        """Return the same, and keep it as ``wire`` for the next who sends it."""
        self.wire = self.encoded()
        return self.wire

    def after(self, id: int) -> Self | None:
        """Return the part with ids above this one, None if nothing is."""
        frames = [each for each in self.frames if each.id > id]
        return type(self)(frames) if frames else None


def chunks(frames: list[Frame]) -> Iterator[Chunk]:
    """Yield the frames as chunks of :data:`CHUNK_BYTES` at most, or of one larger frame."""
    begin = size = 0
    for end, each in enumerate(frames):
        size += len(each.data)
        if size > CHUNK_BYTES and end > begin:
            yield Chunk(frames[begin:end])
            begin, size = end, len(each.data)
    yield Chunk(frames[begin:] if begin else frames)


class WriteBatch(NamedTuple):
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
