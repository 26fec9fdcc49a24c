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


#: The attribute of records that has the line's parts by their names, for logs that are no text.
FIELDS = "sse_sink_fields"


def on_connected(sender: Flask, *, sink: str, client: Client) -> None:
    """Log that a stream started: a receiver of ``client_connected``."""
    _line(client, sink, "connected")


def on_disconnected(sender: Flask, *, sink: str, client: Client) -> None:
    """Log how a stream ended: a receiver of ``client_disconnected``."""
    if client.reason == "refused":
        _line(client, sink, "refused")
        return
    count = f"{client.frames} events, {client.missed} missed"
    _line(
        client,
        sink,
        f"{client.reason} after {client.seconds:.1f} s, {count}",
        reason=client.reason,
        seconds=round(client.seconds, 3),
        events=client.frames,
        missed=client.missed,
    )


def _line(client: Client, sink: str, what: str, **more: object) -> None:
    if log.disabled or not log.isEnabledFor(logging.INFO):
        return
    now = time.strftime("%d/%b/%Y:%H:%M:%S %z")
    query = client.filter.query()
    # A name may come from a token, and must not end the line or look like another field of it.
    name = quote(client.name, safe="!@:+,.|/")[:_SHOWN] or "-"
    fields = {
        "message": f"stream {what}",
        "remote_address": client.address,
        "user": client.name[:_SHOWN] or None,
        "sink": sink,
        "query": query,
        "request_id": client.request_id or None,
        **more,
    }
    line = "%s - %s [%s] %s?%s: %s request_id=%s"
    values = (client.address, name, now, sink, query, what, client.request_id or "-")
    log.info(line, *values, extra={FIELDS: fields})
