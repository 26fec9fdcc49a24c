"""Heartbeats of quiet streams, sent directly and a few at a time."""

from __future__ import annotations

import threading
import time
from collections import deque

from ..relay import Relay
from ..threads import SupervisedThread
from . import frame
from .client import Client

#: Streams with a shorter heartbeat timeout send their heartbeats on their own threads.
SHORTEST_SECONDS = 1.0
_TICK_SECONDS = 0.1
_IDLE_SECONDS = 0.5
# A tick sends this part of all heartbeats at most, so that those that are due together go out
# within a second.
_TICKS_A_SECOND = 10
_LEAST_A_TICK = 50
# Deliveries of events wait while so many heartbeats are sent: less than a millisecond.
_AT_ONCE = 50


class Heartbeats:
    """Sends heartbeats to the clients that were added, without waking their threads.

    A client's heartbeat is due when nothing was written to it for its sink's ``heartbeat_timeout``
    seconds, and is sent within a second from then. If the client's thread is writing, or the
    socket is full, the thread itself goes on with what waits. ``relay`` keeps heartbeats and
    deliveries apart, and knows up to which event the clients have everything.
    """

    def __init__(self, relay: Relay) -> None:
        self._relay = relay
        self._lock = threading.Lock()
        # The clients by the tick at which their heartbeat may be due, and the tick of each.
        self._ticks: dict[int, dict[Client, None]] = {}
        self._tick_of: dict[Client, int] = {}
        self._due: deque[Client] = deque()
        self._looked_at = _tick(time.monotonic())
        self._thread = SupervisedThread("sse-sink-heartbeat", self._step)

    @property
    def thread(self) -> SupervisedThread:
        """Return the thread that sends."""
        return self._thread

    @property
    def clients(self) -> int:
        """Return for how many clients heartbeats are sent."""
        return len(self._tick_of)

    def start(self) -> None:
        """Start to send."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread, wait for it, and forget every client."""
        self._thread.stop()
        with self._lock:
            self._ticks.clear()
            self._tick_of.clear()
            self._due.clear()

    def add(self, client: Client) -> bool:
        """Send the client's heartbeats from now on, until :meth:`discard`.

        Returns false where the client's own thread has to: its timeout is too short for this.
        """
        timeout = client.settings.heartbeat_timeout
        if timeout < SHORTEST_SECONDS or self._thread.stopping.is_set():
            return False
        with self._lock:
            self._schedule(client, time.monotonic() + timeout)
        return True

    def discard(self, client: Client) -> None:
        """Send no more heartbeats to the client; nothing happens if it wasn't added."""
        with self._lock:
            tick = self._tick_of.pop(client, None)
            clients = None if tick is None else self._ticks.get(tick)
            if clients is not None and tick is not None:
                clients.pop(client, None)
                if not clients:
                    del self._ticks[tick]

    def _schedule(self, client: Client, at: float) -> None:
        tick = max(_tick(at), self._looked_at + 1)
        self._tick_of[client] = tick
        self._ticks.setdefault(tick, {})[client] = None

    def _step(self) -> None:
        self._thread.stopping.wait(_TICK_SECONDS if self._tick_of else _IDLE_SECONDS)
        if self._thread.stopping.is_set():
            return
        with self._lock:
            self._collect_due(_tick(time.monotonic()))
            part = max(_LEAST_A_TICK, len(self._tick_of) // _TICKS_A_SECOND)
        while part > 0 and self._due:
            self._relay.between_deliveries(self._send_some)
            part -= _AT_ONCE

    def _collect_due(self, now: int) -> None:
        """Move the clients whose tick has come to those that are due."""
        if now - self._looked_at > len(self._ticks):
            ticks = sorted(tick for tick in self._ticks if tick <= now)
        else:
            ticks = [tick for tick in range(self._looked_at + 1, now + 1) if tick in self._ticks]
        for tick in ticks:
            self._due.extend(self._ticks.pop(tick))
        self._looked_at = now

    def _send_some(self, cursor: int) -> None:
        """Send some of the heartbeats that are due; called between two deliveries."""
        now = time.monotonic()
        with_id: bytes | None = None
        for _ in range(min(_AT_ONCE, len(self._due))):
            client = self._due.popleft()
            sender = client.queue.sender
            timeout = client.settings.heartbeat_timeout
            due = sender.quiet_since + timeout
            if due <= now + _TICK_SECONDS:
                wire = _HEARTBEAT
                if client.settings.replay.on:
                    with_id = wire = with_id or _coded(frame.heartbeat(cursor))
                sender.send_notice(wire, now)
                due = now + timeout
            with self._lock:
                # It may have been discarded meanwhile.
                if client in self._tick_of:
                    self._schedule(client, due)


def _tick(seconds: float) -> int:
    return int(seconds / _TICK_SECONDS)


def _coded(data: bytes) -> bytes:
    """Return the data as one chunk of HTTP/1.1's chunked coding. Rule: RFC 9112, 7.1."""
    return b"%X\r\n%b\r\n" % (len(data), data)


_HEARTBEAT = _coded(frame.HEARTBEAT)
