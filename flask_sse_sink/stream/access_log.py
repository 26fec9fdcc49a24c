"""The access log of streams: a line when one starts, and one when it ends.

The logger is ``flask_sse_sink.access``, at level INFO.
"""

from __future__ import annotations

import logging
import time
from urllib.parse import quote

from flask import Flask

from .client import Client

log = logging.getLogger("flask_sse_sink.access")

_SHOWN = 200


def on_connected(sender: Flask, *, sink: str, client: Client) -> None:
    """Log that a stream started: a receiver of ``client_connected``."""
    _line(client, sink, "connected")


def on_disconnected(sender: Flask, *, sink: str, client: Client) -> None:
    """Log how a stream ended: a receiver of ``client_disconnected``."""
    if client.reason == "refused":
        _line(client, sink, "refused")
    else:
        count = f"{client.frames} events, {client.missed} missed"
        _line(client, sink, f"{client.reason} after {client.seconds:.1f} s, {count}")


def _line(client: Client, sink: str, what: str) -> None:
    if log.disabled or not log.isEnabledFor(logging.INFO):
        return
    now = time.strftime("%d/%b/%Y:%H:%M:%S %z")
    query = client.filter.query()
    # A name may come from a token, and must not end the line or look like another field of it.
    name = quote(client.name, safe="!@:+,.|/")[:_SHOWN] or "-"
    log.info("%s - %s [%s] %s?%s: %s", client.address, name, now, sink, query, what)
