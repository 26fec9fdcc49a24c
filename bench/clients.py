"""Many clients in one process: raw sockets and epoll, counting what they are delivered."""

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
from collections.abc import Callable, Sequence

from .board import CAPACITY, Board
from .wire import WARM_UP, BadAnswer, Reader

# socket has no name for it. With it the kernel says when bytes reached a socket, so that a
# latency doesn't hold the time for which they lay there while this process read other sockets.
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
    """Open streams of a server, over its ports in turn. ``board`` says when events were sent."""

    def __init__(self, ports: Sequence[int], board: Board) -> None:
        self._ports = itertools.cycle(ports)
        self._board = board
        self._reader = Reader()
        self._epoll = select.epoll()
        self._sockets: dict[int, socket.socket] = {}
        self._states: dict[int, int] = {}
        self._warm: set[int] = set()
        self._first = 0
        self.latencies = array("q")
        """Of every delivery, in nanoseconds."""
        self.counts = array("i", bytes(4 * CAPACITY))
        """How many clients were delivered each event."""
        self.received: dict[int, int] = {}
        """How many events each client was delivered."""
        self.bytes = 0
        self.reads = 0
        self.last_ns = 0
        self.ended: list[str] = []
        """Why streams ended that should not have."""

    def __len__(self) -> int:
        return len(self._sockets)

    @property
    def warm(self) -> int:
        """How many clients have been delivered a warming event."""
        return len(self._warm)

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
                    self._receive(fd)
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

    def pass_on(
        self,
        seconds: float,
        expected: Sequence[int] = (0,),
        completed: Callable[[int], None] | None = None,
        also: int = -1,
    ) -> bool:
        """Read what comes for at most so long, or until the descriptor ``also`` can be read.

        ``completed`` is told how many events have now reached all the clients they are for:
        event number *n* is for ``expected[n % len(expected)]`` of them. Returns whether ``also``
        can be read.
        """
        poll, sockets, states = self._epoll.poll, self._sockets, self._states
        feed, counts, sent = self._reader.feed, self.counts, self._board.sent
        received, delivered = self.received, self.latencies.append
        clock, unpack, rotation = time.time_ns, _TIMESTAMP.unpack, len(expected)
        first = self._first
        until = time.monotonic() + seconds
        if also >= 0:
            self._epoll.register(also, select.EPOLLIN)
        try:
            while (left := until - time.monotonic()) > 0:
                done = 0
                for fd, _ in poll(left, 256):
                    if fd == also:
                        return True
                    try:
                        data, stamps, _, _ = sockets[fd].recvmsg(_SIZE, _SPACE)
                    except OSError as error:
                        self._end(fd, str(error))
                        continue
                    if not data:
                        self._end(fd, "the server closed the connection")
                        continue
                    if stamps:
                        whole, part = unpack(stamps[0][2])
                        now = whole * 1_000_000_000 + part
                    else:
                        now = clock()
                    try:
                        states[fd], numbers = feed(states[fd], data)
                    except BadAnswer as error:
                        self._end(fd, str(error))
                        continue
                    self.bytes += len(data)
                    self.reads += 1
                    if not numbers:
                        continue
                    self.last_ns = now
                    received[fd] += len(numbers)
                    for number in numbers:
                        if not first <= number < WARM_UP:
                            # A warming event, or one that was late for the last measurement.
                            received[fd] -= 1
                            if number == WARM_UP:
                                self._warm.add(fd)
                            continue
                        delivered(now - sent[number])
                        counts[number] += 1
                        done += counts[number] == expected[number % rotation]
                if done and completed:
                    completed(done)
        finally:
            if also >= 0:
                self._epoll.unregister(also)
        return False

    def _receive(self, fd: int) -> None:
        """Read a stream whose events aren't measured."""
        try:
            data = self._sockets[fd].recv(_SIZE)
            if not data:
                raise BadAnswer("the server closed the connection")
            self._states[fd], numbers = self._reader.feed(self._states[fd], data)
        except (BadAnswer, OSError) as error:
            self._end(fd, str(error))
            return
        if numbers:
            self._warm.add(fd)

    def _end(self, fd: int, why: str) -> None:
        self.ended.append(why)
        self._epoll.unregister(fd)
        self._sockets.pop(fd).close()

    def begin(self, first: int) -> None:
        """Forget what was delivered; a measurement begins, of the events from this number on."""
        self._first = first
        self.latencies = array("q")
        self.counts = array("i", bytes(4 * CAPACITY))
        self.received = dict.fromkeys(self._sockets, 0)
        self.bytes = self.reads = self.last_ns = 0

    def cool(self) -> None:
        """Forget which clients have been delivered a warming event."""
        self._warm.clear()

    def close(self) -> None:
        for each in self._sockets.values():
            with contextlib.suppress(OSError):
                each.close()
        self._sockets.clear()
        self._epoll.close()
