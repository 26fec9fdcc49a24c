"""The address that the server listens on, checked before gunicorn acts on it.

gunicorn itself tries for five seconds and then ends, also in a reload of a server that runs.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable
from typing import Any

from gunicorn import systemd, util

from ..config import loading

#: A host and a port. gunicorn's other kinds of addresses, such as Unix sockets, aren't checked.
Address = tuple[str, int]


def url_host(host: str) -> str:
    """Return a host as it stands in a URL and in gunicorn's ``bind``: IPv6 in brackets."""
    return f"[{host}]" if ":" in host else host


def address_problem(address: Address) -> str:
    """Return why a server can't listen on an address, and the cure; empty if it can."""
    host, port = address
    family = socket.AF_INET6 if util.is_ipv6(host) else socket.AF_INET
    try:
        with socket.socket(family) as trial:
            # As gunicorn does: lingering connections of an earlier server are no obstacle.
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind(address)
    except OSError as error:
        where = f"{url_host(host)}:{port}"
        if error.errno == errno.EADDRINUSE:
            return (
                f"{where} is taken by another program; end that one (`ss -ltnp` names it), "
                "or choose another port"
            )
        if error.errno == errno.EACCES:
            return f"{where} needs more rights; choose a port from 1024 on"
        return f"{where} can't be listened on ({error.strerror}); name an address of this machine"
    return ""


def refuse_taken_addresses(arbiter: Any, clean_up: Callable[[], None]) -> None:
    """End the program, with one message for each, if addresses that it is to listen on are taken.

    ``clean_up`` is called before the end.
    """
    inherits = os.environ.get("GUNICORN_FD") or systemd.listen_fds(unset_environment=False)
    if inherits or arbiter.cfg.reuse_port:
        return
    addresses = [address for address in arbiter.cfg.address if isinstance(address, tuple)]
    problems = [text for address in addresses if (text := address_problem(address))]
    if not problems:
        return
    for text in problems:
        arbiter.log.error(
            "%s: server.host and server.port in %s say where to listen, or --port or --bind, "
            "which win",
            text,
            loading.default_file(),
        )
    if arbiter.pidfile is not None:
        arbiter.pidfile.unlink()
    clean_up()
    raise SystemExit(1)


def rebind_problem(arbiter: Any, old: str, new: str) -> str:
    """Return why a running server can't change from one ``bind`` to the other; empty if it can.

    gunicorn closes its old listeners before it opens the new ones, and ends if it can't.
    """
    # If it doesn't listen on the old one, an option of the command line has won, and wins again.
    if new == old or arbiter.cfg.address != [util.parse_address(old)] or arbiter.cfg.reuse_port:
        return ""
    host, port = util.parse_address(new)
    if port and port == util.parse_address(old)[1]:
        return "can't change while workers listen on the same port; restart the server for it"
    return address_problem((host, port))
