"""One open stream: what waits for it, and the generator that a thread of its own runs."""

from __future__ import annotations

import queue
import random
import time
from collections import deque
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import NamedTuple

from . import frame
from .event import Event
from .pattern import Filter
from .settings import SinkSettings

# More than this isn't joined for one write: it would be copied once a client.
_WRITE_BYTES = 256 * 1024


class Chunk:
    """Frames that go out together, made once and shared by all clients with the same filter."""

    __slots__ = ("events", "frames", "ids", "data", "stored_at")

    def __init__(self, events: list[Event]) -> None:
        self.events = events
        self.frames = [frame.message(event) for event in events]
        self.ids = [event.id for event in events]
        self.data = self.frames[0] if len(events) == 1 else b"".join(self.frames)
        #: When the first of them was stored, in seconds since the epoch.
        self.stored_at = datetime.fromisoformat(events[0].created_at).timestamp()

    def after(self, id: int) -> Chunk | None:
        """Return the part with ids above this one, None if nothing is."""
        events = [event for event in self.events if event.id > id]
        return Chunk(events) if events else None


class Taken(NamedTuple):
    """What a backlog gave up: bytes, the event frames in them, and how many were lost before.

    ``stored_at`` is when the oldest of the events was stored, in seconds since the epoch.
    """

    data: bytes
    frames: int
    lost: int = 0
    stored_at: float | None = None


class Backlog(queue.Queue[Chunk]):
    """The chunks that wait for one client; :meth:`get_frames` takes all of them at once.

    It holds ``max_frames`` frames and ``max_bytes`` bytes at most, and always the newest frame:
    beyond that the oldest go, and the next bytes taken begin with a ``missed`` notice that
    counts them. (The hooks are those that :class:`queue.Queue` has for its subclasses; they run
    under its one lock.)
    """

    def __init__(self, max_frames: int, max_bytes: int) -> None:
        super().__init__()
        self.max_frames = max_frames
        self.max_bytes = max_bytes
        self.closed = False

    def _init(self, maxsize: int) -> None:
        self._chunks: deque[Chunk] = deque()
        self._skip = 0  # frames of the first chunk that are lost
        self._frames = 0
        self._bytes = 0
        self._lost = 0
        self._first_lost = 0
        self._last_lost = 0

    def _qsize(self) -> int:
        return len(self._chunks) or self.closed

    def _put(self, item: Chunk) -> None:
        if self.closed:
            return
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

    def get_frames(self, timeout: float) -> Taken:
        """Return what waits; wait for something if need be.

        :raises queue.Empty: nothing came in ``timeout`` seconds.

        Once the backlog is closed and empty it returns no bytes, at once.
        """
        with self.not_empty:
            if not self._qsize():
                self.not_empty.wait_for(self._qsize, timeout)
                if not self._qsize():
                    raise queue.Empty
            parts: list[bytes] = []
            lost, self._lost = self._lost, 0
            if lost:
                parts.append(frame.missed(lost, self._first_lost, self._last_lost))
            stored_at = self._chunks[0].stored_at if self._chunks else None
            size = frames = 0
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
            return Taken(b"".join(parts), frames, lost, stored_at)

    @property
    def frames(self) -> int:
        """Return how many frames wait."""
        return self._frames

    def close(self, *, forget: bool = False) -> None:
        """Take nothing more; what waits can still be taken, unless it is to be forgotten."""
        with self.not_empty:
            self.closed = True
            if forget:
                self._init(0)
            self.not_empty.notify()


class Client:
    """One stream. ``sink`` is the sink's name, ``filter`` what the client asked for.

    ``address`` is the peer's, ``connected_at`` seconds on the monotonic clock, ``frames`` how many
    events were written to it, ``missed`` how many it lost for being slow. ``reason`` says why it
    ended and is empty while it is open: ``closed`` (the peer hung up), ``stalled`` (it took
    nothing for ``write_timeout``), ``drained`` (the server is stopping), ``refused`` (it was never
    let in), ``failed`` (an error), or the word that :meth:`end` was given.
    """

    def __init__(
        self, sink: str, filter: Filter, address: str | None, settings: SinkSettings
    ) -> None:
        self.sink = sink
        self.filter = filter
        self.address = address
        self.connected_at = time.monotonic()
        self.frames = 0
        self.missed = 0
        self.reason = ""
        #: When the write in progress began, on the monotonic clock; 0 between writes.
        self.writing_since = 0.0
        #: Whether the stream ends without another word.
        self.over = False
        self._settings = settings
        self._last_id = -1
        self._ended_after = 0.0
        self._backlog = Backlog(settings.queue_size, settings.queue_bytes)

    @property
    def seconds(self) -> float:
        """Return how long the stream has been open, or was."""
        return self._ended_after or time.monotonic() - self.connected_at

    @property
    def write_timeout(self) -> float:
        """Return for how many seconds the peer may take nothing."""
        return self._settings.write_timeout

    @property
    def waiting(self) -> int:
        """Return how many frames wait to be written."""
        return self._backlog.frames

    def send(self, chunk: Chunk) -> None:
        """Let the chunk wait its turn. Never blocks; called in the order of ids.

        What the client had before is passed over, so that a delivery which was interrupted can
        be made again.
        """
        if chunk.ids[0] <= self._last_id:
            later = chunk.after(self._last_id)
            if later is None:
                return
            chunk = later
        self._last_id = chunk.ids[-1]
        self._backlog.put_nowait(chunk)

    def end(self, reason: str) -> None:
        """End the stream once what waits is written. Any thread may call it, more than once."""
        self.reason = self.reason or reason
        self._backlog.close()

    def drop(self, reason: str) -> None:
        """End the stream without another word, as its peer is gone. Any thread may call it."""
        self.reason = self.reason or reason
        self.over = True
        self._backlog.close(forget=True)

    def stream(
        self,
        join: Callable[[Client], None],
        leave: Callable[[Client], None],
        wrote: Callable[[Taken], None] = lambda taken: None,
    ) -> Iterator[bytes]:
        """Yield the stream's bytes until its peer is gone or :meth:`end` is called.

        ``join`` is called before the first bytes, so that every event after it is waiting by the
        time the peer has read them; ``wrote`` after each write of events; ``leave`` when the
        stream is over, however it ends.
        """
        retry_ms = round(self._settings.retry * 1000)
        heartbeat_seconds = self._settings.heartbeat_timeout
        join(self)
        try:
            self.writing_since = time.monotonic()
            yield frame.connected(retry_ms)
            self.writing_since = 0.0
            while True:
                try:
                    taken = self._backlog.get_frames(heartbeat_seconds)
                except queue.Empty:
                    taken = Taken(frame.HEARTBEAT, 0)
                if self.over:
                    return
                self.missed += taken.lost
                self.writing_since = time.monotonic()
                # Those who all end at once should not all come back at once.
                yield taken.data or frame.closing(round(retry_ms * random.uniform(1, 2)))
                if not taken.data:
                    return
                self.writing_since = 0.0
                if taken.frames:
                    self.frames += taken.frames
                    wrote(taken)
        except GeneratorExit:
            raise
        except BaseException:
            self.reason = self.reason or "failed"
            raise
        finally:
            self.reason = self.reason or "closed"
            self._ended_after = time.monotonic() - self.connected_at
            leave(self)
