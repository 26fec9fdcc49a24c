"""A condition variable for one waiting thread: thousands of streams have one each."""

from __future__ import annotations

import threading


class SlimCondition:
    """A condition for one waiting thread, at a tenth of the size of :class:`threading.Condition`.

    All is called while ``mutex`` is held; :meth:`wait` releases it meanwhile.
    """

    __slots__ = ("_mutex", "_waiter", "_waiting")

    def __init__(self, mutex: threading.Lock) -> None:
        self._mutex = mutex
        self._waiter = threading.Lock()
        self._waiter.acquire()
        self._waiting = False

    def __enter__(self) -> None:
        self._mutex.acquire()

    def __exit__(self, *_: object) -> None:
        self._mutex.release()

    def wait(self, timeout: float) -> None:
        """Return soon after :meth:`notify`, and at the latest after ``timeout`` seconds."""
        self._waiting, notified = True, False
        self._mutex.release()
        try:
            notified = self._waiter.acquire(timeout=timeout)
        finally:
            self._mutex.acquire()
            if not notified and not self._waiting:
                # It was notified between the end of the timeout and now.
                self._waiter.acquire()
            self._waiting = False

    def notify(self) -> None:
        """Wake the thread that waits, if one does."""
        if self._waiting:
            self._waiting = False
            self._waiter.release()
