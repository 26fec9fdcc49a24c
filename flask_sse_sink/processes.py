"""What runs in this process: reset after a fork, and drained at the end of the program."""

from __future__ import annotations

import atexit
import os
import time
import weakref
from typing import Protocol

# How long streams on daemon threads, as Flask's development server has, may take to end.
_DRAIN_SECONDS = 1.0


class Runs(Protocol):
    """What runs in a process."""

    @property
    def pid(self) -> int:
        """Return the id of the process that it runs in, 0 where it doesn't run."""

    def reset_after_fork(self) -> None:
        """Start over in a child process."""

    def drain(self) -> int:
        """Begin or go on to end, and return how much is left to end."""


_running: weakref.WeakSet[Runs] = weakref.WeakSet()
_kept: list[object] = []


def register(runs: Runs) -> None:
    """Reset this after forks, and drain it at the end of the program, as long as it exists."""
    _running.add(runs)


def registered() -> list[Runs]:
    """Return everything that was registered and still exists."""
    return list(_running)


def keep(inherited: object) -> None:
    """Keep what the parent process had open: closing it in the child could disturb the parent."""
    _kept.append(inherited)


def _reset_all() -> None:
    for each in registered():
        each.reset_after_fork()


def _drain_all() -> None:
    until = time.monotonic() + _DRAIN_SECONDS
    here = [each for each in registered() if each.pid == os.getpid()]
    while sum(each.drain() for each in here) and time.monotonic() < until:
        time.sleep(0.01)


os.register_at_fork(after_in_child=_reset_all)
# Before the threads are joined there is no hook; afterwards only daemon threads are left, and
# their streams end with a whole frame.
atexit.register(_drain_all)
