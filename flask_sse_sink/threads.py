"""Supervised threads: each repeats a step, and goes on after errors of that step."""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable

_log = logging.getLogger(__name__)

_FIRST_BACKOFF_SECONDS = 0.1
_LONGEST_BACKOFF_SECONDS = 5.0


class Backoff:
    """How long to wait after a failure: twice as long each time, jittered, 5 seconds at most."""

    __slots__ = ("_seconds",)

    def __init__(self) -> None:
        self._seconds = 0.0

    def reset(self) -> None:
        """Start over with the shortest wait, after a success."""
        self._seconds = 0.0

    def next(self) -> float:
        """Return the seconds to wait after this failure."""
        doubled = max(_FIRST_BACKOFF_SECONDS, self._seconds * 2)
        self._seconds = min(_LONGEST_BACKOFF_SECONDS, doubled)
        return self._seconds * random.uniform(0.5, 1.0)


class SupervisedThread:
    """A daemon thread that repeats ``step`` until it is stopped, with backoff after errors.

    An error of ``step`` is logged. ``failure`` describes it until a later step succeeds, and is
    empty otherwise. ``create`` makes the thread.
    """

    def __init__(
        self,
        name: str,
        step: Callable[[], None],
        create: Callable[..., threading.Thread] = threading.Thread,
    ) -> None:
        self.name = name
        self.failure = ""
        self.stopping = threading.Event()
        self._step = step
        self._create = create
        self._backoff = Backoff()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    @property
    def alive(self) -> bool:
        """Return whether the thread runs and its last step succeeded."""
        return self._thread is not None and self._thread.is_alive() and not self.failure

    def start(self) -> None:
        """Start the thread."""
        thread = self._create(target=self._run, name=self.name, daemon=True)
        thread.start()
        self._thread = thread

    def ensure(self) -> None:
        """Start the thread again if it was started, has ended, and nobody stopped it."""
        thread = self._thread
        if thread is None or thread.is_alive() or self.stopping.is_set():
            return
        with self._lock:
            if self._thread is thread and not self.stopping.is_set():
                self.failure = self.failure or "its thread ended"
                _log.error("the thread %s ended, and is started again", self.name)
                self.start()

    def stop(self) -> None:
        """End the thread and wait for it, unless the caller is this thread."""
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
            # SystemExit too: other threads wait for this one, so only stop() may end it.
            except BaseException as error:
                self.failure = f"{type(error).__name__}: {error}".rstrip(": ")
                _log.exception("the thread %s goes on after an error", self.name)
                self.stopping.wait(self._backoff.next())
