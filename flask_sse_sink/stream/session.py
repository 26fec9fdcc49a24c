"""One stream, from its admission to its end: what a response iterates over."""

from __future__ import annotations

import queue
import random
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, Protocol

from blinker import NamedSignal
from flask import Flask

from .. import metrics, signals
from ..exceptions import LogUnavailable
from ..relay import Relay
from ..threads import Backoff
from . import frame
from .admission import Slot
from .chunk import WriteBatch
from .client import Client
from .connection import SILENCE, Connection
from .direct_socket import DirectSocket
from .replay import Replay
from .response import tell_altered
from .watcher import Watcher

#: Where a stream's request has its :class:`~flask_sse_sink.client.Client` in the WSGI environment.
ENVIRON_KEY = "sse_sink.client"

_ADMITTED, _OPENING, _OPEN, _ENDED = range(4)

# Held only while a session's state changes, which takes no other lock and makes no object.
_changing = threading.Lock()


class Sink(Protocol):
    """What a stream needs of the sink whose events it has."""

    def add(self, client: Client) -> None:
        """Let the client have the events from now on. Called under the relay's lock."""

    def set_apart(self, client: Client) -> None:
        """Let the client, which reads from the log, have no events until it is added again."""

    def discard(self, client: Client) -> None:
        """Let the client have no more events."""


class Subscription:
    """How a client comes to a sink's live events, and gets away from them."""

    __slots__ = ("sink", "relay", "client")

    def __init__(self, sink: Sink, relay: Relay, client: Client) -> None:
        self.sink = sink
        self.relay = relay
        self.client = client

    def enter(self) -> int:
        """Let the client have the live events, and return the id that they come after.

        :raises LogUnavailable: it doesn't have them, and the same can be tried again.
        """
        return self.relay.join(self._add)

    def _add(self) -> None:
        self.client.outbox.resume(self.relay.cursor)
        self.sink.add(self.client)

    def set_apart(self) -> None:
        """Keep the live events from the client while it reads from the log."""
        self.sink.set_apart(self.client)

    def considered(self) -> int:
        """Return an id up to which the live clients were handed all events."""
        return self.relay.cursor

    def end(self) -> None:
        """Let the client have no more events; more than once does no harm."""
        self.sink.discard(self.client)


class Session:
    """Yields a stream's bytes, and holds what the stream takes until it ends, however it ends.

    That is a slot from the beginning, and once the first bytes are asked for the subscription,
    the watch on the peer and the count of open streams; the signals tell of these. All of it ends
    when the bytes end, or with :meth:`close`, or when nobody has the session any more, whichever
    comes first; the watch alone goes on to :meth:`close`, as the server has yet to write the last
    bytes. A server, a middleware or a hook of the app may forget to call :meth:`close`.

    Iterating makes a generator, which the session doesn't refer to: together they would be a
    cycle, and would be found by the garbage collector only, late.

    ``peer``, ``lane``, ``replay`` and ``environ`` are None where the stream has none.
    """

    # A thousand streams have a thousand of it.
    __slots__ = (
        *("client", "peer", "lane", "replay", "environ"),
        *("_app", "_subscription", "_slot", "_watcher", "_counts", "_state"),
    )

    def __init__(
        self,
        app: Flask,
        client: Client,
        subscription: Subscription,
        slot: Slot,
        watcher: Watcher,
    ) -> None:
        self._state = _ADMITTED
        self._slot = slot
        self.client = client
        self.peer: Connection | None = None
        self.lane: DirectSocket | None = None
        self.replay: Replay | None = None
        self.environ: dict[str, Any] | None = None
        self._app = app
        self._subscription = subscription
        self._watcher = watcher
        self._counts = metrics.get().sink(client.sink)

    def __iter__(self) -> Iterator[bytes]:
        """Yield the stream's bytes until its peer is gone or the client is told to end.

        The client is subscribed before the first bytes, so that every event after it is waiting
        by the time the peer has read them; where the log is away, the peer is told to come back.
        With a ``replay`` nothing is lost: what doesn't fit into the outbox is read from the log.
        """
        client, replay = self.client, self.replay
        outbox = client.outbox
        heartbeat_seconds = client.settings.heartbeat_timeout
        if not self._slot.begin():
            # It took too long to begin, or began before.
            yield frame.closing(self._retry_ms())
            return
        if not self._open():
            yield frame.busy(self._retry_ms())
            return
        try:
            first = frame.connected(round(client.settings.retry * 1000))
            if replay is not None and replay.after is None:
                first = frame.connected(round(client.settings.retry * 1000), replay.entered)
            client.writing_since = time.monotonic()
            yield first
            client.writing_since = 0.0
            self._open_lane(len(first))
            if replay is not None and replay.after is not None:
                yield from self._catch_up(replay)
            while True:
                try:
                    taken = outbox.get_frames(heartbeat_seconds)
                except queue.Empty:
                    taken = WriteBatch(self._heartbeat(), 0)
                    if not taken.data:
                        continue
                client.missed += taken.lost
                client.writing_since = time.monotonic()
                if taken.rest is not None:
                    self._finish(taken.rest)
                elif outbox.error is not None:
                    self._lost_peer(outbox.error)
                if client.over:
                    break
                if taken.data:
                    yield taken.data
                elif taken.rest is None and taken.behind is None:
                    # Those who all end at once should not all come back at once.
                    yield frame.closing(self._retry_ms())
                    break
                client.writing_since = 0.0
                if taken.frames:
                    self._wrote(taken, "queue")
                if taken.behind is not None and replay is not None:
                    replay.leave()
                    replay.restart(taken.behind)
                    yield from self._catch_up(replay)
        except GeneratorExit:
            # The collector may be at it, at any point of any thread: close() or __del__ follows.
            raise
        except BaseException:
            self._end("failed")
            raise
        self._end("closed")

    def close(self) -> None:
        """End the stream. Any thread may call it, more than once.

        A server calls it after the last byte, and before it closes the descriptor.
        """
        self.client.drop("closed")
        self._end("closed")
        peer = self._unwatch()
        if peer is not None:
            # Servers wait for the peer to close its side, some of them all others meanwhile.
            peer.cut()

    def __del__(self) -> None:
        # It may run at any point of any thread, even one that holds a lock which is needed here:
        # what takes a lock is left to the watcher's thread.
        self._slot.give_back()
        if self._state == _OPEN or (self._state == _ENDED and self.peer is not None):
            self._watcher.later(self._abandoned)

    def _abandoned(self) -> None:
        """End the stream, whose connection has another request by now, perhaps."""
        self._end("closed")
        self._unwatch()

    def _open(self) -> bool:
        """Take all that an open stream has; return whether the log was there to do it.

        All or nothing: an error leaves nothing behind.
        """
        client = self.client
        environ, self.environ = self.environ, None
        if environ is not None:
            environ[ENVIRON_KEY] = client
        self._state = _OPENING
        # No ExitStack: each thread would keep the kilobyte that one frees.
        try:
            self._subscribe()
            if self.peer is not None:
                self.peer.guard(client.write_timeout)
                self._watcher.add(client, self.peer)
            self._counts.connected()
        except BaseException as error:
            self._undo()
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

    def _undo(self) -> None:
        """Give up what a stream that couldn't open had until then."""
        self._state = _ENDED
        self._subscription.end()
        self._unwatch()
        self._slot.give_back()

    def _subscribe(self) -> None:
        replay = self.replay
        if replay is None:
            self._subscription.enter()
        elif replay.after is None:
            replay.enter()
        else:
            # It becomes live when it has what it missed.
            self._subscription.set_apart()

    def _end(self, reason: str) -> None:
        """Give up all but the watch, for this reason unless there was one already."""
        self._slot.give_back()
        with _changing:
            if self._state != _OPEN:
                return
            self._state = _ENDED
        client = self.client
        client.finish(reason)
        # In reverse; each is done although another fails.
        with ExitStack() as steps:
            steps.callback(self._counts.ended, client.reason)
            steps.callback(self._announce, signals.client_disconnected)
            steps.callback(self._subscription.end)

    def _announce(self, signal: NamedSignal) -> None:
        signals.emit(signal, self._app, sink=self.client.sink, client=self.client)

    def _unwatch(self) -> Connection | None:
        """End the watch; return the peer if it was watched until now."""
        with _changing:
            if self._state != _ENDED:
                return None
            peer, self.peer = self.peer, None
        if peer is not None:
            self._watcher.discard(self.client, peer)
        return peer

    def _retry_ms(self) -> int:
        """Return after how many milliseconds the client is to come back; not all at once."""
        return round(self.client.settings.retry * 1000 * random.uniform(1, 2))

    def _wrote(self, taken: WriteBatch, way: str) -> None:
        """Count what was written."""
        self.client.outbox.written += taken.frames
        seconds = time.time() - taken.stored_at if taken.stored_at else None
        self._counts.delivered(taken.frames, seconds, way)
        if taken.lost:
            self._counts.missed(taken.lost)

    def _heartbeat(self) -> bytes:
        """Return a heartbeat, nothing where something waits already.

        A client with replay is told how far it has come, though its filter held all of that back.
        """
        if self.replay is None:
            return frame.HEARTBEAT
        # In this order: what was considered before is in the outbox by now, or was sent.
        id = self.client.outbox.sent_up_to(self.replay.considered())
        return b"" if id is None else frame.heartbeat(id)

    def _catch_up(self, replay: Replay) -> Iterator[bytes]:
        """Yield what the log has, and become live where it ends."""
        assert replay.after is not None, "live"
        client = self.client
        until: int | None = None
        quiet_since, backoff = time.monotonic(), Backoff()
        while not client.outbox.closed and (until is None or replay.after < until):
            try:
                if replay.at_end and until is None:
                    until = replay.enter()
                    continue
                taken = replay.read(until)
                backoff.reset()
            except LogUnavailable:
                taken = WriteBatch(b"", 0)
                client.outbox.wait(backoff.next())
            data = taken.data
            if not data and time.monotonic() - quiet_since > client.settings.heartbeat_timeout:
                data = frame.heartbeat(replay.after)
            if data:
                client.missed += taken.lost
                quiet_since = client.writing_since = time.monotonic()
                yield data
                client.writing_since = 0.0
                if taken.frames or taken.lost:
                    self._wrote(taken, "replay")

    def _open_lane(self, size: int) -> None:
        """Let others write from now on, if the ``size`` bytes so far went the way they should."""
        lane = self.lane
        if lane is None:
            return
        if lane.opens(size):
            self.client.outbox.open_lane(lane.send)
        else:
            tell_altered("the first bytes of one didn't go out as they were")

    def _finish(self, rest: memoryview) -> None:
        assert self.lane is not None, "a rest without a lane"
        if self.client.over:
            self.lane.cut()
            return
        try:
            self.lane.finish(rest)
        except OSError as error:
            self._lost_peer(error)

    def _lost_peer(self, error: OSError) -> None:
        assert self.lane is not None, "a send without a lane"
        if isinstance(error, InterruptedError):
            self.client.drop("failed")
        else:
            self.client.drop("stalled" if error.errno in SILENCE else "closed")
        self.lane.cut()


def refuse(app: Flask, client: Client) -> None:
    """Count and announce a client that is not let in."""
    client.drop("refused")
    metrics.get().sink(client.sink).refused()
    signals.emit(signals.client_disconnected, app, sink=client.sink, client=client)
