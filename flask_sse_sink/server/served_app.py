"""What gunicorn's worker asks of the extension in the app that it serves; all of it is here."""

from __future__ import annotations

from typing import Any

from ..config.sink_types import routes
from ..exceptions import LogUnavailable
from ..extension import KEY
from ..runtime import Runtime
from ..stream.wsgi_server import ending_check
from .http_connection import Timeouts


def timeouts_of(app: Any) -> Timeouts:
    """Return the deadlines that the app's settings name, the defaults without the extension."""
    runtime = _runtime(app)
    if runtime is None:
        return Timeouts()
    server = runtime.settings.server
    return Timeouts(server.head_timeout, server.body_timeout)


def stream_paths(app: Any) -> frozenset[bytes]:
    """Return the paths of the app's streams, without a slash at the end."""
    runtime = _runtime(app)
    sinks = {} if runtime is None else runtime.settings.sink
    urls = [route.url for _, route in routes(sinks) if route.stream]
    return frozenset(url.rstrip("/").encode() for url in urls)


def start_streaming(worker: Any) -> None:
    """Start what the app needs to stream, if it has the extension.

    Its streams end when the worker is told to end. A log that is away is no error: each request
    tries again to open it.
    """
    runtime = _runtime(worker.wsgi)
    if runtime is None:
        return
    runtime.ending = ending_check(worker)
    runtime.admission.measure()
    try:
        runtime.started()
    except LogUnavailable as error:
        worker.log.error("not ready yet: %s", error)


def _runtime(app: Any) -> Runtime | None:
    # The app may be any WSGI callable.
    runtime: Runtime | None = getattr(app, "extensions", {}).get(KEY)
    return runtime
