"""Ends streams whose clients may no longer read: their token ends, or they were revoked."""

from __future__ import annotations

import heapq
import itertools
import random
import threading
import time
from collections.abc import Callable

from ..access.principal import Principal
from ..threads import SupervisedThread
from .client import EXPIRED, REVOKED, Client, paced

# The end of streams is spread over this part of a token's life, and over so many seconds at most.
_SPREAD_PART = 0.1
_LONGEST_SPREAD_SECONDS = 30.0
# So long before the token's end a stream is told at the latest, so that it has the frame in time.
_LEAD_SECONDS = 0.25
# How long a revoked stream may take to write what waits.
_REVOKED_SECONDS = 1.0
# The clock of the token's times may be set while the thread waits: it looks at least this often.
_LONGEST_WAIT_SECONDS = 1.0
# Entries of clients that are gone are removed from the schedule when there are more than these.
_SPARE_ENTRIES = 64


class _Entry:
    """When the next step of ending a client's stream is due; ``client`` is None if it is gone."""

    __slots__ = ("at", "client", "deadline")

    def __init__(self, client: Client, at: float, deadline: float) -> None:
        self.client: Client | None = client
        self.at = at
        self.deadline = deadline


class Guard:
    """Ends the streams of the clients that were added, each when its principal may read no more.

    A stream is told to end shortly before its token does, at a time of its own, so that not all
    clients of one token come back together. What waits for the client is written first, but only
    until the token's end: then the stream ends without another byte. ``is_revoked`` says whether
    a principal was revoked; :meth:`end_revoked` is called when that has changed. ``clock`` returns
    seconds since the epoch.
    """

    def __init__(
        self,
        is_revoked: Callable[[Principal], bool] = lambda principal: False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._is_revoked = is_revoked
        self._clock = clock
        self._changed = threading.Condition()
        # The entry of each client; None where nothing is scheduled.
        self._entries: dict[Client, _Entry | None] = {}
        self._schedule: list[tuple[float, int, _Entry]] = []
        self._numbers = itertools.count()
        self._thread = SupervisedThread("sse-sink-guard", self._step)

    @property
    def thread(self) -> SupervisedThread:
        """Return the thread that ends streams."""
        return self._thread

    @property
    def clients(self) -> int:
        """Return how many clients are looked after."""
        return len(self._entries)

    @property
    def scheduled(self) -> int:
        """Return how many entries the schedule has, those of clients that are gone included."""
        return len(self._schedule)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread, wait for it, and forget every client."""
        with self._changed:
            self._thread.stopping.set()
            self._changed.notify_all()
        self._thread.stop()
        with self._changed:
            self._entries.clear()
            self._schedule.clear()

    def add(self, client: Client) -> None:
        """Look after a client, which has joined, until :meth:`discard`.

        A client without a principal is left alone.
        """
        principal = client.principal
        if principal is None:
            return
        with self._changed:
            self._entries[client] = None
            if principal.expires_at is not None:
                at = _end_of_stream(principal, principal.expires_at, self._clock())
                self._put(client, at, principal.expires_at)
        # After it was added: a revocation that comes in now is noticed here or by end_revoked().
        if self._is_revoked(principal):
            self._revoke(client)

    def discard(self, client: Client) -> None:
        """Look after the client no more; nothing happens if it wasn't added."""
        with self._changed:
            entry = self._entries.pop(client, None)
            if entry is not None:
                entry.client = None
            if len(self._schedule) > 2 * len(self._entries) + _SPARE_ENTRIES:
                self._schedule = [item for item in self._schedule if item[2].client is not None]
                heapq.heapify(self._schedule)

    def end_revoked(self) -> int:
        """End the streams of all clients that were revoked, and return how many those are."""
        with self._changed:
            clients = list(self._entries)
        revoked = [
            client
            for client in clients
            if not client.reason and client.principal and self._is_revoked(client.principal)
        ]
        for client in paced(revoked):
            self._revoke(client)
        return len(revoked)

    def _revoke(self, client: Client) -> None:
        with self._changed:
            if client in self._entries:
                at = self._clock() + _REVOKED_SECONDS
                self._put(client, at, at)
        client.end(REVOKED)

    def _put(self, client: Client, at: float, deadline: float) -> None:
        """Schedule the client's next step, in place of the one before."""
        before = self._entries[client]
        if before is not None:
            before.client = None
        entry = self._entries[client] = _Entry(client, at, deadline)
        heapq.heappush(self._schedule, (at, next(self._numbers), entry))
        if self._schedule[0][2] is entry:
            self._changed.notify_all()

    def _step(self) -> None:
        with self._changed:
            if self._thread.stopping.is_set():
                return
            now = self._clock()
            due = self._due(now)
            if not due:
                wait = self._schedule[0][0] - now if self._schedule else None
                self._changed.wait(wait and min(wait, _LONGEST_WAIT_SECONDS))
                return
        for client, deadline in due:
            if now >= deadline:
                client.drop(EXPIRED)
            else:
                client.end(EXPIRED)

    def _due(self, now: float) -> list[tuple[Client, float]]:
        """Return the clients whose time has come, and when the stream of each must be over."""
        due = []
        while self._schedule and self._schedule[0][0] <= now:
            _, _, entry = heapq.heappop(self._schedule)
            client = entry.client
            if client is None:
                continue
            due.append((client, entry.deadline))
            self._entries[client] = None
            if now < entry.deadline:
                self._put(client, entry.deadline, entry.deadline)
        return due


def _end_of_stream(principal: Principal, expires_at: float, now: float) -> float:
    """Return when the stream is told to end, at a random time shortly before its token ends."""
    issued_at = now if principal.issued_at is None else principal.issued_at
    spread = min(_LONGEST_SPREAD_SECONDS, max(0.0, expires_at - issued_at) * _SPREAD_PART)
    last = expires_at - min(spread, _LEAD_SECONDS)
    return random.uniform(min(max(expires_at - spread, now), last), last)
