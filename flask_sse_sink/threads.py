"""A thread that does one thing again and again, and doesn't stay dead."""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable

_log = logging.getLogger(__name__)

_LEAST_BACKOFF_SECONDS = 0.1
_MOST_BACKOFF_SECONDS = 5.0


class Backoff:
    """How long to wait after a failure: longer each time, jittered, 5 seconds at most."""

    __slots__ = ("_seconds",)

    def __init__(self) -> None:
        self._seconds = 0.0

    def reset(self) -> None:
        """Begin anew, after a success."""
        self._seconds = 0.0

    def next(self) -> float:
        """Return the seconds to wait after this failure."""
        self._seconds = min(_MOST_BACKOFF_SECONDS, max(_LEAST_BACKOFF_SECONDS, self._seconds * 2))
        return self._seconds * random.uniform(0.5, 1.0)


class SupervisedThread:
    """Calls ``step`` on a daemon thread until it is stopped, whatever ``step`` raises.

    What it raises is logged; the next step comes after a pause that grows with each failure.
    ``failure`` says what went wrong from then on until a step succeeds, and is empty otherwise.
    """

    def __init__(self, name: str, step: Callable[[], None]) -> None:
        self.name = name
        self.failure = ""
        self.stopping = threading.Event()
        self._step = step
        self._backoff = Backoff()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    @property
    def alive(self) -> bool:
        """Return whether the thread runs and its last step didn't fail."""
        return self._thread is not None and self._thread.is_alive() and not self.failure

    def start(self) -> None:
        """Start the thread."""
        thread = threading.Thread(target=self._run, name=self.name, daemon=True)
        thread.start()
        self._thread = thread

    def ensure(self) -> None:
        """Start the thread again where it has ended although nobody stopped it."""
        thread = self._thread
        if thread is None or thread.is_alive() or self.stopping.is_set():
            return
        with self._lock:
            if self._thread is thread and not self.stopping.is_set():
                self.failure = self.failure or "its thread ended"
                _log.error("the thread %s ended, and is started again", self.name)
                self.start()

    def stop(self) -> None:
        """End the thread and wait for it, unless it is this one."""
        with self._lock:
            self.stopping.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def _run(self) -> None:
        while not self.stopping.is_set():
            try:
                self._step()
                self.failure = ""
                self._backoff.reset()
            # SystemExit too: a thread that others wait for ends when they say so.
            except BaseException as error:
                self.failure = f"{type(error).__name__}: {error}".rstrip(": ")
                _log.exception("the thread %s goes on after an error", self.name)
                self.stopping.wait(self._backoff.next())
