"""What gunicorn's master does at a reload so that a mistake doesn't end a running server.

gunicorn itself ends when its configuration file raises, or when a worker can't load the app.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from typing import Any, NoReturn

from gunicorn import util


def app_problem(arbiter: Any, prepare: Callable[[], None]) -> str:
    """Return the errors of a worker that can't load the app; empty if it can.

    The app is loaded in a process that is forked as a worker is, after a call of ``prepare``.
    """
    cfg = arbiter.cfg
    uri = getattr(arbiter.app, "app_uri", None) or cfg.wsgi_app
    if cfg.preload_app or cfg.paste or not uri:
        return ""
    with tempfile.TemporaryFile() as errors:
        pid = os.fork()
        if not pid:
            _load_app_and_exit(cfg, uri, prepare, errors.fileno())
        status = _exit_status(pid, cfg.timeout or 30)
        errors.seek(0)
        text = errors.read().decode(errors="replace").strip()
    if status == 0:
        return ""
    return text or f"a worker can't load the app {uri} (status {status})"


def _load_app_and_exit(cfg: Any, uri: str, prepare: Callable[[], None], errors: int) -> NoReturn:
    """Load the app and end this process; standard error goes to the descriptor ``errors``."""
    status = 1
    try:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        os.dup2(errors, 2)
        os.environ.update(cfg.env)
        util.set_owner_process(cfg.uid, cfg.gid, initgroups=cfg.initgroups)
        prepare()
        util.import_app(uri)
        status = 0
    except SystemExit:
        # The app has written why it ended.
        pass
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def _exit_status(pid: int, seconds: float) -> int:
    """Wait for a child's end, and return its exit status; kill it after so many seconds."""
    deadline = time.monotonic() + seconds
    while True:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() >= deadline:
            os.kill(pid, signal.SIGKILL)
            deadline = float("inf")
        time.sleep(0.01)


def survive_failed_reloads(arbiter: Any, snapshot: Callable[[], Callable[[], None]]) -> None:
    """Keep a running server when a reload finds a mistake in gunicorn's own configuration file.

    gunicorn would log the mistake and end. Instead it keeps its settings. ``snapshot`` is called
    before each reload; the function that it returns is called when the reload has failed.
    """
    app = arbiter.app
    reload_app = app.reload

    def reload_or_keep() -> None:
        cfg, restore = app.cfg, snapshot()
        try:
            reload_app()
        except SystemExit:
            app.cfg = cfg
            restore()
            arbiter.log.error(
                "gunicorn's configuration can't be used (why stands above); the old one stays "
                "in force until a reload finds a right one"
            )

    app.reload = reload_or_keep
