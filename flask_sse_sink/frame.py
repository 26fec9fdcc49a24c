"""Events and notices as bytes on the wire. Rule: WHATWG HTML, 9.2 "Server-sent events"."""

from __future__ import annotations

import re

import msgspec

from . import event as envelope
from .event import Event

_LINE_END = re.compile(rb"\r\n|\r|\n")
_UNSAFE = re.compile(r"[\r\n\0]")


def encode(
    data: str | bytes,
    *,
    event: str | None = None,
    id: str | None = None,
    retry_ms: int | None = None,
) -> bytes:
    """Return one UTF-8 frame, ending in a blank line.

    Line ends in ``data`` (CR, LF, CRLF, and nothing else: U+2028 is text) start a new ``data``
    field each, and a reader gets LF for every one of them.

    :raises ValueError: ``event`` or ``id`` holds a CR or LF, with which it would inject fields of
        its own (CWE-93), or a NUL, for which readers drop an id.

    Rule: WHATWG HTML, 9.2.6 "Interpreting an event stream".
    """
    for name, value in (("event", event), ("id", id)):
        if value is not None and _UNSAFE.search(value):
            raise ValueError(f"{name} {value!r} holds a line end or NUL, and can't be framed")
    lines = [f"event: {event}\n".encode()] if event is not None else []
    if id is not None:
        lines.append(f"id: {id}\n".encode())
    raw = data.encode() if isinstance(data, str) else data
    lines.extend(b"data: %b\n" % line for line in _LINE_END.split(raw))
    if retry_ms is not None:
        lines.append(b"retry: %d\n" % retry_ms)
    lines.append(b"\n")
    return b"".join(lines)


def message(event: Event) -> bytes:
    """Return the stored event as one frame, encoding it only the first time it is asked for.

    The envelope is a single line of JSON, in which a line end can't stand unescaped.
    """
    made: bytes | None = event.__dict__.get("frame")
    if made is None:
        made = b"event: message\nid: %d\ndata: %b\n\n" % (event.id, envelope.encode(event))
        event.__dict__["frame"] = made
    return made


def connected(retry_ms: int) -> bytes:
    """Return the first frame of a stream, which carries the reconnect hint as well.

    The hint shares the frame: some readers take a block of ``retry`` alone for an empty message.
    """
    return encode("connected", event="info", retry_ms=retry_ms)


def missed(count: int, first_id: int, last_id: int) -> bytes:
    """Return the notice that ``count`` events from ``first_id`` to ``last_id`` were lost."""
    what = msgspec.json.encode({"count": count, "first_id": first_id, "last_id": last_id})
    return encode(b"missed " + what, event="info")


def closing(retry_ms: int) -> bytes:
    """Return the notice that the server ends the stream, and when to come back."""
    return encode("closing", event="info", retry_ms=retry_ms)


def busy(retry_ms: int) -> bytes:
    """Return the notice that there is no room now, and when to come back."""
    return encode("busy", event="info", retry_ms=retry_ms)


HEARTBEAT = encode("ping", event="heartbeat")
