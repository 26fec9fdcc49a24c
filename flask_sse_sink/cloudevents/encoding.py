"""Encodes a stored event as a CloudEvent. Rule: CloudEvents 1.0.2, JSON event format."""

from __future__ import annotations

import re
from typing import Any

import msgspec
from msgspec import Raw

from ..event import Event
from . import syntax
from .building import ABSENT, BASE64, IN_ENVELOPE, SPECVERSION

#: The extension with what else stands in ``meta``, as JSON text.
REST = "meta"

_members = msgspec.json.Decoder(dict[str, Raw]).decode
_encode = msgspec.json.Encoder().encode
_text = msgspec.json.Decoder(str).decode
_INTEGER = re.compile(rb"-?[0-9]{1,10}")


def encode(event: Event) -> bytes:
    """Return the event as a structured CloudEvent: one line of JSON.

    An event that came in as a CloudEvent is returned as it came. Of other events, what stands in
    ``meta`` becomes extensions where an extension can have such a name and value; the rest of it
    is in the extension ``meta``, as JSON text. Where the time of the event isn't known, it is the
    time when the event was stored.
    """
    cloud_event: dict[str, Any] = {
        "specversion": SPECVERSION,
        "id": event.event_id,
        "source": syntax.uri_reference(event.source.name),
        "type": event.event_type,
    }
    if event.entity_id is not None:
        cloud_event["subject"] = event.entity_id
    cloud_event["time"] = event.created_at
    meta = {name: bytes(raw) for name, raw in _members(event.meta).items()}
    data = bytes(event.data)
    kind = _take_kind(meta, data)
    rest: dict[str, Raw] = {}
    for key, value in meta.items():
        fits = _is_attribute(key, value) and (key != "datacontenttype" or _fits(value, kind, data))
        (cloud_event if fits else rest)[key] = Raw(value)
    if rest:
        if REST in cloud_event:
            rest[REST] = cloud_event[REST]
        cloud_event[REST] = _as_string(_encode(rest).decode())
    if kind != ABSENT:
        cloud_event[kind or "data"] = event.data
    return _encode(cloud_event)


def _take_kind(meta: dict[str, bytes], data: bytes) -> str:
    """Take the key out of ``meta`` that says what the data is, and return it, "" for JSON."""
    if meta.get(ABSENT) == b"true" and data == b"{}":
        del meta[ABSENT]
        return ABSENT
    if meta.get(BASE64) == b"true":
        text = _string(data)
        if text is not None and syntax.is_base64(text):
            del meta[BASE64]
            return BASE64
    return ""


def _is_attribute(name: str, raw: bytes) -> bool:
    """Return whether a key and value of ``meta`` are an attribute's name and value."""
    if name in IN_ENVELOPE or not syntax.is_name(name):
        return False
    check = _CHECKS.get(name)
    text = _string(raw)
    if text is None:
        return check is None and _is_plain_value(raw)
    return syntax.is_string(text) and (check is None or check(text))


_CHECKS = {
    "time": syntax.is_timestamp,
    "datacontenttype": syntax.is_media_type,
    "dataschema": syntax.is_uri,
}


def _fits(raw: bytes, kind: str, data: bytes) -> bool:
    """Return whether data can be of this media type: JSON in ``data`` only with a type of JSON."""
    media_type = _string(raw)
    assert media_type is not None, "it was checked before"
    return bool(kind) or syntax.is_json(media_type) or data.startswith(b'"')


def _string(raw: bytes) -> str | None:
    """Return a JSON string's text, None for every other value."""
    return _text(raw) if raw.startswith(b'"') else None


def _is_plain_value(raw: bytes) -> bool:
    if raw in (b"true", b"false"):
        return True
    return _INTEGER.fullmatch(raw) is not None and syntax.is_integer(int(raw))


def _as_string(text: str) -> str:
    """Return JSON text without characters that an attribute can't have: they are escaped."""
    if syntax.is_string(text):
        return text
    return "".join(each if syntax.is_string(each) else _escaped(each) for each in text)


def _escaped(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))
