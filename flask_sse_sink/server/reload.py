"""What gunicorn's master checks before it acts: a mistake must not end a server that runs.

gunicorn itself ends where an address is taken, where its configuration file raises, or where a
worker can't load the app.
"""

from __future__ import annotations

import errno
import os
import signal
import socket
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from typing import Any

from gunicorn import systemd, util

from ..config import loading

#: A host and a port, as gunicorn has them; its other kinds of addresses aren't checked.
Address = tuple[str, int]


def address_problem(address: Address) -> str:
    """Return why a server can't listen on an address, and the cure; empty if it can."""
    host, port = address
    family = socket.AF_INET6 if util.is_ipv6(host) else socket.AF_INET
    try:
        with socket.socket(family) as tried:
            # As gunicorn does; connections of an earlier server that linger are no obstacle.
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tried.bind(address)
    except OSError as error:
        shown = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        if error.errno == errno.EADDRINUSE:
            return (
                f"{shown} is taken by another program; end that one (`ss -ltnp` names it), "
                "or choose another port"
            )
        if error.errno == errno.EACCES:
            return f"{shown} needs more rights; choose a port from 1024 on"
        return f"{shown} can't be listened on ({error.strerror}); name an address of this machine"
    return ""


def refuse_taken_addresses(arbiter: Any, cleanup: Callable[[], None]) -> None:
    """End the program, with one message, where an address that it is to listen on is taken.

    Without this, gunicorn tries for five seconds and tells ten errors. ``cleanup`` is called
    before the end.
    """
    inherits = os.environ.get("GUNICORN_FD") or systemd.listen_fds(unset_environment=False)
    if inherits or arbiter.cfg.reuse_port:
        return
    addresses = [found for found in arbiter.cfg.address if isinstance(found, tuple)]
    problems = [problem for found in addresses if (problem := address_problem(found))]
    if not problems:
        return
    for problem in problems:
        arbiter.log.error(
            "%s: server.host and server.port in %s say where to listen, or --bind, which wins",
            *(problem, loading.default_file()),
        )
    if arbiter.pidfile is not None:
        arbiter.pidfile.unlink()
    cleanup()
    raise SystemExit(1)


def new_address_problem(arbiter: Any, old: str, new: str) -> str:
    """Return why a running server can't change from one ``bind`` to the other; empty if it can.

    gunicorn closes its own listeners first, and ends where it can't have the new ones.
    """
    # Where they differ already, a flag of the command line has won, and wins again.
    if new == old or arbiter.cfg.address != [util.parse_address(old)] or arbiter.cfg.reuse_port:
        return ""
    host, port = util.parse_address(new)
    if port and port == util.parse_address(old)[1]:
        return "can't change while workers listen on the same port; restart the server for it"
    return address_problem((host, port))


def app_problem(arbiter: Any, prepare: Callable[[], None]) -> str:
    """Return what a worker would tell that can't load the app; empty if it can.

    It is tried in a process of its own, forked as a worker is, after ``prepare``.
    """
    cfg = arbiter.cfg
    uri = getattr(arbiter.app, "app_uri", None) or cfg.wsgi_app
    if cfg.preload_app or cfg.paste or not uri:
        return ""
    with tempfile.TemporaryFile() as told:
        pid = os.fork()
        if not pid:
            _try_app(cfg, uri, prepare, told.fileno())
        status = _wait(pid, cfg.timeout or 30)
        told.seek(0)
        text = told.read().decode(errors="replace").strip()
    if status == 0:
        return ""
    return text or f"a worker can't load the app {uri} (status {status})"


def _try_app(cfg: Any, uri: str, prepare: Callable[[], None], output: int) -> None:
    """Load the app and end the process; what is told goes to the file ``output``."""
    status = 1
    try:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        os.dup2(output, 2)
        os.environ.update(cfg.env)
        util.set_owner_process(cfg.uid, cfg.gid, initgroups=cfg.initgroups)
        prepare()
        util.import_app(uri)
        status = 0
    except SystemExit:
        # It has told why.
        pass
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def _wait(pid: int, seconds: float) -> int:
    """Return a child's exit status; one that takes too long is killed."""
    until = time.monotonic() + seconds
    while True:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() >= until:
            os.kill(pid, signal.SIGKILL)
            until = float("inf")
        time.sleep(0.01)


def survive_failed_reloads(arbiter: Any, snapshot: Callable[[], Callable[[], None]]) -> None:
    """See that a mistake in gunicorn's own configuration file doesn't end a running server.

    gunicorn tells the mistake and ends. Here, its settings stay as they were, and so does what
    ``snapshot``, called before a reload, returns a function to restore.
    """
    app = arbiter.app
    reload = app.reload

    def keep_on_failure() -> None:
        before, restore = app.cfg, snapshot()
        try:
            reload()
        except SystemExit:
            app.cfg = before
            restore()
            arbiter.log.error(
                "gunicorn's configuration can't be used (why stands above); the old one stays "
                "in force until a reload finds a right one"
            )

    app.reload = keep_on_failure
