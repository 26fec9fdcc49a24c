"""Examines this machine: the configuration, the log, what the system allows, and the server."""

from __future__ import annotations

import functools
import importlib.metadata
import platform
import sqlite3
import sys
import time
from collections.abc import Callable
from pathlib import Path

from flask import Flask

from .. import __version__
from ..config.access_checks import warnings
from ..config.databases import is_in_memory, scheme_of
from ..config.settings import ServerSettings, Settings
from ..config.sink_types import routes
from ..exceptions import ConfigError, LogUnavailable
from ..extension import runtime_of
from ..log import EventLog
from ..log.sqlite import SQLiteLog
from . import machine
from .asking import Asking
from .reading import Reading
from .report import Finding, Report
from .target import Printable, Target, problem_members
from .unreachable import Unreachable
from .wire import NoAnswer

#: The codes of findings, beside those of examinations from outside.
CODES = ("config", "log", "disk", "redis", "descriptors", "threads", "direct_send", "server")

_LIBRARIES = ("flask", "gunicorn", "msgspec", "redis")
_PATIENCE_SECONDS = 5.0
_LONGEST = 100_000
# A commit that takes longer makes producers wait.
_SLOW_SECONDS = 0.1
_EVERY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}


def examine_locally(load: Callable[[], Flask], token: str = "") -> Report:
    """Return what is wrong on this machine with the app that ``load`` makes.

    ``token`` opens sinks that need one.
    """
    headers = [("Authorization", f"Bearer {token}")] if token else []
    # All mistakes of a configuration are shown, however many there are.
    report = Report(printable=functools.partial(Printable(headers, ()), length=_LONGEST))
    _check_versions(report)
    try:
        app = load()
    except ConfigError as error:
        seen = "; ".join(error.problems)
        cause = "the configuration can't be used"
        report.find(Finding("config", seen, cause, "change what each of these says"))
        return report
    except LogUnavailable as error:
        report.find(_log_finding(error))
        return report
    runtime = runtime_of(app)
    _check_config(report, runtime.settings)
    try:
        _check_log(report, runtime.settings, runtime.log)
    finally:
        runtime.log.close()
    machine.check_limits(report, runtime.settings.server, machine.limits_here())
    _check_direct_send(report, runtime.settings.server)
    is_ready_server = "sse_sink_health" in app.blueprints
    _check_server(report, runtime.settings, token, is_ready_server)
    return report


def _check_versions(report: Report) -> None:
    versions = [f"flask-sse-sink {__version__}", f"Python {platform.python_version()}"]
    for name in _LIBRARIES:
        try:
            versions.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    report.ok("versions", ", ".join([*versions, f"SQLite {sqlite3.sqlite_version}"]))


def _check_config(report: Report, settings: Settings) -> None:
    report.ok("config", f"{len(settings.sink)} sinks: {', '.join(settings.sink) or 'none'}")
    for warning in warnings(settings):
        report.note("config", warning)
    access = settings.access
    is_closed = not (settings.ingest.tokens or access.tokens or access.issuers)
    if settings.ingest.auth != "none" and is_closed:
        report.note("config", "nobody may publish over HTTP yet: set ingest.tokens")


def _check_log(report: Report, settings: Settings, log: EventLog) -> None:
    if is_in_memory(settings.database):
        report.note("log", "in the memory of one process: it ends with that")
        return
    is_file = isinstance(log, SQLiteLog)
    if isinstance(log, SQLiteLog):
        _check_disk(report, log.path)
    if isinstance(log, SQLiteLog) and not log.path.exists():
        report.note("log", f"{log.path} isn't there yet: the server makes it at its first start")
        return
    try:
        log.inspect()
        began = time.monotonic()
        log.check()
        seconds = time.monotonic() - began
        head = log.head()
    except LogUnavailable as error:
        report.find(_log_finding(error))
        return
    seen = f"the newest event has id {head}; a commit took {seconds * 1000:.0f} ms"
    if seconds > _SLOW_SECONDS:
        report.note("log", f"{seen}, for which every producer waits")
    else:
        report.ok("log", seen)
    if not is_file and scheme_of(settings.database).startswith("redis"):
        # An optional dependency.
        from .redis_checks import check_redis

        check_redis(report, settings.database.url)


def _log_finding(error: LogUnavailable) -> Finding:
    cure = "do what this says, and look again"
    return Finding("log", str(error), error.public, cure)


def _check_disk(report: Report, path: Path) -> None:
    try:
        machine.check_disk(report, path, machine.disk_of(path))
    except OSError as error:
        report.skip("disk", f"{path}: {error.strerror}")


def _check_direct_send(report: Report, server: ServerSettings) -> None:
    """Check what can be known of direct sends without a server."""
    if not server.direct_send:
        report.note("direct_send", "off, as server.direct_send says")
        return
    cure = ""
    if not getattr(sys, "_is_gil_enabled", lambda: True)():
        cure = "use a Python that has its global lock"
    try:
        version = importlib.metadata.version("gunicorn")
    except importlib.metadata.PackageNotFoundError:
        report.note("direct_send", "gunicorn isn't installed; other servers can't send directly")
        return
    if int(version.partition(".")[0]) < 25:
        cure = "pip install 'gunicorn >= 25.0'"
    if cure:
        cause = "without direct sends, each event wakes the thread of each stream, at about ten "
        cause += "times the cost"
        seen = f"Python {platform.python_version()}, gunicorn {version}"
        report.find(Finding("direct_send", seen, cause, cure))


def _check_server(report: Report, settings: Settings, token: str, is_ready_server: bool) -> None:
    """Ask the server that runs, if one does, whether it is ready and sends directly."""
    server = settings.server
    host = _EVERY_ADDRESS.get(server.host, server.host)
    headers = [("Authorization", f"Bearer {token}")] if token else []
    target = Target("http", host, server.port, "/readyz", (), tuple(headers))
    if not (is_ready_server and server.port):
        report.skip("server", "where it listens isn't known: name its URL to look at it")
        return
    try:
        answer = Asking(target, {}, _PATIENCE_SECONDS).open({}, {})
    except (Unreachable, NoAnswer) as error:
        seen = error.seen if isinstance(error, Unreachable) else f"{target.shown} doesn't answer"
        cause = "the server isn't started, hangs, or listens elsewhere than server.host and "
        cause += "server.port say"
        report.find(Finding("server", seen, cause, "start it with `sse-sink serve`; see its log"))
        return
    try:
        status, body = answer.status, answer.short_body()
    finally:
        answer.close()
    if status == 200:
        report.ok("server", f"{target.origin} is ready")
        _check_sends(report, settings, target)
        return
    detail = problem_members(body).get("detail")
    cause = "the server says so itself; its log has the details"
    if not isinstance(detail, str):
        cause = "another program listens there, or a proxy"
    seen = f"{target.shown}: status {status}: {detail or 'not an answer of this package'}"
    report.find(Finding("server", seen, cause, "look into its log, and at `ss -ltnp`"))


def _check_sends(report: Report, settings: Settings, target: Target) -> None:
    """Open a stream of the running server, and see whether it can be sent to directly."""
    urls = [
        route.url
        for name, route in routes(settings.sink)
        if route.stream and (settings.sink[name].access == "none" or target.headers)
    ]
    if not urls or not settings.server.direct_send:
        return
    stream = Asking(target._replace(path=urls[0]), {}, _PATIENCE_SECONDS)
    try:
        answer = stream.open({"probe": "1"}, {})
    except (Unreachable, NoAnswer):
        return
    reading = Reading(answer, stream.asked_at)
    try:
        reading.wait(lambda: bool(reading.probe), time.monotonic() + _PATIENCE_SECONDS)
        direct = reading.probe[0].direct if reading.probe else None
    finally:
        reading.close()
    if direct:
        report.ok("direct_send", "the server sends directly")
    elif direct is False:
        cause = "its server isn't gunicorn with threads, speaks TLS itself, or is too old"
        cure = "run `sse-sink serve`; the server's log says why, once, as a warning"
        report.find(Finding("direct_send", "the server doesn't send directly", cause, cure))
