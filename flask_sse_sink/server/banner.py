"""What the server prints when it is ready."""

from __future__ import annotations

from typing import Any

from ..config.settings import Settings
from ..config.sink_types import routes
from .addresses import url_host


def base_url(settings: Settings, arbiter: Any) -> str:
    """Return the address that a program on this machine finds the server under.

    ``arbiter`` is gunicorn's, whose command line may name another address than the settings.
    """
    host, port = str(settings.server.host), settings.server.port
    for listener in arbiter.LISTENERS:
        # A Unix socket has a path instead.
        if isinstance(name := listener.sock.getsockname(), tuple):
            # The settings may name a host; a port of 0 is one that the system chooses.
            host, port = (host if name[1] == port else name[0]), name[1]
            break
    if host in ("0.0.0.0", "::"):
        host = "127.0.0.1" if host == "0.0.0.0" else "::1"
    return f"{'https' if arbiter.cfg.is_ssl else 'http'}://{url_host(host)}:{port}"


def banner(settings: Settings, base: str) -> str:
    """Return the addresses of the console and the streams, and commands to try them."""
    streams = [f"{base}{route.url}" for _, route in routes(settings.sink) if route.stream]
    token = ""
    if settings.ingest.auth != "none":
        token = ' \\\n      -H "Authorization: Bearer $(sed -n s/^INGEST_TOKEN=//p .env)"'
    lines = [f"\n{'Console' if settings.server.console else 'Server'} on".ljust(14) + f"{base}/"]
    if streams:
        lines.append(f"Streaming on {streams[0]}")
        lines += [f"         and {url}" for url in streams[1:]]
        lines += ["", "  listen:", f"    curl -N {streams[0]}"]
    lines += [
        "  publish, from this folder:",
        f"    curl {base}{settings.ingest.path}{token} \\",
        '      -H "Content-Type: application/json" \\',
        """      -d '{"event_type": "user.login", "data": {"ip": "1.2.3.4"}}'""",
        "",
    ]
    return "\n".join(lines)
