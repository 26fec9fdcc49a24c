"""The relay: reads what is new in the log, in order, and hands it to its listener.

The module is longer than the others: its locks can only be understood together.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable
from typing import Protocol

from .exceptions import LogUnavailable
from .log import EventLog, StoredEnvelope
from .log.replacement import ReplacementWatch
from .threads import Backoff, SupervisedThread

_log = logging.getLogger(__name__)

PAGE = 500
# How long the tail thread waits for a notification before it looks at the log by itself. A lost
# notification costs this at most.
TAIL_SECONDS = 1.0
# How many pages one call of pump() delivers before it leaves the rest to the tail thread. Without
# this limit, a producer that waits for its answer would deliver without end under a flood.
ROUNDS = 8
# A delivery is followed by a pause as long as it took, up to this. Events that come in meanwhile
# go out together, which costs each client hardly more than one event.
LONGEST_PAUSE_SECONDS = 0.005
_SHORTEST_PAUSE_SECONDS = 0.0002


class RelayListener(Protocol):
    """What the relay tells what it finds in the log. One call at a time, in the order of ids."""

    def on_events(self, envelopes: list[StoredEnvelope]) -> None:
        """Deliver these events, which come right after those delivered before."""

    def on_gap(self, first_id: int, last_id: int) -> None:
        """Note that these events were pruned before they could be delivered."""

    def on_log_replaced(self) -> None:
        """Note that ids begin anew: another log stands in the place of the one followed so far."""

    def on_tail(self) -> None:
        """Do what is due about once a second, on the tail thread."""


class _Join:
    """A client that waits to join; ``cursor`` is negative until it was let in."""

    __slots__ = ("add", "cursor")

    def __init__(self, add: Callable[[], None]) -> None:
        self.add = add
        self.cursor = -1


class Relay:
    """Holds a cursor into the log, and moves it forward as events are delivered.

    There are four locks:

    - ``_pumping`` is held by the thread that delivers. It is only ever tried without blocking: if
      another thread is delivering already, :meth:`pump` returns, and that thread looks once more.
    - ``_lock`` guards the cursor.
    - ``_turnstile`` keeps those who want ``_lock`` in order, so that a thread which delivers page
      after page can't starve clients that wait to join.

    - ``_delivering`` is held while events are handed out, and not while the log is read: what is
      done between two deliveries doesn't wait for a log that hangs.

    The tail thread waits on ``_released`` while another thread delivers. The cursor moves after a
    delivery, so that until then the log would report the same events as new, again and again.
    """

    def __init__(self, log: EventLog, listener: RelayListener) -> None:
        self._log = log
        self._listener = listener
        self._cursor = -1
        self._watch = ReplacementWatch(log, TAIL_SECONDS)
        self._wanted = False
        self._log_wanted = False
        self._joins: list[_Join] = []
        self._not_before = 0.0
        self._pumping = threading.Lock()
        self._released = threading.Condition()
        self._tail_waits = False
        self._turnstile = threading.Lock()
        self._delivering = threading.Lock()
        self._lock = threading.Lock()
        self._thread = SupervisedThread("sse-sink-relay", self._follow)
        self._backoff = Backoff()
        self._away: LogUnavailable | None = None

    @property
    def cursor(self) -> int:
        """Return the id up to which events have been delivered, -1 before the start."""
        return self._cursor

    @property
    def thread(self) -> SupervisedThread:
        """Return the tail thread."""
        return self._thread

    @property
    def identity(self) -> str:
        """Return the identity of the log that is followed, empty before the start."""
        return self._watch.identity

    @property
    def away(self) -> LogUnavailable | None:
        """Return why the last read of the log failed, None if it succeeded."""
        return self._away

    @property
    def waiting_joins(self) -> int:
        """Return how many clients wait to join."""
        return len(self._joins)

    @property
    def tail_waits(self) -> bool:
        """Return whether the tail thread waits for another thread to finish its delivery."""
        return self._tail_waits

    def begin(self, after: int | None = None) -> None:
        """Set the cursor to an id, by default to that of the newest event there is.

        :raises LogUnavailable: the log can't be read.
        """
        self._cursor = self._log.head() if after is None else after
        self._watch.begin()

    def start(self) -> None:
        """Follow the log on a thread from now on; :meth:`begin` first if that wasn't called.

        :raises LogUnavailable: the log can't be read.
        """
        if self._cursor < 0:
            self.begin()
        self._thread.start()

    def stop(self) -> None:
        """End the tail thread and wait for it."""
        self._thread.stopping.set()
        # If this fails, the thread notices at the end of its wait that it is to stop.
        with contextlib.suppress(OSError, LogUnavailable):
            self._log.interrupt()
        with self._released:
            self._released.notify_all()
        self._thread.stop()

    def pump(self, rounds: int = ROUNDS) -> None:
        """Deliver what the log holds after the cursor, unless another thread is delivering.

        That thread looks once more before it returns, so that what was stored before this call is
        delivered in any case, without a further call. Past ``rounds`` pages, the tail thread
        delivers the rest.

        :raises LogUnavailable: the log can't be read; the cursor stays where it is.
        """
        self._log_wanted = True
        self._pump(rounds)

    def pump_appended(self, last_id: int) -> None:
        """Do as :meth:`pump` does, for events up to this id that this process has appended.

        The log has those in memory as a rule. If others come before them, the log is read.
        """
        if self._cursor < last_id:
            self._pump(ROUNDS)

    def _pump(self, rounds: int) -> None:
        self._wanted = True
        while self._wanted and self._pumping.acquire(blocking=False):
            try:
                if rounds <= 0:
                    self._log.interrupt()
                    return
                rounds -= 1
                self._pause()
                self._wanted = False
                self._enter()
                try:
                    if self._deliver_page(self._next_page()):
                        self._wanted = self._log_wanted = True
                finally:
                    self._lock.release()
            finally:
                self._release()

    def between_deliveries(self, call: Callable[[int], object]) -> None:
        """Call ``call`` with the cursor, at a moment when nothing is being delivered."""
        with self._delivering:
            call(self._cursor)

    def join(self, add: Callable[[], None]) -> int:
        """Call ``add`` at a place in the order of events, and return the cursor there.

        Every event up to the cursor was delivered before; every later one comes after ``add``.

        :raises LogUnavailable: the log can't be read; ``add`` was not called.
        """
        join = _Join(add)
        self._joins.append(join)
        self._enter()
        try:
            if join.cursor < 0:
                self._admit_joins(join)
            return join.cursor
        finally:
            self._lock.release()

    def _admit_joins(self, first: _Join) -> None:
        """Let in all clients that wait to join; they share this read of the log."""
        # Two atomic steps: a client that comes in between isn't among these.
        joins = self._joins[:]
        del self._joins[: len(joins)]
        if first not in joins:
            # It was among those for whom an earlier read failed.
            joins.append(first)
        while self._deliver_page(self._log.read(self._cursor, PAGE)):
            pass
        for join in joins:
            join.add()
            join.cursor = self._cursor

    def _pause(self) -> None:
        seconds = self._not_before - time.monotonic()
        if seconds > _SHORTEST_PAUSE_SECONDS:
            time.sleep(seconds)

    def _enter(self) -> None:
        with self._turnstile:
            self._lock.acquire()

    def _release(self) -> None:
        """Let another thread deliver, and wake the tail thread if it waits for that.

        The tail thread first says that it waits and then looks whether the lock is taken; this
        method first releases the lock and then looks whether the tail thread waits. So no order of
        the two leaves the tail thread waiting.
        """
        self._pumping.release()
        if self._tail_waits:
            with self._released:
                self._released.notify_all()

    def _wait_for_release(self, seconds: float) -> None:
        """Return when no thread delivers, or the tail thread is to stop, or the time is over."""
        stopping = self._thread.stopping
        with self._released:
            self._tail_waits = True
            try:
                self._released.wait_for(
                    lambda: not self._pumping.locked() or stopping.is_set(), seconds
                )
            finally:
                self._tail_waits = False

    def _next_page(self) -> list[StoredEnvelope]:
        """Return the events after the cursor, from the log's memory if that is enough."""
        log_wanted, self._log_wanted = self._log_wanted, False
        appended = None if log_wanted else self._log.appended(self._cursor, PAGE)
        return self._log.read(self._cursor, PAGE) if appended is None else appended

    def _deliver_page(self, envelopes: list[StoredEnvelope]) -> bool:
        """Deliver a page; return whether it was full, so that there may be more.

        The cursor moves after the delivery. A delivery that was interrupted is made again, and
        clients skip the events that they have.
        """
        if envelopes:
            began = time.monotonic()
            first_id = envelopes[0][0]
            with self._delivering:
                # Ids have no holes, except where the oldest events were pruned.
                if first_id > self._cursor + 1:
                    self._report_gap(self._cursor + 1, first_id - 1)
                self._listener.on_events(envelopes)
                self._watch.newest = envelopes[-1]
                self._cursor = envelopes[-1][0]
            ended = time.monotonic()
            self._not_before = ended + min(ended - began, LONGEST_PAUSE_SECONDS)
        return len(envelopes) == PAGE

    def _report_gap(self, first_id: int, last_id: int) -> None:
        _log.error("events %d to %d were pruned before they could be streamed", first_id, last_id)
        self._listener.on_gap(first_id, last_id)
        self._cursor = last_id

    def _follow(self) -> None:
        """Wait for new events and deliver them: one step of the tail thread."""
        stopping = self._thread.stopping
        self._listener.on_tail()
        try:
            before = self._cursor
            head = self._log.tail(before, TAIL_SECONDS)
            if head < before or self._is_replaced():
                self._restart()
            elif head > self._cursor:
                self._wait_for_release(TAIL_SECONDS)
                # The thread that was delivering may have delivered these by now.
                if head > self._cursor and not stopping.is_set():
                    self.pump()
            if self._away:
                _log.warning("the event log is back")
            self._away = None
            self._backoff.reset()
        except LogUnavailable as error:
            if self._away is None:
                _log.error("the event log is away, streams wait: %s", error)
            self._away = error
            stopping.wait(self._backoff.next())

    def _is_replaced(self) -> bool:
        if self._watch.is_another_log():
            return True
        return self._away is not None and self._watch.has_diverged(self._cursor)

    def _restart(self) -> None:
        """Go on at the head of a log whose ids began anew."""
        self._enter()
        try:
            head = self._log.head()
            _log.error(
                "the event log was at %d and is at %d now: it was made anew, or has lost its end; "
                "streams end, for their clients to begin again",
                self._cursor,
                head,
            )
            self._cursor = head
            self._watch.begin()
        finally:
            self._lock.release()
        self._listener.on_log_replaced()
