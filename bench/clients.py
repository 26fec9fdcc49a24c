"""Many clients in one process: raw sockets and one epoll, which count what is delivered."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import resource
import select
import socket
import struct
import time
from array import array
from collections.abc import Callable, Iterator, Sequence

from .board import CAPACITY, Board
from .gaps import Gaps
from .wire import HEARTBEAT, WARM_UP, BadAnswer, Reader, feed

# The socket module has no name for it. With it the kernel stamps the moment at which bytes
# reached a socket, so that a latency doesn't include the time until this process read them.
SO_TIMESTAMPNS = 35
_TIMESTAMP = struct.Struct("qq")
_SPACE = socket.CMSG_SPACE(_TIMESTAMP.size)
_SIZE = 1 << 16
_AT_ONCE = 128
_CONNECT_SECONDS = 60.0


def raise_descriptor_limit() -> int:
    """Let this process and its children open as many files as they may; return how many."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


class Clients:
    """Open streams of a server, on its ports in turn. ``board`` says when events were sent."""

    def __init__(self, ports: Sequence[int], board: Board) -> None:
        self._ports = itertools.cycle(ports)
        self._board = board
        self._reader = Reader(feed)
        self._epoll = select.epoll()
        self._sockets: dict[int, socket.socket] = {}
        self._states: dict[int, int] = {}
        self._warm: set[int] = set()
        self.ended: list[str] = []
        """Why streams ended that should not have."""
        self.begin(0)

    def begin(self, first: int) -> None:
        """Forget all deliveries; from now on those of events from this number on are counted."""
        self._first = first
        self.latencies = array("q")
        """Of every delivery, in nanoseconds."""
        self.counts = array("i", bytes(4 * CAPACITY))
        """To how many clients each event was delivered."""
        self.received = dict.fromkeys(self._sockets, 0)
        """How many events were delivered to each client."""
        self.bytes = 0
        self.reads = 0
        self.last_ns = 0
        self.heartbeats = Gaps()
        """The heartbeats, if no events came."""

    def __len__(self) -> int:
        return len(self._sockets)

    @property
    def warm(self) -> int:
        """How many clients have received a warm-up event."""
        return len(self._warm)

    def cool(self) -> None:
        """Forget which clients have received a warm-up event."""
        self._warm.clear()

    def connect(self, paths: Sequence[str], *, greeted: bool) -> float:
        """Open a stream for each path, 128 at a time; return the seconds it took.

        A stream is open when its first bytes have come, or, where the server sends none before
        the first event (not ``greeted``), when the request has been sent.
        """
        began = time.perf_counter()
        waiting = list(reversed(paths))
        opening: dict[int, str] = {}
        while waiting or opening:
            if time.perf_counter() - began > _CONNECT_SECONDS:
                raise TimeoutError(
                    f"{len(waiting) + len(opening)} of {len(paths)} streams didn't open "
                    f"within {_CONNECT_SECONDS:g} s"
                )
            while waiting and len(opening) < _AT_ONCE:
                opening[self._begin()] = waiting.pop()
            for fd, events in self._epoll.poll(1.0):
                if fd in opening and events & select.EPOLLOUT:
                    self._request(fd, opening[fd])
                    if not greeted:
                        del opening[fd]
                else:
                    self._receive(fd, (0,))
                    opening.pop(fd, None)
            if self.ended:
                raise BadAnswer(self.ended[0])
        return time.perf_counter() - began

    def _begin(self) -> int:
        made = socket.socket()
        made.setblocking(False)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        made.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        error = made.connect_ex(("127.0.0.1", next(self._ports)))
        if error not in (0, errno.EINPROGRESS):
            made.close()
            raise OSError(error, os.strerror(error))
        fd = made.fileno()
        self._sockets[fd] = made
        self._states[fd] = 0
        self.received[fd] = 0
        self._epoll.register(fd, select.EPOLLOUT)
        return fd

    def _request(self, fd: int, path: str) -> None:
        error = self._sockets[fd].getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            raise OSError(error, os.strerror(error))
        head = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\n\r\n"
        self._sockets[fd].send(head.encode())
        self._epoll.modify(fd, select.EPOLLIN)

    def receive(
        self,
        seconds: float,
        expected: Sequence[int] = (0,),
        completed: Callable[[int], None] | None = None,
        until: int = -1,
    ) -> bool:
        """Read all streams for so many seconds, or until the descriptor ``until`` can be read.

        Event number *n* is for ``expected[n % len(expected)]`` clients. ``completed`` is called
        with the number of events that have now reached all their clients. Returns whether
        ``until`` can be read.
        """
        poll, receive = self._epoll.poll, self._receive
        end = time.monotonic() + seconds
        with self._watched(until):
            while (left := end - time.monotonic()) > 0:
                done = 0
                for fd, _ in poll(left, 256):
                    if fd == until:
                        return True
                    done += receive(fd, expected)
                if done and completed:
                    completed(done)
        return False

    @contextlib.contextmanager
    def _watched(self, fd: int) -> Iterator[None]:
        if fd < 0:
            yield
            return
        self._epoll.register(fd, select.EPOLLIN)
        try:
            yield
        finally:
            self._epoll.unregister(fd)

    def _receive(self, fd: int, expected: Sequence[int]) -> int:
        """Read one stream once; return how many events have reached the last of their clients."""
        try:
            data, stamps, _, _ = self._sockets[fd].recvmsg(_SIZE, _SPACE)
            if not data:
                raise BadAnswer("the server closed the connection")
            self._states[fd], numbers = self._reader.feed(self._states[fd], data)
        except (BadAnswer, OSError) as error:
            self._end(fd, str(error))
            return 0
        self.bytes += len(data)
        self.reads += 1
        if not numbers:
            return 0
        self.last_ns = now = _arrival(stamps)
        first, counts, sent, delivered = (
            self._first,
            self.counts,
            self._board.sent,
            self.latencies.append,
        )
        done, received, rotation = 0, len(numbers), len(expected)
        for number in numbers:
            if first <= number < WARM_UP:
                delivered(now - sent[number])
                counts[number] += 1
                done += counts[number] == expected[number % rotation]
                continue
            # A warm-up event, or one that comes late, from the scenario before.
            received -= 1
            if number == HEARTBEAT:
                self.heartbeats.add(fd, now)
            elif number == WARM_UP:
                self._warm.add(fd)
        self.received[fd] += received
        return done

    def _end(self, fd: int, why: str) -> None:
        self.ended.append(why)
        self._epoll.unregister(fd)
        self._sockets.pop(fd).close()

    def close(self) -> None:
        for each in self._sockets.values():
            with contextlib.suppress(OSError):
                each.close()
        self._sockets.clear()
        self._epoll.close()


def _arrival(stamps: Sequence[tuple[int, int, bytes]]) -> int:
    """Return when the bytes reached the socket, in nanoseconds since the epoch."""
    if not stamps:
        return time.time_ns()
    seconds, nanoseconds = _TIMESTAMP.unpack(stamps[0][2])
    return int(seconds) * 1_000_000_000 + int(nanoseconds)
