"""Watches the connections of a process: who hangs up or stalls is gone at once."""

from __future__ import annotations

import queue
import select
import socket
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack

from ..threads import SupervisedThread
from .client import Client
from .connection import Connection

# How long a stream that was told to end may still be writing.
PATIENCE_SECONDS = 1.0


def _has_epoll() -> bool:
    # Not once for all: gevent takes it away.
    return hasattr(select, "epoll")


class _Watched:
    """A stream and its peer, and what the peer had taken when that last changed."""

    __slots__ = ("client", "peer", "taken", "since")

    def __init__(self, client: Client, peer: Connection) -> None:
        self.client = client
        self.peer = peer
        self.taken = -1
        self.since = 0.0


class Watcher:
    """One thread that waits for any of the connections to hang up, and looks after stalls.

    ``tick`` is called at least every ``tick_seconds``. Where the system has no epoll, a peer that
    hangs up is noticed by the next write, and only stalls are seen here.
    """

    def __init__(self, tick: Callable[[], None], tick_seconds: float) -> None:
        self.tick_seconds = tick_seconds
        self._tick = tick
        self._ticked = 0.0
        # By descriptor: an entry leaves before its descriptor is closed and may be used again.
        self._watched: dict[int, _Watched] = {}
        self._lock = threading.Lock()
        self._later: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._loop = SupervisedThread("sse-sink-watch", self._step)
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
    def loop(self) -> SupervisedThread:
        """Return the thread, to see how it does."""
        return self._loop

    def start(self) -> None:
        """Start the thread."""
        self._loop.start()

    def stop(self) -> None:
        """End the thread, wait for it, and forget every connection."""
        self._loop.stopping.set()
        self.wake()
        self._loop.stop()
        with self._lock:
            self._watched.clear()
            if _has_epoll():
                self._epoll.close()
            self._wake.close()
            self._waker.close()
        self._call_later()

    def later(self, call: Callable[[], None]) -> None:
        """Let the thread call this soon. Takes no lock, so that a finalizer may call it.

        Once the thread has ended, it is called at once.
        """
        self._later.put(call)
        if self._loop.stopping.is_set():
            self._call_later()
        else:
            self.wake()

    def wake(self) -> None:
        """Make the thread look around now."""
        try:
            self._waker.send(b"\0")
        except OSError:
            # Full: it will wake anyway. Closed: nobody is asleep.
            pass

    def add(self, client: Client, peer: Connection) -> None:
        """Watch a stream's connection until :meth:`discard`."""
        with self._lock:
            fd = peer.fileno()
            if fd < 0 or self._loop.stopping.is_set():
                return
            self._watched[fd] = _Watched(client, peer)
            if _has_epoll():
                try:
                    self._epoll.register(fd, select.EPOLLRDHUP | select.EPOLLONESHOT)
                except FileExistsError:
                    self._rearm(fd)

    def discard(self, client: Client, peer: Connection) -> None:
        """Watch no more, which must come before the connection's descriptor is closed."""
        with self._lock:
            fd = peer.fileno()
            if fd < 0:
                # It was closed: the stream's server forgot to tell the stream.
                mine = [fd for fd, watched in self._watched.items() if watched.client is client]
                fd = mine[0] if mine else fd
            found = self._watched.get(fd)
            if found is None or found.client is not client:
                return
            del self._watched[fd]
            if _has_epoll():
                try:
                    self._epoll.unregister(fd)
                except (OSError, ValueError):
                    pass

    def cut(self) -> int:
        """Cut every stream that is still there, and return how many those were."""
        with self._lock:
            for watched in self._watched.values():
                watched.peer.cut()
            return len(self._watched)

    def _step(self) -> None:
        if _has_epoll():
            ready = [fd for fd, _ in self._epoll.poll(self.tick_seconds)]
        else:
            readable, _, _ = select.select([self._wake], [], [], self.tick_seconds)
            ready = [found.fileno() for found in readable]
        for fd in ready:
            if fd == self._wake.fileno():
                self._drain_wake()
            else:
                self._hung_up(fd)
        self._call_later()
        now = time.monotonic()
        if now - self._ticked >= self.tick_seconds * 0.9:
            self._ticked = now
            self._look_for_stalls(now)
            self._tick()

    def _call_later(self) -> None:
        while True:
            try:
                call = self._later.get_nowait()
            except queue.Empty:
                return
            call()

    def _drain_wake(self) -> None:
        try:
            while self._wake.recv(4096):
                pass
        except OSError:
            pass

    def _hung_up(self, fd: int) -> None:
        with self._lock:
            watched = self._watched.get(fd)
            if watched is None:
                return
            if not watched.peer.gone():
                # The news was of an earlier connection with this descriptor.
                self._rearm(fd)
                return
            silent = watched.peer.silent()
        watched.client.drop("stalled" if silent else "closed")

    def _rearm(self, fd: int) -> None:
        self._epoll.modify(fd, select.EPOLLRDHUP | select.EPOLLONESHOT)

    def _look_for_stalls(self, now: float) -> None:
        with self._lock:
            writing = [w for w in self._watched.values() if w.client.writing_since]
        for watched in writing:
            began = watched.client.writing_since
            if not began:
                continue
            if watched.client.over and now - began > PATIENCE_SECONDS:
                self._cut(watched)
                continue
            taken = watched.peer.taken()
            if taken != watched.taken:
                watched.taken, watched.since = taken, now
            if now - max(began, watched.since) >= watched.client.write_timeout:
                watched.client.drop("stalled")
                self._cut(watched)

    def _cut(self, watched: _Watched) -> None:
        # Only while it is watched is the descriptor its own.
        with self._lock:
            if self._watched.get(watched.peer.fileno()) is watched:
                watched.peer.cut()
