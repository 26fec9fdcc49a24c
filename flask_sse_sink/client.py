"""One open stream: what waits for it, and the generator that a thread of its own runs."""

from __future__ import annotations

import queue
import time
from collections import deque
from collections.abc import Callable, Iterator

from . import frame
from .event import Event
from .pattern import Filter
from .settings import SinkSettings

# More than this isn't joined for one write: it would be copied once a client.
_WRITE_BYTES = 256 * 1024


class Chunk:
    """Frames that go out together, made once and shared by all clients with the same filter."""

    __slots__ = ("frames", "ids", "data")

    def __init__(self, events: list[Event]) -> None:
        self.frames = [frame.message(event) for event in events]
        self.ids = [event.id for event in events]
        self.data = self.frames[0] if len(events) == 1 else b"".join(self.frames)


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

    def get_frames(self, timeout: float) -> tuple[bytes, int]:
        """Return what waits, and how many messages that is; wait for something if need be.

        :raises queue.Empty: nothing came in ``timeout`` seconds.

        Once the backlog is closed and empty it returns no bytes, at once.
        """
        with self.not_empty:
            if not self._qsize():
                self.not_empty.wait_for(self._qsize, timeout)
                if not self._qsize():
                    raise queue.Empty
            parts: list[bytes] = []
            if self._lost:
                parts.append(frame.missed(self._lost, self._first_lost, self._last_lost))
                self._lost = 0
            size = messages = 0
            while self._chunks and size < _WRITE_BYTES:
                chunk = self._chunks.popleft()
                kept = chunk.frames[self._skip :]
                data = b"".join(kept) if self._skip else chunk.data
                self._skip = 0
                parts.append(data)
                size += len(data)
                messages += len(kept)
            self._frames -= messages
            self._bytes -= size
            return b"".join(parts), messages

    def close(self) -> None:
        """Take nothing more; what waits can still be taken."""
        with self.not_empty:
            self.closed = True
            self.not_empty.notify()


class Client:
    """One stream. ``sink`` is the sink's name, ``filter`` what the client asked for.

    ``address`` is the peer's, ``connected_at`` seconds on the monotonic clock, ``messages`` how
    many events were written to it, ``reason`` why it ended (empty while it is open).
    """

    def __init__(
        self, sink: str, filter: Filter, address: str | None, settings: SinkSettings
    ) -> None:
        self.sink = sink
        self.filter = filter
        self.address = address
        self.connected_at = time.monotonic()
        self.messages = 0
        self.reason = ""
        self._settings = settings
        self._backlog = Backlog(settings.queue_size, settings.queue_bytes)

    @property
    def seconds(self) -> float:
        """Return how long ago the stream began."""
        return time.monotonic() - self.connected_at

    def send(self, chunk: Chunk) -> None:
        """Let the chunk wait its turn. Never blocks; called in the order of ids."""
        self._backlog.put_nowait(chunk)

    def end(self, reason: str) -> None:
        """End the stream once what waits is written. Any thread may call it, more than once."""
        self.reason = self.reason or reason
        self._backlog.close()

    def stream(
        self, join: Callable[[Client], None], leave: Callable[[Client], None]
    ) -> Iterator[bytes]:
        """Yield the stream's bytes until its peer is gone or :meth:`end` is called.

        ``join`` is called before the first bytes, so that every event after it is waiting by the
        time the peer has read them; ``leave`` when the stream is over, however it ends.
        """
        retry_ms = round(self._settings.retry * 1000)
        heartbeat_seconds = self._settings.heartbeat_timeout
        join(self)
        try:
            yield frame.connected(retry_ms)
            while True:
                try:
                    data, messages = self._backlog.get_frames(heartbeat_seconds)
                except queue.Empty:
                    yield frame.HEARTBEAT
                    continue
                if not data:
                    yield frame.closing(retry_ms)
                    return
                self.messages += messages
                yield data
        finally:
            self.reason = self.reason or "closed"
            leave(self)
