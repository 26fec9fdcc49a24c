"""What gunicorn needs to know: its settings made from ours, and hooks for its workers."""

from __future__ import annotations

import gc
import logging
import os
import sys
from pathlib import Path
from typing import Any

from dotenv import load_dotenv
from gunicorn import glogging

from . import access, config, host, metrics
from .exceptions import ConfigError, LogUnavailable, LogUnusable
from .extension import KEY, Engine
from .log import open_log
from .peer import SILENCE
from .session import ENVIRON_KEY
from .settings import Settings, stream_url


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
    streams = server.max_clients
    host.raise_descriptors(streams)
    if (room := host.streams_in_descriptors()) < streams:
        print(
            f"server.max_clients: {streams} streams need more open files than this process may "
            f"have; {room} are admitted. Raise `ulimit -n`.",
            file=sys.stderr,
        )
        streams = room
    threads = streams + host.reserve(streams)
    address = f"[{server.host}]" if ":" in server.host else server.host
    metrics.prepare()

    def when_ready(arbiter: Any) -> None:
        print(banner(settings, address), flush=True)

    return {
        "bind": [f"{address}:{server.port}"],
        "workers": server.workers,
        "worker_class": "gthread",
        "threads": threads,
        # As many as threads or fewer would close every connection after its answer.
        "worker_connections": threads + 64,
        "worker_tmp_dir": "/dev/shm" if os.path.isdir("/dev/shm") else None,
        # By default it stands in the user's home, where two servers would meet.
        "control_socket_disable": True,
        "graceful_timeout": 5,
        "logger_class": Logger,
        "when_ready": when_ready,
        "pre_fork": lambda arbiter, worker: gc.freeze(),
        "post_worker_init": post_worker_init,
        "child_exit": lambda arbiter, worker: metrics.fold(worker.pid),
        "on_exit": lambda arbiter: metrics.discard(),
    }


class Logger(glogging.Logger):  # type: ignore[misc] # gunicorn has no types
    """gunicorn's logger, in whose access log a stream has its two own lines."""

    def setup(self, cfg: Any) -> None:
        super().setup(cfg)
        # Whoever asked for an access log gets that of the streams in the same place.
        access.log.disabled = not cfg.accesslog
        if cfg.accesslog:
            access.log.handlers = list(self.access_log.handlers)
            access.log.propagate = False
            access.log.setLevel(logging.INFO)
        # Ours go where gunicorn's own do.
        ours = logging.getLogger("flask_sse_sink")
        ours.handlers = list(self.error_log.handlers)
        ours.setLevel(self.error_log.level)
        if _is_news not in self.error_log.filters:
            self.error_log.addFilter(_is_news)

    def access(self, resp: Any, req: Any, environ: Any, request_time: Any) -> None:
        if ENVIRON_KEY not in environ:
            super().access(resp, req, environ, request_time)


def _is_news(record: logging.LogRecord) -> bool:
    """Return whether a record is to be kept: a peer that fell silent is no error of ours."""
    error = record.exc_info[1] if record.exc_info else None
    return not (isinstance(error, OSError) and error.errno in SILENCE)


def post_worker_init(worker: Any) -> None:
    """Start the relay as the worker starts, and see that its streams end when it is told to."""
    # What is there by now stays: collections needn't go through it again and again, nor so copy
    # what is still shared with the master.
    gc.freeze()
    engine: Engine | None = getattr(worker.wsgi, "extensions", {}).get(KEY)
    if engine is None:
        return
    parent = os.getppid()
    # A master that is killed leaves workers that are still told nothing.
    engine.ending = lambda: not worker.alive or os.getppid() != parent
    engine.fit(host.capacity())
    try:
        engine.started()
    except LogUnavailable as error:
        worker.log.error("not ready yet: %s", error)


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
