"""gunicorn's settings, made from those of the configuration file."""

from __future__ import annotations

import os
import sys
from typing import Any

from gunicorn.config import AccessLogFormat

from ..config.settings import Settings
from ..stream import capacity
from .addresses import url_host
from .json_log import JsonLogger, warning
from .logger import Logger
from .worker import StreamWorker

# The answer's X-Request-Id, in the same form as in the lines of streams.
REQUEST_ID = "request_id=%({x-request-id}o)s"
# Connections beyond those that have a thread: they keep alive, or begin or end.
_IDLE_CONNECTIONS = 256


def gunicorn_settings(settings: Settings) -> dict[str, Any]:
    """Return the settings of gunicorn, but for its hooks.

    Raises the process's limit of open files to what ``server.max_clients`` needs. Where that
    isn't allowed, fewer streams are admitted, and a line on standard error says so.
    """
    server = settings.server
    streams = _streams(server.max_clients)
    if streams < server.max_clients:
        said = (
            f"server.max_clients: {server.max_clients} streams need more open files than this "
            f"process may have; {streams} are admitted. Raise `ulimit -n`."
        )
        print(warning(said) if server.log_format == "json" else said, file=sys.stderr)
    threads = streams + capacity.reserve(streams)
    return {
        "bind": [f"{url_host(server.host)}:{server.port}"],
        "workers": server.workers,
        "worker_class": StreamWorker,
        "threads": threads,
        # As many as threads or fewer would close every connection after its answer.
        "worker_connections": threads + _IDLE_CONNECTIONS,
        # Longer than proxies keep theirs: a request on a connection that is being closed is lost.
        "keepalive": 75,
        "worker_tmp_dir": "/dev/shm" if os.path.isdir("/dev/shm") else None,
        # By default it stands in the user's home, where two servers would meet.
        "control_socket_disable": True,
        "graceful_timeout": 5,
        "logger_class": JsonLogger if server.log_format == "json" else Logger,
        "access_log_format": f"{AccessLogFormat.default} {REQUEST_ID}",
    }


def _streams(max_clients: int) -> int:
    """Return how many streams a worker is to admit."""
    capacity.raise_descriptors(max_clients)
    return min(max_clients, capacity.streams_in_descriptors())
