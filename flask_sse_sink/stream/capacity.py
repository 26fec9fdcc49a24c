"""What the server around the app can carry: how many streams leave room for everything else."""

from __future__ import annotations

import os
import resource
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from types import FrameType
from typing import Any, NamedTuple

# Descriptors for the log, listeners, imports and whatever else the app has open.
_OTHER_DESCRIPTORS = 256


class Capacity(NamedTuple):
    """How many streams a process can carry, and what bounds it, with the cure."""

    streams: int
    bound: str


def reserve(streams: int) -> int:
    """Return how many threads are kept free of streams, for ingest, health and pages."""
    return max(8, streams // 10)


def streams_in(threads: int) -> int:
    """Return how many streams leave :func:`reserve` free; half where there are only a few."""
    return max(min(threads - 8, (threads * 10 + 9) // 11), threads // 2)


def streams_in_descriptors() -> int:
    """Return how many streams the process's limit of open files leaves room for."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return 10**9
    return max(soft - _OTHER_DESCRIPTORS, soft // 2)


def raise_descriptors(streams: int) -> None:
    """Raise the limit of open files so far as so many streams need it and the system allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # A connection that is being taken has a selector of its own for a moment.
    wanted = 2 * (streams + reserve(streams)) + _OTHER_DESCRIPTORS
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def gunicorn_worker() -> Any:
    """Return gunicorn's worker if this is one's process, else None."""
    # It passes itself to nobody but its hooks, which an app of others' doesn't have.
    handler = signal.getsignal(signal.SIGTERM)
    found = getattr(handler, "__self__", None)
    if not (hasattr(found, "cfg") and hasattr(found, "alive")):
        return None
    # A process that a worker forked has its handlers, too.
    return found if getattr(found, "pid", os.getpid()) == os.getpid() else None


def ending(worker: Any) -> Callable[[], bool]:
    """Return what says whether a worker of gunicorn's is about to end.

    gunicorn calls no hook where a worker is told to stop, or is recycled. A master that was
    killed leaves workers that are told nothing.
    """
    parent = getattr(worker, "ppid", os.getppid())
    return lambda: not worker.alive or os.getppid() != parent


def gunicorn_master() -> Any:
    """Return gunicorn's arbiter if this is its process and it runs, else None."""
    handler = signal.getsignal(signal.SIGHUP)
    found = getattr(handler, "__self__", None)
    return found if hasattr(found, "WORKERS") and hasattr(found, "cfg") else None


def is_a(worker: Any, kind: str) -> bool:
    """Return whether a worker is of gunicorn's class of this name, or of one made from it."""
    return any(each.__name__ == kind for each in type(worker).__mro__)


def greenlets() -> str:
    """Return what has put greenlets in the place of threads in this process, empty if nothing."""
    monkey = sys.modules.get("gevent.monkey")
    if monkey is not None and monkey.is_module_patched("threading"):
        return "gevent"
    patcher = sys.modules.get("eventlet.patcher")
    if patcher is not None and patcher.is_monkey_patched("thread"):
        return "eventlet"
    return ""


def capacity(environ: Mapping[str, Any] | None = None) -> Capacity:
    """Return what this process can carry, as far as it can be told.

    ``environ`` is a request's, whose thread this is.
    """
    found = [Capacity(streams_in_descriptors(), "open files (raise `ulimit -n`)")]
    worker = gunicorn_worker()
    if name := greenlets():
        cure = "streams need threads: use e.g. gunicorn --worker-class gthread with --threads"
        found.append(Capacity(0, f"{name}, which replaces threads by greenlets ({cure})"))
    elif worker is not None:
        found += _capacities_of_gunicorn(worker)
    elif environ is not None:
        found += _capacities_of_another(environ)
    return min(found)


def _capacities_of_gunicorn(worker: Any) -> Iterator[Capacity]:
    connections = worker.cfg.worker_connections
    yield Capacity(streams_in(connections), f"--worker-connections {connections}")
    if is_a(worker, "ThreadWorker"):
        threads = worker.cfg.threads
    elif is_a(worker, "SyncWorker") or is_a(worker, "TornadoWorker"):
        threads = 1
    else:
        return
    cure = f"--threads {threads} (use --worker-class gthread and more --threads)"
    yield Capacity(streams_in(threads), cure)


def _capacities_of_another(environ: Mapping[str, Any]) -> Iterator[Capacity]:
    if not environ.get("wsgi.multithread"):
        # A test client's requests have one thread, too, but name no server.
        if "werkzeug.socket" in environ:
            yield Capacity(0, "--without-threads (leave it out)")
        elif server := environ.get("SERVER_SOFTWARE"):
            yield Capacity(0, f"{server}, which has one thread (use a server with more)")
    waitress = [t for t in threading.enumerate() if t.name.startswith("waitress-")]
    if threading.current_thread() in waitress:
        count = len(waitress)
        yield Capacity(streams_in(count), f"waitress's threads={count} (serve with more)")
    elif count := _pool_threads():
        # asgiref's WsgiToAsgi has one for all requests.
        yield Capacity(
            streams_in(count),
            f"the server's pool of threads, which has {count} (give it more, e.g. "
            "a2wsgi.WSGIMiddleware(app, workers=…); asgiref's WsgiToAsgi can't have more)",
        )


def _pool_threads() -> int:
    """Return how many threads the pool may have whose thread this is, 0 where it is of none."""
    frame: FrameType | None = sys._getframe().f_back
    while frame is not None:
        # It tells its threads nothing of itself, but they hold it while they work.
        if frame.f_code.co_name == "_worker":
            executor = frame.f_locals.get("executor_reference", lambda: None)()
            if isinstance(executor, ThreadPoolExecutor):
                return executor._max_workers
        frame = frame.f_back
    return 0
