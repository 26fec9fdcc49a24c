"""Prunes the log: deletes old events in small steps, on a thread of its own."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from typing import NamedTuple

from .exceptions import LogUnavailable
from .log import EventLog
from .log.protocol import BeforePrune, prune_all
from .threads import SupervisedThread

_log = logging.getLogger(__name__)

# One step holds the log's write lock: deleting this many events takes a few milliseconds.
STEP = 500
# Between two steps the lock stays free for so many times as long as the step took.
_FREE_FACTOR = 3
_SHORTEST_INTERVAL_SECONDS = 1.0
_LONGEST_INTERVAL_SECONDS = 600.0
_COUNT_INTERVAL_SECONDS = 2.0
# The clocks of machines that share a log may differ by this much.
_CLOCK_TOLERANCE_SECONDS = 60.0


class RetentionHooks(NamedTuple):
    """What others do when the log is pruned.

    ``before_prune`` is asked before each step, see
    :meth:`~flask_sse_sink.log.EventLog.prune`; ``maintain`` is called from time to time.
    """

    before_prune: BeforePrune = prune_all
    maintain: Callable[[], None] = lambda: None


class Retention:
    """Keeps the events of the last ``seconds``, and the newest ``count``; 0 sets no limit.

    Every process that shares the log does this. Whichever comes second finds nothing to delete.
    """

    def __init__(
        self,
        log: EventLog,
        seconds: float,
        count: int = 0,
        clock: Callable[[], float] = time.time,
        hooks: RetentionHooks = RetentionHooks(),  # noqa: B008 # it never changes
    ) -> None:
        self._log = log
        self._seconds = seconds
        self._count = count
        self._clock = clock
        self._hooks = hooks
        self._thread = SupervisedThread("sse-sink-prune", self._step)

    @property
    def thread(self) -> SupervisedThread:
        """Return the thread that prunes."""
        return self._thread

    def start(self) -> None:
        """Start to prune on a thread; without limits none is started.

        It prunes at once, then a hundred times in the length of the retention; with a limit on
        the number of events, every two seconds.
        """
        if self._seconds or self._count:
            self._thread.start()

    def stop(self) -> None:
        """End the thread and wait for it."""
        self._thread.stop()

    def prune(self) -> int:
        """Delete what is beyond the limits, and return how many events that was.

        :raises LogUnavailable: the log is away; what was deleted until then stays deleted.
        """
        now = self._clock()
        before_us = int((now - self._seconds) * 1_000_000) if self._seconds else 0
        future_us = int((now + _CLOCK_TOLERANCE_SECONDS) * 1_000_000)
        total = 0
        while not self._thread.stopping.is_set():
            began = time.monotonic()
            count = self._log.prune(
                before_us, STEP, self._count, future_us, self._hooks.before_prune
            )
            total += count
            if count < STEP:
                break
            self._thread.stopping.wait(_FREE_FACTOR * (time.monotonic() - began))
        return total

    def _step(self) -> None:
        interval = _COUNT_INTERVAL_SECONDS
        if not self._count:
            interval = max(_SHORTEST_INTERVAL_SECONDS, self._seconds / 100)
            interval = min(_LONGEST_INTERVAL_SECONDS, interval)
        try:
            if count := self.prune():
                _log.info("pruned %d events", count)
            self._hooks.maintain()
        except LogUnavailable as error:
            _log.warning("pruning waits: %s", error)
        self._thread.stopping.wait(interval * random.uniform(0.8, 1.2))
