"""Events and notices as bytes on the wire. Rule: WHATWG HTML, 9.2 "Server-sent events"."""

from __future__ import annotations

import re

import msgspec

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


def message(id: int, envelope: bytes) -> bytes:
    """Return the frame of a stored event: its id, and one line of JSON, such as its envelope.

    JSON has no unescaped line end, so that the envelope is a single ``data`` field.
    """
    return b"event: message\nid: %d\ndata: %b\n\n" % (id, envelope)


def connected(retry_ms: int, id: int | None = None) -> bytes:
    """Return the first frame of a stream, which carries the reconnect hint as well.

    The hint shares the frame: some readers take a block of ``retry`` alone for an empty message.
    With an ``id``, a client that is cut before its first event comes back to that place.
    """
    return encode("connected", event="info", id=_text(id), retry_ms=retry_ms)


def settings(heartbeat_seconds: float, retry_seconds: float, log: str | None) -> bytes:
    """Return the notice of what a client may want to know of its stream.

    ``log`` is the identity of the log whose ids the stream has, None on a sink without replay.
    """
    values = {
        "heartbeat_timeout": float(heartbeat_seconds),
        "retry": float(retry_seconds),
        "log": log,
    }
    return encode(b"settings " + msgspec.json.encode(values), event="info")


def missed(
    count: int | None,
    first_id: int | None,
    last_id: int | None,
    *,
    id: int | None = None,
    **more: str | int,
) -> bytes:
    """Return the notice that ``count`` events from ``first_id`` to ``last_id`` were lost.

    A number that isn't known is None; ``more`` adds further values. The frame carries ``id``, if
    there is one, so that a client which comes back isn't told again.
    """
    values = {"count": count, "first_id": first_id, "last_id": last_id, **more}
    return encode(b"missed " + msgspec.json.encode(values), event="info", id=_text(id))


def heartbeat(id: int) -> bytes:
    """Return a heartbeat that carries an id: a client that comes back goes on after it."""
    return encode("ping", event="heartbeat", id=_text(id))


def _text(id: int | None) -> str | None:
    return None if id is None else str(id)


def closing(retry_ms: int) -> bytes:
    """Return the notice that the server ends the stream, with a hint when to come back."""
    return encode("closing", event="info", retry_ms=retry_ms)


def expired(retry_ms: int) -> bytes:
    """Return the notice that the stream ends because its token has, with a reconnect hint."""
    return encode("expired", event="info", retry_ms=retry_ms)


def busy(retry_ms: int) -> bytes:
    """Return the notice that the server can't stream now, with a hint when to come back."""
    return encode("busy", event="info", retry_ms=retry_ms)


HEARTBEAT = encode("ping", event="heartbeat")
