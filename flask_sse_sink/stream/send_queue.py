"""What is on its way to one client: sent at once, or kept, in bounds, for its thread to write."""

from __future__ import annotations

import queue
import random
import threading
import time
from collections.abc import Callable, Collection
from typing import Any

from . import frame
from .chunk import Chunk, Frame, WriteBatch
from .direct_socket import NOW
from .memory import Memory

# More than this isn't joined for one write, unless it is a single frame: it is a copy for each
# client, which lives as long as its peer takes nothing.
_WRITE_BYTES = 64 * 1024
# A send in progress never waits; this is how soon it is looked at again.
_MOMENT_SECONDS = 0.001


class _Condition:
    """A condition that one thread at most waits for, at a tenth of the size of threading's.

    All is called under ``mutex``; :meth:`wait` lets go of it meanwhile.
    """

    __slots__ = ("_mutex", "_waiter", "_waiting")

    def __init__(self, mutex: threading.Lock) -> None:
        self._mutex = mutex
        self._waiter = threading.Lock()
        self._waiter.acquire()
        self._waiting = False

    def __enter__(self) -> None:
        self._mutex.acquire()

    def __exit__(self, *_: object) -> None:
        self._mutex.release()

    def wait(self, timeout: float) -> None:
        """Return soon after :meth:`notify`, at the latest after ``timeout`` seconds."""
        self._waiting, woken = True, False
        self._mutex.release()
        try:
            woken = self._waiter.acquire(timeout=timeout)
        finally:
            self._mutex.acquire()
            if not woken and not self._waiting:
                # It was woken after the time was over.
                self._waiter.acquire()
            self._waiting = False

    def notify(self) -> None:
        """Wake the thread that waits, if one does."""
        if self._waiting:
            self._waiting = False
            self._waiter.release()


class Outbox(queue.Queue[Chunk]):
    """One client's outbox. :meth:`send` puts a chunk in, :meth:`get_frames` takes all there is.

    What waits are references to frames that all outboxes share; they are joined when they are
    written. It holds ``max_frames`` frames and ``max_bytes`` bytes at most, and always the newest
    frame, unless :meth:`shrink` takes that too: beyond that the oldest go, and the next bytes
    taken begin with a ``missed`` notice that counts them. With ``lossless``, all goes instead,
    and nothing comes in until :meth:`resume`: who takes from it is told the id after which the
    log has what it needs. (The hooks are those that :class:`queue.Queue` has for its subclasses;
    they run under its one lock, ``mutex``.)

    Once :meth:`open_lane` was called, a chunk doesn't come in here as long as nothing waits and
    the client's thread is idle, which is to say waits in :meth:`get_frames`: the sender writes
    the chunk to the socket itself. Neither takes a lock for it. The sender says that it sends
    and then looks whether the thread is idle; the thread says that it isn't any more and then
    looks whether somebody sends. So one of the two always sees the other, as every step of a
    thread is seen by all others in order (by the interpreter's lock), and the thread waits for
    the sender, who never waits. What such a send leaves over is the first that the thread takes.

    ``written`` is how many frames were written, and ``error`` what a send failed with.
    """

    # Those that a send touches stand together, in the object itself: with a thousand clients
    # most of its time goes into fetching them from memory.
    __slots__ = ("_last_id", "_sending", "_idle", "_write", "_quiet_since", "written")

    def __init__(self, max_frames: int, max_bytes: int, lossless: bool = False) -> None:
        # In place of Queue's own beginning: that makes three conditions of a kilobyte each, and
        # nobody waits for room or for tasks to be done.
        self.maxsize = self.unfinished_tasks = 0
        self.is_shutdown = False  # asked for by Queue from Python 3.13 on
        self.mutex = threading.Lock()
        condition: Any = _Condition(self.mutex)
        self.not_empty = self.not_full = self.all_tasks_done = condition
        self._init(0)
        self.max_frames = max_frames
        self.max_bytes = max_bytes
        self.lossless = lossless
        self.closed = False
        self._paused = False
        self._behind: int | None = None
        self.error: OSError | None = None
        self.written = 0
        self._last_id = -1
        self._sending = False
        self._idle = False
        self._write: Callable[[bytes, int], int] | None = None
        self._quiet_since = 0.0

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
        self._idle = False
        self._last_id = item.last_id
        self._waiting += item.frames
        self._bytes += item.size
        count = len(self._waiting)
        if count > 1 and (count > self.max_frames or self._bytes > self.max_bytes):
            self._lose(self.max_bytes, 1)

    def _lose(self, max_bytes: int, least: int) -> None:
        """Lose the oldest frames until what waits is in bounds, or only ``least`` are left."""
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

    def shrink(self, max_bytes: int) -> None:
        """Lose the oldest frames, perhaps all, where more than so many bytes wait."""
        with self.mutex:
            if self._bytes > max_bytes:
                self._lose(max_bytes, 0)

    def _get(self) -> Chunk:
        raise NotImplementedError("taken by get_frames, all at once")

    def open_lane(self, write: Callable[[bytes, int], int]) -> None:
        """Let chunks be sent with ``write``, which is a socket's ``send``, from now on."""
        self._write = write

    def send(self, chunk: Chunk) -> int:
        """Send the chunk or keep it; return how many frames were written.

        Never waits; called in the order of ids, by one thread at a time. What came before is
        passed over, so that a delivery which was interrupted can be made again.
        """
        if chunk.first_id <= self._last_id:
            later = chunk.after(self._last_id)
            if later is None:
                return 0
            chunk = later
        self._sending = True
        if self._idle:
            wire = chunk.wire or chunk.code()
            try:
                sent = self._write(wire, NOW)  # type: ignore[misc] # never idle without
                if sent == len(wire):
                    self._last_id = chunk.last_id
                    self._quiet_since = chunk.made_at
                    self.written += chunk.count
                    self._sending = False
                    return chunk.count
                self._keep_rest(chunk, sent)
                return 0
            except BlockingIOError:
                pass
            except OSError as error:
                self._fail(error)
                return 0
            except BaseException:
                self._fail(InterruptedError("nobody knows how much was sent"))
                raise
        self._sending = False
        self.put_nowait(chunk)
        return 0

    def _keep_rest(self, chunk: Chunk, sent: int) -> None:
        with self.not_empty:
            self._rest = chunk, sent
            self._last_id = chunk.last_id
            self._quiet_since = chunk.made_at
            self._idle = False
            self._sending = False
            self.not_empty.notify()

    def _fail(self, error: OSError) -> None:
        self.error = error
        self._sending = False
        self.close(forget=True)

    def get_frames(self, timeout: float) -> WriteBatch:
        """Return what there is; wait for something if need be.

        :raises queue.Empty: nothing came, and nothing was sent, for ``timeout`` seconds.

        Once the outbox is closed and empty it returns no bytes, at once.
        """
        with self.not_empty:
            if not self._qsize():
                self._wait(timeout)
            behind, self._behind = self._behind, None
            lost, self._lost = self._lost, 0
            first_lost, last_lost = self._first_lost, self._last_lost
            frames = self._take()
            rest, self._rest = self._rest, None
        parts = [frame.missed(lost, first_lost, last_lost)] if lost else []
        parts += [each.data for each in frames]
        data, count = b"".join(parts), len(frames)
        stored_at = frames[0].stored_at if frames else None
        if rest is None:
            return WriteBatch(data, count, lost, stored_at, None, behind)
        chunk, sent = rest
        left = memoryview(chunk.wire or chunk.encoded())[sent:]
        return WriteBatch(data, count + chunk.count, lost, chunk.stored_at, left, behind)

    def _take(self) -> list[Frame]:
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
        self._quiet_since = time.monotonic()
        while not self._qsize():
            left = self._quiet_since + timeout - time.monotonic()
            if left <= 0:
                raise queue.Empty
            self._idle = self._write is not None
            if self._idle and left > timeout / 2:
                # A send puts the heartbeats of all clients off to the same moment. Under a
                # flow of events, thousands of threads would all wake then only to see that.
                left *= random.uniform(0.9, 1)
            self.not_empty.wait(left)
            self._idle = False
            while self._sending:
                self.not_empty.wait(_MOMENT_SECONDS)

    def resume(self, after: int) -> None:
        """Let chunks come in, of which those up to this id are passed over."""
        with self.not_empty:
            self._last_id = after
            self._behind = None
            self._paused = False

    def wait(self, timeout: float) -> None:
        """Wait until it is closed, at most so many seconds, while nothing comes in."""
        with self.not_empty:
            until = time.monotonic() + timeout
            while not self.closed and (left := until - time.monotonic()) > 0:
                self.not_empty.wait(left)

    def sent_up_to(self, id: int) -> int | None:
        """Return the id of the newest event of which it is certain that the client needs no more.

        That is ``id`` at least, up to which all came in here before; None if something waits. To
        be called by the client's thread, between two waits: what comes in then has to wait.
        """
        with self.not_empty:
            return None if self._qsize() else max(id, self._last_id)

    @property
    def waiting(self) -> int:
        """Return how many frames wait."""
        return len(self._waiting)

    @property
    def waiting_bytes(self) -> int:
        """Return how many bytes these have."""
        return self._bytes

    def close(self, *, forget: bool = False) -> None:
        """Take nothing more; what waits can still be taken, unless it is to be forgotten.

        The rest of a chunk never is: the wire has the beginning of it.
        """
        with self.not_empty:
            self.closed = True
            self._idle = False
            if forget:
                self._forget()
            self.not_empty.notify()


def shrink_fullest(outboxes: Collection[Outbox], memory: Memory) -> None:
    """Let the fullest outboxes lose their oldest frames until an eighth of the memory is free.

    A frame is gone when every outbox has lost it. So the bound for all of them is lowered step by
    step, and those that are above it, the fullest first, are brought down to it.
    """
    enough = memory.limit - memory.limit // 8
    most = max((each.waiting_bytes for each in outboxes), default=0)
    while most and memory.used > enough:
        most = most * 3 // 4
        fuller = [each for each in outboxes if each.waiting_bytes > most]
        for each in sorted(fuller, key=lambda outbox: outbox.waiting_bytes, reverse=True):
            each.shrink(most)
            if memory.used <= enough:
                return
