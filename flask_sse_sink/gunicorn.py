"""What gunicorn needs to know: its settings made from ours, and hooks for its workers."""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

from dotenv import load_dotenv

from . import config
from .exceptions import ConfigError, LogUnavailable, LogUnusable
from .extension import KEY, Engine
from .log import open_log
from .settings import Settings, stream_url

_POLL_SECONDS = 0.1


def configure() -> dict[str, Any]:
    """Return gunicorn's settings and hooks for the configuration file that is in force.

    Reads ``.env`` in the working folder first. Ends the program, with every mistake on standard
    error, where the configuration holds any or the log is unusable.
    """
    load_dotenv(Path(".env"))
    try:
        settings = config.load(config.default_file())
        # Seen here, the master ends once; seen in the workers, each would end and be started anew.
        open_log(settings.database).inspect()
    except (ConfigError, LogUnusable) as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from None
    server = settings.server
    threads = server.max_clients + reserve(server.max_clients)
    host = f"[{server.host}]" if ":" in server.host else server.host

    def when_ready(arbiter: Any) -> None:
        print(banner(settings, host), flush=True)

    return {
        "bind": [f"{host}:{server.port}"],
        "workers": server.workers,
        "worker_class": "gthread",
        "threads": threads,
        # As many as threads or fewer would close every connection after its answer.
        "worker_connections": threads + 64,
        "worker_tmp_dir": "/dev/shm" if os.path.isdir("/dev/shm") else None,
        # By default it stands in the user's home, where two servers would meet.
        "control_socket_disable": True,
        "graceful_timeout": 5,
        "when_ready": when_ready,
        "post_worker_init": post_worker_init,
    }


def reserve(max_clients: int) -> int:
    """Return how many threads are kept free of streams, for ingest, health and pages."""
    return max(8, max_clients // 10)


def post_worker_init(worker: Any) -> None:
    """Start the relay as the worker starts, and see that its streams end when it is told to."""
    engine: Engine | None = getattr(worker.wsgi, "extensions", {}).get(KEY)
    if engine is None:
        return
    try:
        engine.started()
    except LogUnavailable as error:
        worker.log.error("not ready yet: %s", error)
    threading.Thread(
        target=_drain, args=(worker, engine), name="sse-sink-drain", daemon=True
    ).start()


def _drain(worker: Any, engine: Engine) -> None:
    """End the streams once the worker is to stop: it waits for them otherwise.

    Polled, because gunicorn calls no hook when it is told to end, and none when it recycles.
    """
    while worker.alive:
        time.sleep(_POLL_SECONDS)
    # A stream may be joining at this moment: look until none is left.
    while engine.end_streams():
        time.sleep(_POLL_SECONDS)


def banner(settings: Settings, host: str) -> str:
    """Return what a newcomer needs to see: where to listen, and how to publish."""
    name, sink = next(iter(settings.sink.items()))
    base = f"http://{host}:{settings.server.port}"
    token = ""
    if settings.ingest.auth != "none":
        token = ' \\\n      -H "Authorization: Bearer $(sed -n s/^INGEST_TOKEN=//p .env)"'
    lines = [f"\nStreaming on {base}{stream_url(name, sink)}"]
    lines += [
        f"         and {base}{stream_url(*item)}" for item in list(settings.sink.items())[1:]
    ]
    lines += [
        "",
        "  listen:",
        f"    curl -N {base}{stream_url(name, sink)}",
        "  publish, from this folder:",
        f"    curl {base}{settings.ingest.path}{token} \\",
        '      -H "Content-Type: application/json" \\',
        """      -d '{"event_type": "user.login", "data": {"ip": "1.2.3.4"}}'""",
        "",
    ]
    return "\n".join(lines)
