"""What gunicorn needs to know: its settings made from ours, and hooks for its workers."""

from __future__ import annotations

import gc
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from dotenv import load_dotenv
from gunicorn import glogging

from .. import metrics
from ..config import loading
from ..config.settings import Settings, stream_url
from ..exceptions import ConfigError, LogUnavailable
from ..extension import KEY, Engine
from ..log import open_log
from ..stream import access_log, capacity
from ..stream.connection import SILENCE
from ..stream.session import ENVIRON_KEY
from . import reload
from .worker import StreamWorker

# Connections beyond those that have a thread: they keep alive, or begin or end.
_IDLE_CONNECTIONS = 256


class _InForce(NamedTuple):
    """What the master has read last that could be used: its workers are made from it."""

    file: Path
    settings: Settings
    made: dict[str, Any]
    #: The environment's variables that come from ``.env``.
    variables: dict[str, str]


_in_force: _InForce | None = None


def configure() -> dict[str, Any]:
    """Return gunicorn's settings and hooks for the configuration file that is in force.

    Reads ``.env`` in the working folder first. Ends the program, with every mistake on standard
    error, where the configuration holds any or the log is unusable. In a master that runs, at a
    reload, the mistakes are logged instead, and the settings stay that it has.
    """
    running = capacity.gunicorn_master()
    environment = dict(os.environ)
    try:
        fresh = _read(running)
    except (ConfigError, LogUnavailable) as error:
        if running is None or _in_force is None:
            print(error, file=sys.stderr)
            raise SystemExit(2) from None
        os.environ.clear()
        os.environ.update(environment)
        running.log.error(
            "the configuration can't be used; the old one stays in force until a reload finds a "
            "right one:\n%s",
            error,
        )
        return _in_force.made
    _take_over(fresh)
    return fresh.made


def _take_over(fresh: _InForce | None) -> None:
    """Let workers be made from this from now on."""
    global _in_force
    if _in_force is not None:
        loading.hold(_in_force.file, None)
    if fresh is not None:
        # Workers take it from here: the file may be half written as one of them starts.
        loading.hold(fresh.file, fresh.settings)
    _in_force = fresh


def _read(running: Any) -> _InForce:
    """Return what the configuration file says now; ``running`` is the master if it runs.

    :raises ConfigError: it holds mistakes, or the server that runs can't go over to it.
    :raises LogUnavailable: the log is unusable, or can't be opened.
    """
    variables = _read_dotenv()
    file = loading.default_file().absolute()
    settings = loading.read(loading.default_file())
    # Seen here, the master ends once; seen in the workers, each would end and be started anew.
    open_log(settings.database).inspect()
    fresh = _InForce(file, settings, _made_for_gunicorn(settings), variables)
    if running is not None and _in_force is not None:
        old, new = _in_force.made["bind"][0], fresh.made["bind"][0]
        if problem := reload.new_address_problem(running, old, new):
            raise ConfigError(f"{loading.default_file()}: server.host, server.port: {problem}")
        if problem := reload.app_problem(running, lambda: _take_over(fresh)):
            raise ConfigError(problem)
    return fresh


def _read_dotenv() -> dict[str, str]:
    """Put what ``.env`` holds into the environment; what is set there otherwise wins.

    What came from it earlier goes first. Returns the variables that come from it now.
    """
    for name, value in (_in_force.variables if _in_force else {}).items():
        if os.environ.get(name) == value:
            del os.environ[name]
    before = set(os.environ)
    load_dotenv(Path(".env"))
    return {name: value for name, value in os.environ.items() if name not in before}


def _made_for_gunicorn(settings: Settings) -> dict[str, Any]:
    """Return gunicorn's settings and hooks for these settings of ours."""
    server = settings.server
    streams = server.max_clients
    capacity.raise_descriptors(streams)
    if (room := capacity.streams_in_descriptors()) < streams:
        print(
            f"server.max_clients: {streams} streams need more open files than this process may "
            f"have; {room} are admitted. Raise `ulimit -n`.",
            file=sys.stderr,
        )
        streams = room
    threads = streams + capacity.reserve(streams)
    address = f"[{server.host}]" if ":" in server.host else server.host
    metrics.prepare()

    def when_ready(arbiter: Any) -> None:
        print(banner(settings, address), flush=True)

    def on_reload(arbiter: Any) -> None:
        if arbiter.cfg.preload_app:
            arbiter.log.warning(
                "with --preload a reload takes over server.host, port and workers alone; restart "
                "the server for the rest"
            )

    return {
        "bind": [f"{address}:{server.port}"],
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
        "logger_class": Logger,
        "on_starting": on_starting,
        "when_ready": when_ready,
        "on_reload": on_reload,
        "pre_fork": lambda arbiter, worker: gc.freeze(),
        "post_worker_init": post_worker_init,
        "child_exit": lambda arbiter, worker: metrics.fold(worker.pid),
        "on_exit": lambda arbiter: metrics.discard(),
    }


def on_starting(arbiter: Any) -> None:
    """Refuse an address that is taken, and see that no reload ends the server."""
    reload.refuse_taken_addresses(arbiter, metrics.discard)

    def snapshot() -> Callable[[], None]:
        before, environment = _in_force, dict(os.environ)

        def restore() -> None:
            os.environ.clear()
            os.environ.update(environment)
            _take_over(before)

        return restore

    reload.survive_failed_reloads(arbiter, snapshot)


class Logger(glogging.Logger):  # type: ignore[misc] # gunicorn has no types
    """gunicorn's logger, in whose access log a stream has its two own lines."""

    def setup(self, cfg: Any) -> None:
        super().setup(cfg)
        # Whoever asked for an access log gets that of the streams in the same place.
        access_log.log.disabled = not cfg.accesslog
        if cfg.accesslog:
            access_log.log.handlers = list(self.access_log.handlers)
            access_log.log.propagate = False
            access_log.log.setLevel(logging.INFO)
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
    engine.ending = capacity.ending(worker)
    engine.fit(capacity.capacity())
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
