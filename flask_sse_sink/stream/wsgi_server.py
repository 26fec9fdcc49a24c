"""Which WSGI server runs this process, and what of it can be found from inside an app.

Nothing is imported from any server: what isn't loaded doesn't run this process.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import FrameType
from typing import Any


def gunicorn_worker() -> Any:
    """Return gunicorn's worker if this is the process of one, else None."""
    # gunicorn passes the worker to its hooks alone, and not every app has hooks. But the worker's
    # own methods handle the process's signals.
    worker = _owner_of_handler(signal.SIGTERM)
    if not (hasattr(worker, "cfg") and hasattr(worker, "alive")):
        return None
    # A process that a worker forked inherits the handlers.
    return worker if getattr(worker, "pid", os.getpid()) == os.getpid() else None


def gunicorn_master() -> Any:
    """Return gunicorn's arbiter if this is its process and it runs, else None."""
    arbiter = _owner_of_handler(signal.SIGHUP)
    return arbiter if hasattr(arbiter, "WORKERS") and hasattr(arbiter, "cfg") else None


def _owner_of_handler(number: signal.Signals) -> Any:
    """Return the object whose method handles a signal, None if no method does."""
    return getattr(signal.getsignal(number), "__self__", None)


def is_worker_class(worker: Any, *names: str) -> bool:
    """Return whether a worker is of one of gunicorn's classes of these names, or of a subclass."""
    return any(each.__name__ in names for each in type(worker).__mro__)


def ending_check(worker: Any) -> Callable[[], bool]:
    """Return a function that returns whether one of gunicorn's workers is about to end.

    gunicorn calls no hook when a worker is told to stop or is recycled. The workers of a master
    that was killed aren't told at all: they get another parent process.
    """
    parent = getattr(worker, "ppid", os.getppid())
    return lambda: not worker.alive or os.getppid() != parent


def greenlet_library() -> str:
    """Return the name of the library that replaced threads by greenlets, empty if none did."""
    monkey = sys.modules.get("gevent.monkey")
    if monkey is not None and monkey.is_module_patched("threading"):
        return "gevent"
    patcher = sys.modules.get("eventlet.patcher")
    if patcher is not None and patcher.is_monkey_patched("thread"):
        return "eventlet"
    return ""


def waitress_threads() -> int:
    """Return how many threads waitress has if this is one of them, else 0."""
    threads = [each for each in threading.enumerate() if each.name.startswith("waitress-")]
    return len(threads) if threading.current_thread() in threads else 0


def pool_threads() -> int:
    """Return how many threads the pool may have that this thread belongs to, 0 without a pool.

    A pool is a ``ThreadPoolExecutor`` of :mod:`concurrent.futures`.
    """
    # A pool's thread has no reference to the pool, but the function that it runs has one.
    frame: FrameType | None = sys._getframe().f_back
    while frame is not None:
        if frame.f_code.co_name == "_worker":
            executor = frame.f_locals.get("executor_reference", lambda: None)()
            if isinstance(executor, ThreadPoolExecutor):
                return executor._max_workers
        frame = frame.f_back
    return 0
