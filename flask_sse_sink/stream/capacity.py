"""How many streams this process can carry, with enough threads left for everything else."""

from __future__ import annotations

import resource
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from . import wsgi_server

# Descriptors for the log, listeners, imports and whatever else the app has open.
_OTHER_DESCRIPTORS = 256


class Capacity(NamedTuple):
    """How many streams a process can carry, and what sets this limit, with the cure."""

    streams: int
    bound: str


def reserve(streams: int) -> int:
    """Return how many threads are kept free of streams, for ingest, health and pages."""
    return max(8, streams // 10)


def streams_in(threads: int) -> int:
    """Return how many streams so many threads can carry so that :func:`reserve` stays free.

    Of a few threads, half carry streams.
    """
    return max(min(threads - 8, (threads * 10 + 9) // 11), threads // 2)


def streams_in_descriptors(limit: int | None = None) -> int:
    """Return how many streams a limit of open files leaves room for, by default the process's."""
    if limit is None:
        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        return 10**9
    return max(limit - _OTHER_DESCRIPTORS, limit // 2)


def raise_descriptors(streams: int) -> None:
    """Raise the limit of open files to what so many streams need, if the system allows it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # While gunicorn begins to read from a connection, it has a selector for it.
    wanted = 2 * (streams + reserve(streams)) + _OTHER_DESCRIPTORS
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def measure(environ: Mapping[str, Any] | None = None) -> Capacity:
    """Return what this process can carry, as far as its server can be recognized.

    ``environ`` is the WSGI environment of a request that this thread answers.
    """
    limits = [Capacity(streams_in_descriptors(), "open files (raise `ulimit -n`)")]
    worker = wsgi_server.gunicorn_worker()
    if name := wsgi_server.greenlet_library():
        cure = "streams need threads: use e.g. gunicorn --worker-class gthread with --threads"
        limits.append(Capacity(0, f"{name}, which replaces threads by greenlets ({cure})"))
    elif worker is not None:
        limits += _limits_of_gunicorn(worker)
    elif environ is not None:
        limits += _limits_of_another_server(environ)
    return min(limits)


def _limits_of_gunicorn(worker: Any) -> Iterator[Capacity]:
    connections = worker.cfg.worker_connections
    yield Capacity(streams_in(connections), f"--worker-connections {connections}")
    if wsgi_server.is_worker_class(worker, "ThreadWorker"):
        threads = worker.cfg.threads
    elif wsgi_server.is_worker_class(worker, "SyncWorker", "TornadoWorker"):
        threads = 1
    else:
        return
    cure = f"--threads {threads} (use --worker-class gthread and more --threads)"
    yield Capacity(streams_in(threads), cure)


def _limits_of_another_server(environ: Mapping[str, Any]) -> Iterator[Capacity]:
    if not environ.get("wsgi.multithread"):
        if "werkzeug.socket" in environ:
            yield Capacity(0, "--without-threads (leave it out)")
        # The requests of a test client have one thread, too, but they name no server.
        elif server := environ.get("SERVER_SOFTWARE"):
            yield Capacity(0, f"{server}, which has one thread (use a server with more)")
    if count := wsgi_server.waitress_threads():
        yield Capacity(streams_in(count), f"waitress's threads={count} (serve with more)")
    elif count := wsgi_server.pool_threads():
        # asgiref's WsgiToAsgi has a pool with one thread.
        yield Capacity(
            streams_in(count),
            f"the server's pool of threads, which has {count} (give it more, e.g. "
            "a2wsgi.WSGIMiddleware(app, workers=…); asgiref's WsgiToAsgi can't have more)",
        )
