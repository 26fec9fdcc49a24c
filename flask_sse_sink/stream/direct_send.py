"""Direct send: events go to a client's socket without waking the client's thread."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Protocol

from .chunk import Chunk, Notice

#: The flag with which a send takes what the kernel has room for, and never waits.
DONT_WAIT: int = getattr(socket, "MSG_DONTWAIT", 0)


class Queue(Protocol):
    """Where a client's thread finds what wasn't sent directly."""

    def put_nowait(self, chunk: Chunk, /) -> None:
        """Keep a chunk; the queue calls :meth:`DirectSender.on_kept` under its lock."""

    def put_rest(self, chunk: Chunk, sent: int, /) -> None:
        """Keep what is left of a chunk after ``sent`` bytes of its encoded form were sent.

        The queue calls :meth:`DirectSender.on_rest_kept` under its lock.
        """

    def close(self, *, forget: bool) -> None:
        """Take nothing more, and forget what waits."""


class DirectSender:
    """Sends chunks to one client: to its socket if the client's thread is idle, else to its queue.

    The thread is idle while it waits for the queue and nothing is in it. Then the sender writes to
    the socket itself. Sender and thread agree on that without a lock: the sender sets ``sending``
    and then looks whether the thread is idle; the thread clears ``idle`` and then looks whether
    the sender is sending. Under the interpreter's lock each sees the other's writes in order, so
    that one of them always notices the other, and the thread waits until the send is over. The
    sender itself never waits.

    ``written`` is the number of frames that were written, also by the thread (:meth:`count`).
    ``error`` is what a send failed with.
    """

    # What a send touches stands in the object itself: with a thousand clients, fetching it from
    # memory is most of a send's own time.
    __slots__ = (
        "_idle",
        "_last_id",
        "_queue",
        "_quiet_since",
        "_sending",
        "_write",
        "error",
        "written",
    )

    def __init__(self, queue: Queue) -> None:
        self._queue: Queue | None = queue
        self._last_id = -1
        self._sending = False
        self._idle = False
        self._write: Callable[[bytes, int], int] | None = None
        self._quiet_since = 0.0
        self.error: OSError | None = None
        self.written = 0

    def open(self, write: Callable[[bytes, int], int]) -> None:
        """Send with ``write``, which is a socket's ``send``, from now on."""
        self._write = write

    def send(self, chunk: Chunk) -> int:
        """Send the chunk or put it into the queue; return how many frames were written.

        Never waits. To be called by one thread at a time, in the order of ids. Events that the
        client has are skipped, so that a delivery which was interrupted can be made again.
        """
        if chunk.first_id <= self._last_id:
            later = chunk.after(self._last_id)
            if later is None:
                return 0
            chunk = later
        queue = self._queue
        if queue is None:
            return 0
        self._sending = True
        if self._idle:
            wire = chunk.wire or chunk.encode()
            try:
                sent = self._write(wire, DONT_WAIT)  # type: ignore[misc] # idle implies it
                if sent == len(wire):
                    self._last_id = chunk.last_id
                    self._quiet_since = chunk.made_at
                    self.written += chunk.count
                    self._sending = False
                    return chunk.count
                queue.put_rest(chunk, sent)
                return 0
            except BlockingIOError:
                pass
            except OSError as error:
                self._fail(queue, error)
                return 0
            except BaseException:
                self._fail(queue, InterruptedError("nobody knows how much was sent"))
                raise
        self._sending = False
        queue.put_nowait(chunk)
        return 0

    def send_notice(self, wire: bytes, now: float) -> bool:
        """Send a notice, which is coded already, if the thread is idle; return whether it was.

        ``now`` is on the monotonic clock. To be called in turn with :meth:`send`. What the socket
        doesn't take is written by the thread.
        """
        queue = self._queue
        if queue is None:
            return False
        self._sending = True
        if not self._idle:
            self._sending = False
            return False
        sent = 0
        try:
            sent = self._write(wire, DONT_WAIT)  # type: ignore[misc] # idle implies it
        except BlockingIOError:
            pass
        except OSError as error:
            self._fail(queue, error)
            return False
        except BaseException:
            self._fail(queue, InterruptedError("nobody knows how much was sent"))
            raise
        if sent < len(wire):
            queue.put_rest(Notice(wire, now, self._last_id), sent)
        else:
            self._quiet_since = now
            self._sending = False
        return True

    def _fail(self, queue: Queue, error: OSError) -> None:
        self.error = error
        self._sending = False
        queue.close(forget=True)

    # What follows is called by the queue, under its lock.

    def on_kept(self, chunk: Chunk) -> None:
        """Note that the chunk waits in the queue, which the thread has to empty first."""
        self._idle = False
        self._last_id = chunk.last_id

    def on_rest_kept(self, chunk: Chunk) -> None:
        """Note that the end of a chunk, whose beginning was sent, waits in the queue."""
        self._last_id = chunk.last_id
        self._quiet_since = chunk.made_at
        self._idle = False
        self._sending = False

    def on_closed(self, forget: bool) -> None:
        """Note that the thread is about to end; with ``forget``, let go of the queue too.

        Queue and sender refer to each other: without this, the memory of both would be freed by a
        garbage collection only.
        """
        self._idle = False
        if forget:
            self._queue = None

    def skip_to(self, id: int) -> None:
        """Skip events up to this id from now on."""
        self._last_id = id

    # What follows is called by the client's thread, under the queue's lock.

    @property
    def last_id(self) -> int:
        """Return the id of the newest event that was sent or put into the queue, -1 before."""
        return self._last_id

    @property
    def is_sending(self) -> bool:
        """Return whether a send is in progress."""
        return self._sending

    @property
    def quiet_since(self) -> float:
        """Return since when nothing was written to the client, on the monotonic clock."""
        return self._quiet_since

    def note_quiet(self, now: float) -> None:
        """Note that nothing has been written since this moment."""
        self._quiet_since = now

    @property
    def is_idle(self) -> bool:
        """Return whether the next chunk is sent directly."""
        return self._idle

    def begin_idle(self) -> bool:
        """Allow direct sends, if there is a socket to send to; return whether there is."""
        self._idle = self._write is not None
        return self._idle

    def end_idle(self) -> None:
        """Allow no direct send any more; one may still be in progress (:attr:`is_sending`)."""
        self._idle = False

    def count(self, frames: int) -> None:
        """Count frames that the client's thread has written."""
        self.written += frames
