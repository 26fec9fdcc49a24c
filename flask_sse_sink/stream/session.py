"""One stream from its admission to its end: what its response iterates over.

The module is longer than the others: what a stream takes and gives back, however it ends, is one
idea.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

from blinker import NamedSignal
from flask import Flask

from .. import metrics, signals
from ..exceptions import LogUnavailable
from . import frame
from .admission import Slot
from .batches import Batches, jittered_retry_ms
from .client import Client
from .connection import Connection
from .direct_socket import DirectSocket
from .guard import Guard
from .heartbeats import Heartbeats
from .membership import Membership
from .probe import Probe
from .replay import Replay
from .watcher import Watcher
from .write_batch import WriteBatch

#: Where a stream's request has its :class:`~flask_sse_sink.stream.client.Client` in the WSGI
#: environment.
ENVIRON_KEY = "sse_sink.client"

#: Where the server may put a function to call once the stream is open and has what it missed.
OPENED_KEY = "sse_sink.opened"

_ADMITTED, _OPENING, _OPEN, _ENDED = range(4)

# Held only while the state of a session changes. Nothing that is done under it takes another lock
# or makes an object.
_state_lock = threading.Lock()


class Session:
    """Yields a stream's bytes, and holds what the stream needs until it ends, however it ends.

    A session has a slot from the beginning. As the first bytes are asked for it joins the sink's
    subscribers, has its connection watched, is counted as an open stream and announced by
    ``client_connected``. It gives all of that up when the bytes end, when it is closed, or when
    nothing refers to it any more, whichever comes first: a server, a middleware or a hook of the
    app may forget :meth:`close`. Only the watch goes on until :meth:`close`, since the server
    still has to write the last bytes.

    The generator that iterating makes refers to the session, and the session not to it. Otherwise
    the two would be a cycle, which only the garbage collector finds, and late.

    ``connection``, ``direct``, ``replay``, ``heartbeats``, ``guard``, ``environ`` and ``probe``
    stay None where the stream has none.
    """

    # There is one for each of thousands of streams. What has to be undone stands in the methods,
    # and not in an ExitStack of each session, which would take 3.6 KiB.
    __slots__ = (
        "_app",
        "_counts",
        "_membership",
        "_on_live",
        "_slot",
        "_state",
        "_watcher",
        "client",
        "connection",
        "direct",
        "environ",
        "guard",
        "heartbeats",
        "notice",
        "probe",
        "replay",
    )

    def __init__(
        self, app: Flask, client: Client, slot: Slot, membership: Membership, watcher: Watcher
    ) -> None:
        self._state = _ADMITTED
        self._slot = slot
        self.client = client
        self.connection: Connection | None = None
        self.direct: DirectSocket | None = None
        self.replay: Replay | None = None
        self.heartbeats: Heartbeats | None = None
        self.guard: Guard | None = None
        self.probe: Probe | None = None
        self.environ: dict[str, Any] | None = None
        self.notice = b""  # a frame that comes right after the first one
        self._app = app
        self._on_live: Callable[[], object] | None = None
        self._membership = membership
        self._watcher = watcher
        self._counts = metrics.get().sink(client.sink)

    def __iter__(self) -> Iterator[bytes]:
        """Yield the stream's bytes until its peer is gone or the client is told to end.

        The client joins before the first bytes, so that it gets every event that comes after the
        peer has read them. Where the log is away, the peer is told to come back later.
        """
        client = self.client
        if not self._slot.begin():
            # The first bytes were asked for too late, or for a second time.
            yield frame.closing(jittered_retry_ms(client))
            return
        if not self._open():
            yield frame.busy(jittered_retry_ms(client))
            return
        try:
            batches = Batches(client, self.replay, self.direct, self.heartbeats)
            batches.on_live, self._on_live = self._on_live, None
            batches.notice = self.notice
            if self.probe is not None:
                batches.begin_with(self.probe)
                self.probe = None
            while (batch := batches.next()) is not None:
                client.missed += batch.lost
                if batch.data:
                    client.writing_since = time.monotonic()
                    yield batch.data
                client.writing_since = 0.0
                if batch.frames or batch.lost:
                    self._count(batch)
        except GeneratorExit:
            # The garbage collector may close the generator at any point of any thread, so nothing
            # is done here; close() or __del__ follows.
            raise
        except BaseException:
            self._end("failed")
            raise
        self._end("closed")

    def close(self) -> None:
        """End the stream. Any thread may call this, more than once.

        A server calls it after the last byte, and before it closes the socket.
        """
        self.client.drop("closed")
        self._end("closed")
        connection = self._unwatch()
        if connection is not None:
            # A server waits for the peer to close its side, and may let other requests wait.
            connection.cut()

    def __del__(self) -> None:
        # This may run at any point of any thread, even one that holds a lock which is needed here.
        # So what takes a lock is left to the watcher's thread.
        self._slot.give_back()
        if self._state == _OPEN or (self._state == _ENDED and self.connection is not None):
            self._watcher.call_later(self._end_abandoned)

    def _end_abandoned(self) -> None:
        """End the stream, and don't cut its connection, which may serve another request by now."""
        self._end("closed")
        self._unwatch()

    def _open(self) -> bool:
        """Take all that an open stream has, or nothing; return false where the log is away."""
        client = self.client
        environ, self.environ = self.environ, None
        if environ is not None:
            environ[ENVIRON_KEY] = client
            self._on_live = environ.pop(OPENED_KEY, None)
        self._state = _OPENING
        try:
            self._join()
            if self.guard is not None:
                self.guard.add(client)
            if self.connection is not None:
                self.connection.set_timeouts(client.write_timeout)
                self._watcher.add(client, self.connection)
            self._counts.connected()
        except BaseException as error:
            self._undo_open()
            if isinstance(error, LogUnavailable):
                refuse(self._app, client)
                return False
            client.drop("failed")
            raise
        self._state = _OPEN
        try:
            self._announce(signals.client_connected)
        except BaseException:
            self._end("failed")
            raise
        return True

    def _join(self) -> None:
        replay = self.replay
        if replay is None:
            self._membership.join()
        elif replay.after is None:
            replay.join()
        else:
            # The client joins when it has what it missed.
            self._membership.set_apart()

    def _undo_open(self) -> None:
        self._state = _ENDED
        self._membership.leave()
        if self.guard is not None:
            self.guard.discard(self.client)
        self._unwatch()
        self._slot.give_back()

    def _end(self, reason: str) -> None:
        """Give up all but the watch, for this reason unless one is known already."""
        self._slot.give_back()
        with _state_lock:
            if self._state != _OPEN:
                return
            self._state = _ENDED
        client = self.client
        client.finish(reason)
        # In reverse order of the calls here; each is done although another one fails.
        with ExitStack() as steps:
            steps.callback(self._counts.ended, client.reason)
            steps.callback(self._announce, signals.client_disconnected)
            steps.callback(self._membership.leave)
            if self.heartbeats is not None:
                steps.callback(self.heartbeats.discard, client)
            if self.guard is not None:
                steps.callback(self.guard.discard, client)

    def _announce(self, signal: NamedSignal) -> None:
        signals.emit(signal, self._app, sink=self.client.sink, client=self.client)

    def _unwatch(self) -> Connection | None:
        """End the watch; return the connection if it was watched until now."""
        with _state_lock:
            if self._state != _ENDED:
                return None
            connection, self.connection = self.connection, None
        if connection is not None:
            self._watcher.discard(self.client, connection)
        return connection

    def _count(self, batch: WriteBatch) -> None:
        """Count what the stream's own thread has written."""
        self.client.queue.sender.count(batch.frames)
        seconds = time.time() - batch.stored_at if batch.stored_at else None
        if batch.frames:
            self._counts.delivered(batch.frames, seconds, batch.way)
        if batch.lost:
            self._counts.missed(batch.lost)


def refuse(app: Flask, client: Client) -> None:
    """Count and announce a client that is not let in."""
    client.drop("refused")
    metrics.get().sink(client.sink).refused()
    signals.emit(signals.client_disconnected, app, sink=client.sink, client=client)
