"""The queue of one client: what waits to be written to it, within bounds."""

from __future__ import annotations

import queue
import random
import threading
import time
from collections.abc import Collection
from typing import Any

from . import frame
from .chunk import Chunk, Frame
from .condition import SlimCondition
from .direct_send import DirectSender
from .memory import Memory
from .write_batch import WriteBatch

# Frames are joined up to this size for one write; a larger frame is written alone. The joined
# bytes are a copy for each client, which exists for as long as its peer takes nothing.
_WRITE_BYTES = 64 * 1024
# A direct send never waits; how soon the thread looks again whether it is over.
_SEND_SECONDS = 0.001


class SendQueue(queue.Queue[Chunk]):
    """What waits for one client. ``sender`` puts chunks in, :meth:`take` takes all there is.

    What waits are references to frames that all queues share; frames are joined as they are taken.
    The queue holds ``max_frames`` frames and ``max_bytes`` bytes at most, and always the newest
    frame, unless :meth:`shrink` takes that too. Beyond that the oldest frames are lost, and the
    next batch begins with a ``missed`` notice that counts them. If ``lossless``, the queue drops
    all frames instead and takes none until :meth:`resume`: the next batch tells after which id to
    read the log.

    ``put_nowait`` and the lock ``mutex`` are those of :class:`queue.Queue`, with its hooks.
    """

    def __init__(self, max_frames: int, max_bytes: int, lossless: bool = False) -> None:
        # Queue.__init__ isn't called: it makes three conditions of a kilobyte each, and no thread
        # waits for room or for tasks to be done.
        self.maxsize = self.unfinished_tasks = 0
        self.is_shutdown = False  # Queue of Python 3.13 asks for it
        self.mutex = threading.Lock()
        condition: Any = SlimCondition(self.mutex)
        self.not_empty = self.not_full = self.all_tasks_done = condition
        self._init(0)
        self.max_frames = max_frames
        self.max_bytes = max_bytes
        self.lossless = lossless
        self.closed = False
        #: Sends chunks past this queue when nothing waits in it, and puts them in otherwise.
        self.sender = DirectSender(self)
        self._paused = False
        self._behind: int | None = None

    def _init(self, maxsize: int) -> None:
        self._waiting: list[Frame] = []  # an empty deque takes 760 bytes
        self._rest: tuple[Chunk, int] | None = None
        self._forget()

    def _forget(self) -> None:
        self._waiting.clear()
        self._bytes = 0
        self._lost = 0
        self._first_lost = 0
        self._last_lost = 0

    def _qsize(self) -> int:
        return (
            len(self._waiting)
            or self._rest is not None
            or self._behind is not None
            or self._lost
            or self.closed
        )

    def _put(self, item: Chunk) -> None:
        if self.closed or self._paused:
            return
        self.sender.on_kept(item)
        self._waiting += item.frames
        self._bytes += item.size
        count = len(self._waiting)
        if count > 1 and (count > self.max_frames or self._bytes > self.max_bytes):
            self._lose_oldest(self.max_bytes, 1)

    def _lose_oldest(self, max_bytes: int, least: int) -> None:
        """Lose the oldest frames until what waits is within bounds, or ``least`` are left."""
        if self.lossless:
            # Every event before the first that waits was sent, or taken to be written.
            self._behind = self._waiting[0].id - 1
            self._paused = True
            self._forget()
            return
        waiting, lost = self._waiting, 0
        while lost < len(waiting) - least and (
            self._bytes > max_bytes or len(waiting) - lost > self.max_frames
        ):
            self._bytes -= len(waiting[lost].data)
            lost += 1
        if not self._lost:
            self._first_lost = waiting[0].id
        self._last_lost = waiting[lost - 1].id
        self._lost += lost
        del waiting[:lost]

    def _get(self) -> Chunk:
        raise NotImplementedError("chunks are taken by take(), all at once")

    def put_rest(self, chunk: Chunk, sent: int) -> None:
        """Keep what is left of a chunk after ``sent`` bytes of its encoded form were sent."""
        with self.not_empty:
            self._rest = chunk, sent
            self.sender.on_rest_kept(chunk)
            self.not_empty.notify()

    def shrink(self, max_bytes: int) -> None:
        """Lose the oldest frames, perhaps all, if more than so many bytes wait."""
        with self.mutex:
            if self._bytes > max_bytes:
                self._lose_oldest(max_bytes, 0)

    def take(self, timeout: float) -> WriteBatch:
        """Return what waits; wait for something if there is nothing.

        :raises queue.Empty: nothing came, and nothing was sent directly, for ``timeout`` seconds.

        A queue that is closed and empty returns an empty batch at once.
        """
        with self.not_empty:
            if not self._qsize():
                self._wait(timeout)
            behind, self._behind = self._behind, None
            lost, self._lost = self._lost, 0
            first_lost, last_lost = self._first_lost, self._last_lost
            frames = self._take_oldest()
            rest, self._rest = self._rest, None
        parts = [frame.missed(lost, first_lost, last_lost)] if lost else []
        parts += [each.data for each in frames]
        data, count = b"".join(parts), len(frames)
        if rest is None:
            stored_at = frames[0].stored_at if frames else None
            return WriteBatch(data, count, lost, stored_at, None, behind)
        chunk, sent = rest
        left = memoryview(chunk.wire or chunk.encoded())[sent:]
        return WriteBatch(data, count + chunk.count, lost, chunk.stored_at, left, behind)

    def _take_oldest(self) -> list[Frame]:
        """Return the oldest frames, as many as are written at once, and keep the others."""
        if self._bytes <= _WRITE_BYTES:
            taken, self._waiting, self._bytes = self._waiting, [], 0
            return taken
        size = count = 0
        for each in self._waiting:
            if count and size + len(each.data) > _WRITE_BYTES:
                break
            size += len(each.data)
            count += 1
        taken = self._waiting[:count]
        del self._waiting[:count]
        self._bytes -= size
        return taken

    def _wait(self, timeout: float) -> None:
        sender = self.sender
        sender.note_quiet(time.monotonic())
        while not self._qsize():
            left = sender.quiet_since + timeout - time.monotonic()
            if left <= 0:
                raise queue.Empty
            if sender.begin_idle() and left > timeout / 2:
                # A send postpones the heartbeats of all clients to the same moment. Under a flow
                # of events, thousands of threads would wake at once, only to notice that.
                left *= random.uniform(0.9, 1)
            self.not_empty.wait(left)
            sender.end_idle()
            while sender.is_sending:
                self.not_empty.wait(_SEND_SECONDS)

    def resume(self, after: int) -> None:
        """Take chunks again, and skip events up to this id."""
        with self.not_empty:
            self.sender.skip_to(after)
            self._behind = None
            self._paused = False

    def wait_closed(self, timeout: float) -> None:
        """Wait until the queue is closed, at most so many seconds, while nothing comes in."""
        with self.not_empty:
            until = time.monotonic() + timeout
            while not self.closed and (left := until - time.monotonic()) > 0:
                self.not_empty.wait(left)

    def sent_up_to(self, id: int) -> int | None:
        """Return an id up to which the client has all events that it gets; None if some wait.

        ``id`` is one up to which all events were put in here or sent before this call, and the
        answer isn't below it. To be called by the client's thread between two waits, in which
        nothing is sent directly.
        """
        with self.not_empty:
            return None if self._qsize() else max(id, self.sender.last_id)

    @property
    def waiting(self) -> int:
        """Return how many frames wait."""
        return len(self._waiting)

    @property
    def waiting_frames(self) -> list[Frame]:
        """Return the frames that wait, the oldest first."""
        with self.mutex:
            return list(self._waiting)

    @property
    def waiting_bytes(self) -> int:
        """Return the number of bytes of the frames that wait."""
        return self._bytes

    def close(self, *, forget: bool = False) -> None:
        """Take nothing more. What waits can still be taken, unless it is to be forgotten.

        The rest of a chunk is never forgotten: the peer has the beginning of it.
        """
        with self.not_empty:
            self.closed = True
            self.sender.on_closed(forget)
            if forget:
                self._forget()
            self.not_empty.notify()


def shrink_fullest(queues: Collection[SendQueue], memory: Memory) -> None:
    """Let the fullest queues lose their oldest frames until an eighth of the memory is free.

    A frame ends when every queue has lost it. So the bound for all queues is lowered step by step,
    and the queues above it are brought down to it, the fullest first.
    """
    enough = memory.limit - memory.limit // 8
    bound = max((each.waiting_bytes for each in queues), default=0)
    while bound and memory.used > enough:
        bound = bound * 3 // 4
        fuller = [each for each in queues if each.waiting_bytes > bound]
        for each in sorted(fuller, key=lambda full: full.waiting_bytes, reverse=True):
            each.shrink(bound)
            if memory.used <= enough:
                return
