"""Requests that wait for events: who waits for what, and how they are woken."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterable

from ..event import Event
from ..filters import Filter
from .extraction import Batch

# What another process gives back wakes nobody here: look at least this often.
_LOOK_SECONDS = 5.0
_SHORTEST_SECONDS = 0.001


class Waiter:
    """One request that waits. The watcher knows it as a stream, which nothing is written to.

    ``is_over`` says that the request is to be answered with what there is.
    """

    def __init__(self, filter: Filter) -> None:
        self.filter = filter
        self.writing_since = 0.0
        self.write_timeout = math.inf
        self.over = False
        self._woken = threading.Event()

    def wake(self) -> None:
        """Let the request look for events now."""
        self._woken.set()

    def drop(self, reason: str) -> None:
        """End the wait: the peer has hung up, or the server stops."""
        self.over = True
        self._woken.set()

    def wait(
        self, extract: Callable[[], Batch], seconds: float, now_us: Callable[[], int]
    ) -> Batch:
        """Return what ``extract`` returns as soon as that is a batch, or when the time is over.

        ``now_us`` is the clock by which leases end.
        """
        until = time.monotonic() + seconds
        while True:
            # Before the look, so that what comes after it isn't slept through.
            self._woken.clear()
            batch = extract()
            left = until - time.monotonic()
            if batch.id or self.over or left <= 0:
                return batch
            left = min(left, _LOOK_SECONDS)
            if batch.next_us:
                soon = (batch.next_us - now_us()) / 1_000_000
                left = max(_SHORTEST_SECONDS, min(left, soon))
            if not self.over:
                self._woken.wait(left)


class Waiters:
    """The requests that wait for events of one sink. Any thread may call any method."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiters: dict[Waiter, None] = {}

    def __len__(self) -> int:
        return len(self._waiters)

    def add(self, waiter: Waiter) -> None:
        """Wake this one from now on."""
        with self._lock:
            self._waiters[waiter] = None

    def discard(self, waiter: Waiter) -> None:
        """Wake it no more."""
        with self._lock:
            self._waiters.pop(waiter, None)

    def on_events(self, events: Iterable[Event]) -> None:
        """Wake those who wait for one of these events."""
        if not self._waiters:
            return
        events = list(events)
        for waiter in self._all():
            if any(waiter.filter.matches(event) for event in events):
                waiter.wake()

    def wake_all(self) -> None:
        """Wake everybody: events came back."""
        for waiter in self._all():
            waiter.wake()

    def end_all(self) -> int:
        """End every wait, and return how many there were."""
        waiters = self._all()
        for waiter in waiters:
            waiter.drop("drained")
        return len(waiters)

    def reset(self) -> None:
        """Forget all, as a child process must after a fork."""
        self._lock = threading.Lock()
        self._waiters = {}

    def _all(self) -> list[Waiter]:
        with self._lock:
            return list(self._waiters)
