"""From the log into the signal: every event once, in the order of ids, whoever stored it."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable

from .event import Event
from .exceptions import LogUnavailable
from .log import EventLog
from .threads import Backoff, SupervisedThread

_log = logging.getLogger(__name__)

PAGE = 500
# How long the tail trusts that it will be woken; what a lost wake-up costs at most.
TAIL_SECONDS = 1.0
# Pages that a caller of pump() delivers before it leaves the rest to the tail thread: under a
# flood its own caller, a producer who waits for an answer, would never get away otherwise.
ROUNDS = 8
# A delivery that took long is followed by a pause as long, up to this: events that come in
# meanwhile go out together, which costs each client hardly more than one of them.
PAUSE_SECONDS = 0.005
_LEAST_PAUSE_SECONDS = 0.0002


class _Joining:
    """A client on its way in; ``cursor`` is negative until it was let in."""

    __slots__ = ("add", "cursor")

    def __init__(self, add: Callable[[], None]) -> None:
        self.add = add
        self.cursor = -1


class Relay:
    """Holds a cursor into the log and moves it: one page of events, one call of ``emit``.

    Three locks, so that nobody starves: ``_pumping`` is only ever tried, and who finds it taken
    leaves the work to its holder; ``_lock`` guards the cursor; whoever wants ``_lock`` passes
    through ``_turnstile`` first, so that a pump which lets go of it can't overtake a client that
    waits to join. The tail thread waits on ``_released`` while another thread delivers: the
    cursor moves last, so that the log would tell it at once, again and again, of the events that
    are being delivered. The tail thread calls ``look`` about once a second. ``lose`` is told the
    first and the last id of events that were pruned before they could be delivered, and
    ``restart`` is called where the log turns out to be another one than before.
    """

    def __init__(
        self,
        log: EventLog,
        emit: Callable[[list[Event]], None],
        look: Callable[[], None] = lambda: None,
        lose: Callable[[int, int], None] = lambda first_id, last_id: None,
        restart: Callable[[], object] = lambda: None,
    ) -> None:
        self._log = log
        self._emit = emit
        self._lose = lose
        self._restart = restart
        self._identity = ""
        self._last: Event | None = None
        self._next_look = 0.0
        self._look = look
        self._cursor = -1
        self._wanted = False
        self._joining: list[_Joining] = []
        self._not_before = 0.0
        self._pumping = threading.Lock()
        self._released = threading.Condition()
        self._waits = False  # whether the tail thread waits on _released
        self._turnstile = threading.Lock()
        self._lock = threading.Lock()
        self._loop = SupervisedThread("sse-sink-relay", self._follow)
        self._backoff = Backoff()
        self._away: LogUnavailable | None = None

    @property
    def cursor(self) -> int:
        """Return the id up to which events have been delivered, -1 before the start."""
        return self._cursor

    @property
    def loop(self) -> SupervisedThread:
        """Return the tail thread, to see how it does."""
        return self._loop

    @property
    def identity(self) -> str:
        """Return the identity of the log that is followed, empty before the start."""
        return self._identity

    @property
    def away(self) -> LogUnavailable | None:
        """Return why the log couldn't be read when last tried, None if it could."""
        return self._away

    def start(self) -> None:
        """Start after the newest event there is, and follow the log on a thread from then on.

        :raises LogUnavailable: the log can't be read.
        """
        if self._cursor < 0:
            self._cursor = self._log.head()
        self._identity = self._log.identity
        self._loop.start()

    def stop(self) -> None:
        """End the thread and wait for it."""
        self._loop.stopping.set()
        # Without it the thread sees when its wait is over that it is to stop.
        with contextlib.suppress(OSError, LogUnavailable):
            self._log.interrupt()
        with self._released:
            self._released.notify_all()
        self._loop.stop()

    def pump(self, rounds: int = ROUNDS) -> None:
        """Deliver what the log holds beyond the cursor, unless another thread is at it already.

        That thread looks once more before it goes: what was stored before this call is delivered
        soon after it, at the latest, either way.

        :raises LogUnavailable: the log can't be read; the cursor stays where it is.
        """
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
                    if self._page():
                        self._wanted = True
                finally:
                    self._lock.release()
            finally:
                self._release()

    def _release(self) -> None:
        """Let another thread deliver, and wake the tail thread if it waits for that.

        The tail thread says that it waits and then looks whether the lock is taken; this lets go
        of the lock and then looks whether it waits. So it is never left waiting.
        """
        self._pumping.release()
        if self._waits:
            with self._released:
                self._released.notify_all()

    def _wait_for_release(self, seconds: float) -> None:
        """Return when no thread delivers, or the tail thread is to stop, or the time is over."""
        stopping = self._loop.stopping
        with self._released:
            self._waits = True
            try:
                self._released.wait_for(
                    lambda: not self._pumping.locked() or stopping.is_set(), seconds
                )
            finally:
                self._waits = False

    def pump_stored(self) -> None:
        """Pump for a producer whose events are stored: no failure of the log is its business.

        The tail thread finds them and tries again.
        """
        try:
            self.pump()
        except LogUnavailable as error:
            _log.warning("stored, but streamed later: %s", error)

    def join(self, add: Callable[[], None]) -> int:
        """Call ``add`` at a place in the order of events, and return the cursor there.

        Every event up to the cursor was delivered before; every later one comes after ``add``.

        :raises LogUnavailable: the log can't be read; ``add`` was not called.
        """
        joining = _Joining(add)
        self._joining.append(joining)
        self._enter()
        try:
            if joining.cursor < 0:
                self._admit(joining)
            return joining.cursor
        finally:
            self._lock.release()

    def _admit(self, first: _Joining) -> None:
        """Let in all who wait to join, for one look into the log."""
        # Two steps, of which each is atomic: who comes in between isn't among these.
        waiting = self._joining[:]
        del self._joining[: len(waiting)]
        if first not in waiting:
            # It was, when somebody else failed to look.
            waiting.append(first)
        while self._page():
            pass
        for joining in waiting:
            joining.add()
            joining.cursor = self._cursor

    def _pause(self) -> None:
        seconds = self._not_before - time.monotonic()
        if seconds > _LEAST_PAUSE_SECONDS:
            time.sleep(seconds)

    def _enter(self) -> None:
        with self._turnstile:
            self._lock.acquire()

    def _page(self) -> bool:
        """Deliver one page; return whether it was a full one, so that there may be more.

        The cursor moves last: a delivery that was interrupted is made again, and clients pass
        over what they had.
        """
        events = self._log.read(self._cursor, PAGE)
        if events:
            began = time.monotonic()
            # Ids have no holes but where the log begins.
            if events[0].id > self._cursor + 1:
                self._lost(self._cursor + 1, events[0].id - 1)
            self._emit(events)
            self._last = events[-1]
            self._cursor = self._last.id
            ended = time.monotonic()
            self._not_before = ended + min(ended - began, PAUSE_SECONDS)
        return len(events) == PAGE

    def _is_another(self) -> bool:
        """Return whether the log isn't the one that was followed; looks about once a second."""
        now = time.monotonic()
        if now < self._next_look:
            return False
        self._next_look = now + TAIL_SECONDS
        return self._log.identity != self._identity

    def _has_diverged(self) -> bool:
        """Return whether another event than the one delivered has the cursor's id.

        That is so where a replica took over that hadn't had the newest events.
        """
        last = self._last
        if last is None or last.id != self._cursor:
            return False
        there = self._log.read(last.id - 1, 1)
        return bool(there) and there[0].id == last.id and there[0].event_id != last.event_id

    def _begin_anew(self) -> None:
        """Go on with a log that isn't the one that was followed: its ids began again."""
        self._enter()
        try:
            head = self._log.head()
            _log.error(
                "the event log was at %d and is at %d now: it was made anew, or has lost its end; "
                "streams end, for their clients to begin again",
                *(self._cursor, head),
            )
            self._cursor = head
            self._identity = self._log.identity
        finally:
            self._lock.release()
        self._restart()

    def _lost(self, first_id: int, last_id: int) -> None:
        _log.error("events %d to %d were pruned before they could be streamed", first_id, last_id)
        self._lose(first_id, last_id)
        self._cursor = last_id

    def _follow(self) -> None:
        stopping = self._loop.stopping
        self._look()
        try:
            before = self._cursor
            head = self._log.tail(before, TAIL_SECONDS)
            if head < before or self._is_another() or (self._away and self._has_diverged()):
                self._begin_anew()
            elif head > self._cursor:
                self._wait_for_release(TAIL_SECONDS)
                # By now it may have been delivered by the thread that was at it.
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
