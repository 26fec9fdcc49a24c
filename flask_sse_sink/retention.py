"""Prunes the log: old events go in small steps, on a thread of its own."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable

from .exceptions import LogUnavailable
from .log import EventLog
from .threads import SupervisedThread

_log = logging.getLogger(__name__)

# One step holds the log's write lock: this many events take it for a few milliseconds.
STEP = 500
# Between two steps others have the lock for so many times as long as one took.
_PAUSES = 3
_LEAST_SECONDS = 1.0
_MOST_SECONDS = 600.0
_COUNT_SECONDS = 2.0
# So far apart the clocks of machines that share a log may be.
_CLOCKS_APART_SECONDS = 60.0


class Retention:
    """Keeps ``seconds`` of events in the log, and ``count`` of them; 0 sets no limit.

    Without limits no thread is started.

    Every process does this; who comes second finds nothing to do.
    """

    def __init__(
        self,
        log: EventLog,
        seconds: float,
        count: int = 0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._log = log
        self._seconds = seconds
        self._count = count
        self._clock = clock
        self._loop = SupervisedThread("sse-sink-prune", self._step)

    @property
    def loop(self) -> SupervisedThread:
        """Return the thread, to see how it does."""
        return self._loop

    def start(self) -> None:
        """Start pruning, first at once and then a hundred times in a retention's length.

        Every other second where their number is limited.
        """
        if self._seconds or self._count:
            self._loop.start()

    def stop(self) -> None:
        """End the thread and wait for it."""
        self._loop.stop()

    def prune(self) -> int:
        """Delete what is beyond the retention, and return how many events that was.

        :raises LogUnavailable: the log is away; what was deleted until then is.
        """
        now = self._clock()
        before_us = int((now - self._seconds) * 1_000_000) if self._seconds else 0
        future_us = int((now + _CLOCKS_APART_SECONDS) * 1_000_000)
        total = 0
        while not self._loop.stopping.is_set():
            began = time.monotonic()
            pruned = self._log.prune(before_us, STEP, self._count, future_us)
            total += pruned
            if pruned < STEP:
                break
            self._loop.stopping.wait(_PAUSES * (time.monotonic() - began))
        return total

    def _step(self) -> None:
        interval = _COUNT_SECONDS
        if not self._count:
            interval = min(_MOST_SECONDS, max(_LEAST_SECONDS, self._seconds / 100))
        try:
            if pruned := self.prune():
                _log.info("pruned %d events", pruned)
        except LogUnavailable as error:
            _log.warning("pruning waits: %s", error)
        self._loop.stopping.wait(interval * random.uniform(0.8, 1.2))
