"""The watcher: notices at once when the peer of a stream hangs up, and when one stalls."""

from __future__ import annotations

import queue
import select
import socket
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Protocol

from ..threads import SupervisedThread
from .connection import Connection

#: How long the last write of a stream that was told to end may take.
PATIENCE_SECONDS = 1.0


def _has_epoll() -> bool:
    # Asked each time, as gevent takes it away later.
    return hasattr(select, "epoll")


class Watchable(Protocol):
    """What the watcher asks of a stream, or of a request that waits."""

    #: Whether it ends without another byte.
    over: bool
    #: When the write in progress began, on the monotonic clock; 0 between writes.
    writing_since: float

    @property
    def write_timeout(self) -> float:
        """Return for how many seconds the peer may take nothing."""

    def drop(self, reason: str) -> None:
        """End without another byte. Any thread may call it, more than once."""


class _Watched:
    """A stream and its connection; since when the peer has acknowledged no further bytes."""

    __slots__ = ("acknowledged", "client", "connection", "since")

    def __init__(self, client: Watchable, connection: Connection) -> None:
        self.client = client
        self.connection = connection
        self.acknowledged = -1
        self.since = 0.0


class Watcher:
    """One thread that waits for any of the connections to hang up, and looks for stalled ones.

    ``tick`` is called at least every ``tick_seconds`` on that thread, which looks for stalls every
    ``stall_seconds``, by default as often. Where the system has no epoll, the watcher only looks
    for stalls; a peer that hangs up is noticed by the next write.
    """

    def __init__(
        self, tick: Callable[[], None], tick_seconds: float, stall_seconds: float = 0.0
    ) -> None:
        self.tick_seconds = tick_seconds
        self._stall_seconds = stall_seconds
        self._next_stalls = 0.0
        self._tick = tick
        self._ticked = 0.0
        # By descriptor. An entry is removed before its descriptor is closed and may be used again.
        self._watched: dict[int, _Watched] = {}
        self._lock = threading.Lock()
        self._calls: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._thread = SupervisedThread("sse-sink-watch", self._step)
        with ExitStack() as undo:
            self._wake, self._waker = socket.socketpair()
            undo.callback(self._wake.close)
            undo.callback(self._waker.close)
            self._wake.setblocking(False)
            self._waker.setblocking(False)
            if _has_epoll():
                self._epoll = select.epoll()
                undo.callback(self._epoll.close)
                self._epoll.register(self._wake, select.EPOLLIN)
            undo.pop_all()

    @property
    def thread(self) -> SupervisedThread:
        """Return the watcher's thread."""
        return self._thread

    @property
    def watched(self) -> int:
        """Return how many connections are watched."""
        return len(self._watched)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread, wait for it, and forget every connection."""
        self._thread.stopping.set()
        self.wake()
        self._thread.stop()
        with self._lock:
            self._watched.clear()
            if _has_epoll():
                self._epoll.close()
            self._wake.close()
            self._waker.close()
        self._run_calls()

    def call_later(self, call: Callable[[], None]) -> None:
        """Have the thread call this soon; once the thread has ended, call it now.

        Takes no lock, so that a finalizer may use this.
        """
        self._calls.put(call)
        if self._thread.stopping.is_set():
            self._run_calls()
        else:
            self.wake()

    def wake(self) -> None:
        """Make the thread look around now."""
        try:
            self._waker.send(b"\0")
        except OSError:
            # The buffer is full, so that the thread wakes anyway; or the watcher has stopped.
            pass

    def add(self, client: Watchable, connection: Connection) -> None:
        """Watch a stream's connection until :meth:`discard`."""
        with self._lock:
            fd = connection.fileno()
            if fd < 0 or self._thread.stopping.is_set():
                return
            self._watched[fd] = _Watched(client, connection)
            if _has_epoll():
                try:
                    self._epoll.register(fd, select.EPOLLRDHUP | select.EPOLLONESHOT)
                except FileExistsError:
                    self._rearm(fd)

    def discard(self, client: Watchable, connection: Connection) -> None:
        """Stop watching; this must come before the connection's descriptor is closed."""
        with self._lock:
            fd = connection.fileno()
            if fd < 0:
                # The server has closed the connection without closing the stream's response.
                fds = [fd for fd, each in self._watched.items() if each.client is client]
                fd = fds[0] if fds else fd
            watched = self._watched.get(fd)
            if watched is None or watched.client is not client:
                return
            del self._watched[fd]
            if _has_epoll():
                try:
                    self._epoll.unregister(fd)
                except (OSError, ValueError):
                    pass

    def cut(self, *, only_writing: bool) -> int:
        """Cut the connections that are watched, and return how many are watched.

        With ``only_writing`` only those are cut where a write has taken a second.
        """
        until = time.monotonic() - PATIENCE_SECONDS
        with self._lock:
            for watched in self._watched.values():
                if not only_writing or 0 < watched.client.writing_since < until:
                    watched.connection.cut()
            return len(self._watched)

    def _step(self) -> None:
        if _has_epoll():
            ready = [fd for fd, _ in self._epoll.poll(self.tick_seconds)]
        else:
            readable, _, _ = select.select([self._wake], [], [], self.tick_seconds)
            ready = [each.fileno() for each in readable]
        for fd in ready:
            if fd == self._wake.fileno():
                self._empty_wake()
            else:
                self.on_hang_up(fd)
        self._run_calls()
        now = time.monotonic()
        if now - self._ticked >= self.tick_seconds * 0.9:
            self._ticked = now
            if now >= self._next_stalls:
                # Thousands of connections are looked at: not more often than needed.
                self._next_stalls = now + self._stall_seconds
                self._look_for_stalls(now)
            self._tick()

    def _run_calls(self) -> None:
        while True:
            try:
                call = self._calls.get_nowait()
            except queue.Empty:
                return
            call()

    def _empty_wake(self) -> None:
        try:
            while self._wake.recv(4096):
                pass
        except OSError:
            pass

    def on_hang_up(self, fd: int) -> None:
        """End the stream on this descriptor, if its peer has really hung up."""
        with self._lock:
            watched = self._watched.get(fd)
            if watched is None:
                return
            if not watched.connection.is_gone():
                # The event was about an earlier connection with this descriptor.
                self._rearm(fd)
                return
            silent = watched.connection.is_silent()
        watched.client.drop("stalled" if silent else "closed")

    def _rearm(self, fd: int) -> None:
        self._epoll.modify(fd, select.EPOLLRDHUP | select.EPOLLONESHOT)

    def _look_for_stalls(self, now: float) -> None:
        with self._lock:
            writing = [each for each in self._watched.values() if each.client.writing_since]
        for watched in writing:
            began = watched.client.writing_since
            if not began:
                continue
            if watched.client.over and now - began > PATIENCE_SECONDS:
                self._cut(watched)
                continue
            acknowledged = watched.connection.acknowledged()
            if acknowledged != watched.acknowledged:
                watched.acknowledged, watched.since = acknowledged, now
            if now - max(began, watched.since) >= watched.client.write_timeout:
                watched.client.drop("stalled")
                self._cut(watched)

    def _cut(self, watched: _Watched) -> None:
        # While the connection is watched, its descriptor is still its own.
        with self._lock:
            if self._watched.get(watched.connection.fileno()) is watched:
                watched.connection.cut()
