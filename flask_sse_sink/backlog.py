"""What waits for one client: chunks of frames, bounded, and taken all at once."""

from __future__ import annotations

import queue
import time
from collections import deque
from datetime import datetime
from functools import cached_property
from typing import NamedTuple

from . import frame
from .event import Event

# More than this isn't joined for one write: it would be copied once a client.
_WRITE_BYTES = 256 * 1024


class Chunk:
    """Frames that go out together, made once and shared by all clients with the same filter."""

    def __init__(self, events: list[Event]) -> None:
        self.events = events
        self.frames = [frame.message(event) for event in events]
        self.ids = [event.id for event in events]
        self.data = self.frames[0] if len(events) == 1 else b"".join(self.frames)
        #: When the first of them was stored, in seconds since the epoch.
        self.stored_at = datetime.fromisoformat(events[0].created_at).timestamp()

    @cached_property
    def wire(self) -> bytes:
        """The frames as one chunk of HTTP/1.1's chunked coding. Rule: RFC 9112, 7.1."""
        return b"%X\r\n%b\r\n" % (len(self.data), self.data)

    def after(self, id: int) -> Chunk | None:
        """Return the part with ids above this one, None if nothing is."""
        events = [event for event in self.events if event.id > id]
        return Chunk(events) if events else None


class Taken(NamedTuple):
    """What a backlog gave up: bytes, the event frames in them, and how many were lost before.

    ``stored_at`` is when the oldest of the events was stored, in seconds since the epoch.
    ``rest`` goes to the wire before ``data``, as it is: the end of a chunk that was sent in part,
    whose frames are counted here.
    """

    data: bytes
    frames: int
    lost: int = 0
    stored_at: float | None = None
    rest: memoryview | None = None


class Backlog(queue.Queue[Chunk]):
    """The chunks that wait for one client; :meth:`get_frames` takes all of them at once.

    It holds ``max_frames`` frames and ``max_bytes`` bytes at most, and always the newest frame:
    beyond that the oldest go, and the next bytes taken begin with a ``missed`` notice that
    counts them. (The hooks are those that :class:`queue.Queue` has for its subclasses; they run
    under its one lock, ``mutex``.)

    Where ``direct`` is set, others may write to the client's socket while its own thread waits
    here: under ``mutex``, and only as long as ``idle`` says that nothing goes before. They tell
    it by :meth:`wrote`.
    """

    def __init__(self, max_frames: int, max_bytes: int) -> None:
        super().__init__()
        self.max_frames = max_frames
        self.max_bytes = max_bytes
        self.closed = False
        self.direct = False
        self.idle = False
        self._quiet_since = 0.0
        self._rest: tuple[Chunk, int] | None = None

    def _init(self, maxsize: int) -> None:
        self._chunks: deque[Chunk] = deque()
        self._skip = 0  # frames of the first chunk that are lost
        self._frames = 0
        self._bytes = 0
        self._lost = 0
        self._first_lost = 0
        self._last_lost = 0

    def _qsize(self) -> int:
        return len(self._chunks) or self._rest is not None or self.closed

    def _put(self, item: Chunk) -> None:
        if self.closed:
            return
        self.idle = False
        self._chunks.append(item)
        self._frames += len(item.ids)
        self._bytes += len(item.data)
        while self._frames > 1 and (
            self._frames > self.max_frames or self._bytes > self.max_bytes
        ):
            self._lose_one()

    def _lose_one(self) -> None:
        chunk = self._chunks[0]
        self._last_lost = chunk.ids[self._skip]
        if not self._lost:
            self._first_lost = self._last_lost
        self._lost += 1
        self._frames -= 1
        self._bytes -= len(chunk.frames[self._skip])
        self._skip += 1
        if self._skip == len(chunk.ids):
            self._chunks.popleft()
            self._skip = 0

    def _get(self) -> Chunk:
        raise NotImplementedError("taken by get_frames, all at once")

    def wrote(self, chunk: Chunk, size: int) -> bool:
        """Note that ``size`` bytes of ``chunk.wire`` were written; return whether that is all.

        The rest goes out first when the client's thread writes next. To be called under
        ``mutex``, while ``idle``.
        """
        self._quiet_since = time.monotonic()
        if size == len(chunk.wire):
            return True
        self.idle = False
        self._rest = chunk, size
        self.not_empty.notify()
        return False

    def get_frames(self, timeout: float) -> Taken:
        """Return what waits; wait for something if need be.

        :raises queue.Empty: nothing came, and nothing was written, for ``timeout`` seconds.

        Once the backlog is closed and empty it returns no bytes, at once.
        """
        with self.not_empty:
            if not self._qsize():
                self._wait(timeout)
            parts: list[bytes] = []
            lost, self._lost = self._lost, 0
            if lost:
                parts.append(frame.missed(lost, self._first_lost, self._last_lost))
            stored_at = self._chunks[0].stored_at if self._chunks else None
            size = frames = more = 0
            while self._chunks and size < _WRITE_BYTES:
                chunk = self._chunks.popleft()
                kept = chunk.frames[self._skip :]
                data = b"".join(kept) if self._skip else chunk.data
                self._skip = 0
                parts.append(data)
                size += len(data)
                frames += len(kept)
            self._frames -= frames
            self._bytes -= size
            rest = None
            if self._rest is not None:
                chunk, sent = self._rest
                self._rest = None
                rest = memoryview(chunk.wire)[sent:]
                stored_at, more = chunk.stored_at, len(chunk.ids)
            return Taken(b"".join(parts), frames + more, lost, stored_at, rest)

    def _wait(self, timeout: float) -> None:
        self._quiet_since = time.monotonic()
        self.idle = self.direct
        try:
            while not self._qsize():
                left = self._quiet_since + timeout - time.monotonic()
                if left <= 0:
                    raise queue.Empty
                self.not_empty.wait(left)
        finally:
            self.idle = False

    @property
    def frames(self) -> int:
        """Return how many frames wait."""
        return self._frames

    def close(self, *, forget: bool = False) -> None:
        """Take nothing more; what waits can still be taken, unless it is to be forgotten.

        The rest of a chunk is never forgotten: without it the wire would hold half a frame.
        """
        with self.not_empty:
            self.closed = True
            self.idle = False
            if forget:
                self._init(0)
            self.not_empty.notify()
