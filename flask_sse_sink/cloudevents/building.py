"""A CloudEvent's attributes and data, checked, become a new event."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple, TypeAlias

import msgspec

from .. import submission
from ..event import NewEvent
from ..exceptions import Fault, InvalidEvent
from . import syntax

#: An attribute's value. Where a mode knows text only, as headers do, every value is text.
Value: TypeAlias = str | bool | int

SPECVERSION = "1.0"
#: Attributes that have a place in the envelope. All others stand in ``meta``.
IN_ENVELOPE = frozenset(("specversion", "id", "source", "type", "subject"))
#: Keys of ``meta`` that say what the data is; no attribute may have such a name.
BASE64 = "data_base64"
ABSENT = "data_absent"

#: Characters of a wrong attribute's name that a fault shows.
MAX_SHOWN = 80

_REQUIRED = ("specversion", "id", "source", "type")
_EVENT_TYPE = re.compile(r"[^.]+(\.[^.]+)*")


class Payload(NamedTuple):
    """An event's data as one line of JSON.

    ``kind`` is :data:`BASE64` where the JSON is a string with bytes in base64, :data:`ABSENT`
    where the event has no data, and else "".
    """

    text: str
    kind: str = ""


#: The payload of an event without data: an event's data is ``{}`` by default.
NO_DATA = Payload("{}", ABSENT)

_encode = msgspec.json.Encoder().encode


def new_event(
    attributes: Mapping[str, Value], payload: Payload, found: Sequence[Fault] = ()
) -> NewEvent:
    """Return the new event with these attributes and this data.

    ``found`` are faults of attributes that couldn't be read; no other fault is told of these.

    :raises InvalidEvent: the attributes are wrong; each fault names one.
    """
    named = {fault.loc for fault in found}
    faults = [*found, *(each for each in _faults(attributes, payload) if each.loc not in named)]
    if faults:
        raise InvalidEvent(faults[: submission.MAX_FAULTS])
    meta: dict[str, Value] = {
        name: value for name, value in attributes.items() if name not in IN_ENVELOPE
    }
    if payload.kind:
        meta[payload.kind] = True
    subject, time = attributes.get("subject"), attributes.get("time")
    return NewEvent(
        str(attributes["type"]),
        str(attributes["id"]),
        None if subject is None else str(subject),
        payload.text,
        str(attributes["source"]),
        _encode(meta).decode() if meta else "{}",
        None if time is None else str(time),
    )


def _faults(attributes: Mapping[str, Value], payload: Payload) -> Iterator[Fault]:
    for name in _REQUIRED:
        if name not in attributes:
            yield Fault(name, "is missing; a CloudEvent has specversion, id, source and type")
    for name, value in attributes.items():
        if msg := _fault_of_attribute(name, value):
            yield Fault(name[:MAX_SHOWN], msg)
    media_type = attributes.get("datacontenttype", "")
    if isinstance(media_type, str) and not payload.kind and not syntax.is_json(media_type):
        if not payload.text.startswith('"'):
            yield Fault("data", f"Expected a string, as {media_type[:80]} is no JSON")


def _fault_of_attribute(name: str, value: Value) -> str:
    """Return what is wrong with an attribute, "" where it is right."""
    if not syntax.is_name(name):
        return "a name has lower-case letters and digits only, and isn't `data`"
    check = _CHECKS.get(name)
    if not isinstance(value, str):
        if check is not None:
            return f"Expected `str`, got `{type(value).__name__}`"
        return "" if isinstance(value, bool) else _fault_of_integer(value)
    if not syntax.is_string(value):
        return "holds a control character, half of a surrogate pair, or a noncharacter"
    return "" if check is None else check(value)


def _fault_of_integer(value: int) -> str:
    if syntax.is_integer(value):
        return ""
    return f"is beyond {syntax.MIN_INTEGER} to {syntax.MAX_INTEGER}; send it as a string"


def _specversion(value: str) -> str:
    return "" if value == SPECVERSION else f"Expected `1.0`, got `{value[:20]}`"


def _name(value: str) -> str:
    if not value:
        return "is empty"
    if len(value) > submission.NAME_LENGTH:
        return f"has {len(value)} characters; at most {submission.NAME_LENGTH} are taken"
    return ""


def _optional_name(value: str) -> str:
    return _name(value) if value else "is empty; leave it out instead"


def _source(value: str) -> str:
    if (msg := _name(value)) or syntax.is_uri_reference(value):
        return msg
    return "is no URI reference; percent-encode what can't stand in one (a space is %20)"


def _type(value: str) -> str:
    if (msg := _name(value)) or _EVENT_TYPE.fullmatch(value):
        return msg
    return "Expected names separated by single dots, e.g. `com.example.created`"


def _time(value: str) -> str:
    if syntax.is_timestamp(value):
        return ""
    return "is no time of RFC 3339; write e.g. `2026-11-25T10:00:00Z`"


def _datacontenttype(value: str) -> str:
    return "" if syntax.is_media_type(value) else "is no media type, such as `application/json`"


def _dataschema(value: str) -> str:
    return "" if syntax.is_uri(value) else "is no URI with a scheme, such as `https://…`"


_CHECKS: dict[str, Callable[[str], str]] = {
    "specversion": _specversion,
    "id": _name,
    "source": _source,
    "type": _type,
    "subject": _optional_name,
    "time": _time,
    "datacontenttype": _datacontenttype,
    "dataschema": _dataschema,
}
