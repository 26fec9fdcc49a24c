"""What the server around the app can carry: how many streams leave room for everything else."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Callable, Mapping
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
    return found if getattr(found, "pid", None) == os.getpid() else None


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


def capacity(environ: Mapping[str, Any] | None = None) -> Capacity:
    """Return what this process can carry, as far as it can be told.

    ``environ`` is a request's.
    """
    found = [Capacity(streams_in_descriptors(), "open files (raise `ulimit -n`)")]
    worker = gunicorn_worker()
    if worker is not None:
        kind = type(worker).__name__
        connections = worker.cfg.worker_connections
        found.append(Capacity(streams_in(connections), f"--worker-connections {connections}"))
        if kind in ("SyncWorker", "ThreadWorker"):
            threads = worker.cfg.threads if kind == "ThreadWorker" else 1
            cure = f"--threads {threads} (use --worker-class gthread and more --threads)"
            found.append(Capacity(streams_in(threads), cure))
    elif environ and "werkzeug.socket" in environ and not environ.get("wsgi.multithread"):
        found.append(Capacity(0, "--without-threads (leave it out)"))
    return min(found)
