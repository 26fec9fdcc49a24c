"""Decodes a CloudEvent in binary mode. Rule: CloudEvents 1.0.2, HTTP protocol binding, 3.1."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from urllib.parse import unquote_to_bytes

import msgspec
from msgspec import Raw

from .. import submission
from ..event import NewEvent
from ..exceptions import Fault
from . import syntax
from .building import BASE64, MAX_SHOWN, NO_DATA, Payload, Value, new_event

_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')
_ESCAPED = re.compile(r"\\(.)")

_skip = msgspec.json.Decoder(Raw).decode
_encode = msgspec.json.Encoder().encode


def decode(headers: Mapping[str, str], content_type: str, body: bytes) -> NewEvent:
    """Return the event of a request.

    ``headers`` are those whose name begins with ``ce-``, without this beginning and in lower case.
    Without a ``content_type``, the body is JSON.

    :raises InvalidEvent: it is no CloudEvent, or its body isn't what its content type says; each
        fault names an attribute.
    """
    faults: list[Fault] = []
    attributes: dict[str, Value] = {}
    for name, value in headers.items():
        try:
            attributes[name] = decode_value(value)
        except ValueError as error:
            faults.append(Fault(name[:MAX_SHOWN], str(error)))
    if "datacontenttype" in headers:
        msg = "the header Content-Type says it; send no ce-datacontenttype"
        faults.append(Fault("datacontenttype", msg))
    if content_type:
        attributes["datacontenttype"] = content_type
    payload = _payload(content_type, body)
    return new_event(attributes, payload, faults)


def decode_value(value: str) -> str:
    """Return what a header's value stands for: unquoted if it is quoted, then percent-decoded.

    A ``%`` without two hexadecimal digits after it stands for itself: much used senders encode
    nothing.

    :raises ValueError: it can't be decoded; the text says what to do.
    """
    value = value.strip(" \t")
    if value.startswith('"'):
        quoted = _QUOTED.fullmatch(value)
        if quoted is None:
            raise ValueError("begins with a quote, and isn't a quoted string; write \" as %22")
        value = _ESCAPED.sub(r"\1", quoted[1])
    if not value.isascii():
        raise ValueError("has a character outside of ASCII; percent-encode it as UTF-8")
    try:
        return unquote_to_bytes(value).decode()
    except UnicodeDecodeError:
        raise ValueError("isn't UTF-8 after it is percent-decoded") from None


def _payload(content_type: str, body: bytes) -> Payload:
    """Return the body as JSON.

    :raises InvalidEvent: its content type says that it is JSON, which it isn't.
    """
    if not body:
        return NO_DATA
    if syntax.is_json(content_type):
        return _json(body)
    if syntax.is_text(content_type):
        try:
            return Payload(_encode(body.decode()).decode())
        except UnicodeDecodeError:
            # Text of another encoding is kept as bytes.
            pass
    return Payload(f'"{base64.b64encode(body).decode()}"', BASE64)


def _json(body: bytes) -> Payload:
    body = submission.as_text(body)
    try:
        _skip(body)
        return Payload(submission.json_text(body))
    except (msgspec.DecodeError, RecursionError) as error:
        raise submission.not_json(error) from None
