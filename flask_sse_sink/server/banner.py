"""What the server prints when it is ready."""

from __future__ import annotations

from ..config.settings import Settings
from ..config.sink_types import routes
from .addresses import url_host


def banner(settings: Settings) -> str:
    """Return the URLs of the streams, and commands that listen to the first and publish."""
    base = f"http://{url_host(settings.server.host)}:{settings.server.port}"
    streams = [f"{base}{route.url}" for _, route in routes(settings.sink) if route.stream]
    token = ""
    if settings.ingest.auth != "none":
        token = ' \\\n      -H "Authorization: Bearer $(sed -n s/^INGEST_TOKEN=//p .env)"'
    lines: list[str] = []
    if streams:
        lines.append(f"\nStreaming on {streams[0]}")
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
