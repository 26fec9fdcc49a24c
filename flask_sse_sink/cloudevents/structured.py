"""Decodes CloudEvents in structured and batch mode. Rule: CloudEvents 1.0.2, JSON event format."""

from __future__ import annotations

import re

import msgspec
from msgspec import Raw

from .. import submission
from ..event import NewEvent
from ..exceptions import Fault, InvalidEvent
from . import syntax
from .building import BASE64, MAX_SHOWN, NO_DATA, Payload, Value, new_event

_members = msgspec.json.Decoder(dict[str, Raw]).decode
_split = msgspec.json.Decoder(list[Raw]).decode
_skip = msgspec.json.Decoder(Raw).decode
_text = msgspec.json.Decoder(str).decode

_INTEGER = re.compile(rb"-?[0-9]{1,10}")
_NO_OBJECT = "Expected a CloudEvent (an object)"


def decode(body: bytes) -> NewEvent:
    """Return the event of a body of type ``application/cloudevents+json``.

    :raises InvalidEvent: it isn't JSON, or no CloudEvent; each fault names an attribute.
    """
    body = submission.as_text(body)
    try:
        _skip(body)
        members = _members(body)
        return _event(members)
    except msgspec.ValidationError:
        cure = "; send an array as `application/cloudevents-batch+json`"
        is_array = body.lstrip().startswith(b"[")
        raise InvalidEvent([Fault("", _NO_OBJECT + (cure if is_array else ""))]) from None
    except (msgspec.DecodeError, RecursionError) as error:
        raise submission.not_json(error) from None


def decode_batch(body: bytes) -> list[NewEvent]:
    """Return the events of a body of type ``application/cloudevents-batch+json``; perhaps none.

    :raises InvalidEvent: it isn't JSON, or holds what is no CloudEvent; each fault names the
        event's index and an attribute.
    """
    body = submission.as_text(body)
    try:
        _skip(body)
        parts = _split(body)
        return _events(parts)
    except msgspec.ValidationError:
        msg = "Expected an array; send one event as `application/cloudevents+json`"
        raise InvalidEvent([Fault("", msg)]) from None
    except (msgspec.DecodeError, RecursionError) as error:
        raise submission.not_json(error) from None


def _events(parts: list[Raw]) -> list[NewEvent]:
    events: list[NewEvent] = []
    faults: list[Fault] = []
    for index, part in enumerate(parts):
        try:
            events.append(_event(_members(part)))
        except msgspec.ValidationError:
            faults.append(Fault(f"[{index}]", _NO_OBJECT))
        except InvalidEvent as error:
            faults += [Fault(f"[{index}].{loc}", msg) for loc, msg in error.faults]
        if len(faults) >= submission.MAX_FAULTS:
            break
    if faults:
        raise InvalidEvent(faults[: submission.MAX_FAULTS])
    return events


def _event(raw_members: dict[str, Raw]) -> NewEvent:
    """Return the event with these members.

    :raises InvalidEvent: it is no CloudEvent.
    :raises RecursionError: its data nests too deeply.
    """
    members = {name: bytes(raw) for name, raw in raw_members.items()}
    faults: list[Fault] = []
    payload = NO_DATA
    try:
        payload = _payload(members)
    except InvalidEvent as error:
        faults += error.faults
    attributes: dict[str, Value] = {}
    for name, raw in members.items():
        if name in ("data", BASE64) or raw == b"null":
            continue
        try:
            attributes[name] = _value(raw)
        except ValueError as error:
            faults.append(Fault(name[:MAX_SHOWN], str(error)))
            # For the checks that follow, which are about the other attributes.
            attributes[name] = ""
    return new_event(attributes, payload, faults)


def _payload(members: dict[str, bytes]) -> Payload:
    """Return the data among the members.

    :raises InvalidEvent: there is data twice, or ``data_base64`` is no base64.
    """
    data, packed = members.get("data"), members.get(BASE64)
    if packed is None or packed == b"null":
        return NO_DATA if data is None else Payload(submission.json_text(data))
    if data is not None:
        raise InvalidEvent([Fault(BASE64, "stands beside `data`; send one of the two")])
    text = _text(packed) if packed.startswith(b'"') else "no base64"
    if not syntax.is_base64(text):
        raise InvalidEvent([Fault(BASE64, "Expected a string of base64")])
    return Payload(f'"{text}"', BASE64)


def _value(raw: bytes) -> Value:
    """Return the value of an attribute.

    :raises ValueError: none of its types has such a value; the text says what to do.
    """
    first = raw[:1]
    if first == b'"':
        return _text(raw)
    if first in (b"t", b"f"):
        return first == b"t"
    if first in (b"{", b"["):
        kind = "an object" if first == b"{" else "an array"
        raise ValueError(f"is {kind}; send a string, a whole number, or true or false")
    if not _INTEGER.fullmatch(raw):
        raise ValueError("is no whole number of 32 bits; send it as a string")
    return int(raw)
