"""Frames of events, and chunks: frames that go out together."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Self

from . import frame
from .memory import Memory

# Frames are joined up to this size for one send; a larger frame goes out alone.
CHUNK_BYTES = 256 * 1024
# What Python keeps for a frame beside its bytes: the objects of the frame, its id and its time.
FRAME_OBJECT_BYTES = 200


class Frame:
    """An event's bytes on the wire, made once a process and shared by all queues.

    ``id`` is the event's, ``stored_at`` when it was stored, in seconds since the epoch. ``memory``
    counts the frame for as long as anything refers to it.
    """

    __slots__ = ("_change", "data", "id", "stored_at")

    def __init__(self, data: bytes, id: int, stored_at: float, memory: Memory) -> None:
        self.data = data
        self.id = id
        self.stored_at = stored_at
        self._change = memory.change
        self._change(len(data) + FRAME_OBJECT_BYTES)

    def __del__(self) -> None:
        self._change(-len(self.data) - FRAME_OBJECT_BYTES)


class Chunk:
    """Frames with rising ids that go out together, shared by all clients that get the same ones.

    ``size`` is the number of their bytes, ``stored_at`` when the first event was stored, in
    seconds since the epoch, ``made_at`` when the chunk was made, on the monotonic clock. ``wire``
    holds the encoded bytes between :meth:`encode` and the end of the delivery; the deliverer
    empties it then, as what waits in queues is kept as frames.
    """

    # Those that a send reads come first: with a thousand clients, fetching them from memory is
    # most of a send's own time.
    __slots__ = (
        "count",
        "first_id",
        "frames",
        "last_id",
        "made_at",
        "size",
        "stored_at",
        "wire",
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
    def of_gap(cls, count: int | None, first_id: int, last_id: int, memory: Memory) -> Self:
        """Return the notice that these events are lost, which takes their place."""
        notice = frame.missed(count, first_id, last_id, reason="pruned")
        return cls([Frame(notice, last_id, time.time(), memory)])

    def encoded(self) -> bytes:
        """Return the frames as one chunk of HTTP/1.1's chunked coding. Rule: RFC 9112, 7.1."""
        parts = [each.data for each in self.frames]
        return b"".join([b"%X\r\n" % self.size, *parts, b"\r\n"])

    def encode(self) -> bytes:
        """Return the same, and keep it in ``wire`` for the next send."""
        self.wire = self.encoded()
        return self.wire

    def after(self, id: int) -> Self | None:
        """Return the part with ids above this one, None where there is none."""
        frames = [each for each in self.frames if each.id > id]
        return type(self)(frames) if frames else None


class Notice(Chunk):
    """A notice without events, in chunked coding already: it is sent directly, and waits nowhere.

    ``made_at`` is on the monotonic clock.
    """

    __slots__ = ()

    def __init__(self, wire: bytes, made_at: float, last_id: int = -1) -> None:
        self.frames = []
        self.first_id = self.last_id = last_id
        self.count = 0
        self.size = len(wire)
        self.wire = wire
        self.stored_at = 0.0
        self.made_at = made_at


def split(frames: list[Frame]) -> Iterator[Chunk]:
    """Yield the frames as chunks of :data:`CHUNK_BYTES` at most, or of one larger frame."""
    begin = size = 0
    for end, each in enumerate(frames):
        size += len(each.data)
        if size > CHUNK_BYTES and end > begin:
            yield Chunk(frames[begin:end])
            begin, size = end, len(each.data)
    yield Chunk(frames[begin:] if begin else frames)
