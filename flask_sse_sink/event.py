"""The envelope: what a producer sends (:class:`NewEvent`) and what is stored (:class:`Event`).

``data`` and ``meta`` are kept as the JSON text they came as, less its white space: numbers keep
their digits, and nothing is decoded only to be encoded again.
"""

from __future__ import annotations

import codecs
import itertools
import secrets
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from functools import cached_property
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from .exceptions import Fault, InvalidEvent

NAME_LENGTH = 255
DEFAULT_SOURCE = "default"
# A refusal lists this many faults at most: a batch of thousands of wrong events is one mistake.
MAX_FAULTS = 100
# So many levels of nesting are left to who reads an event.
_DEEP = 200

# \Z, not $: a dollar sign also matches before a trailing newline.
_CONTROL = r"\x00-\x1f\x7f-\x9f"
Name = Annotated[str, Meta(min_length=1, max_length=NAME_LENGTH, pattern=rf"^[^{_CONTROL}]+\Z")]
EventType = Annotated[
    str,
    Meta(min_length=1, max_length=NAME_LENGTH, pattern=rf"^[^.{_CONTROL}]+(\.[^.{_CONTROL}]+)*\Z"),
]


class Source(Struct, frozen=True):
    """Who publishes: the log's id for it and the name it goes by."""

    id: int
    name: str


class Event(Struct, frozen=True, dict=True):
    """A stored event. The order of the fields is the order of the envelope's keys.

    ``id`` rises strictly in the order of commits; ``created_at`` is ISO 8601 in UTC, with
    ``+00:00``. (``dict=True`` lets the envelope's text be kept beside the event, and its frame.)
    """

    id: int
    event_id: str
    event_type: str
    entity_id: str | None
    created_at: str
    data: Raw
    source: Source
    meta: Raw


class NewEvent(Struct, forbid_unknown_fields=True, dict=True):
    """An event on its way into the log. Build one with :func:`new_event` or :func:`decode`."""

    event_type: EventType
    event_id: Name | None = None
    entity_id: Name | None = None
    data: Raw | UnsetType = UNSET
    source: Name | None = None
    meta: dict[str, Raw] | None = None
    occurred_at: datetime | None = None

    @cached_property
    def data_json(self) -> str:
        """Return ``data`` as one line of JSON text."""
        return "{}" if self.data is UNSET else _one_line(self.data)

    @cached_property
    def meta_json(self) -> str:
        """Return ``meta`` as one line of JSON text."""
        return _one_line(_encode(self.meta)) if self.meta else "{}"

    def stored(self, id: int, created_at: str, source: Source) -> Event:
        """Return the event that this one becomes as it is stored."""
        return Event(
            id,
            self.event_id or "",
            self.event_type,
            self.entity_id,
            created_at,
            Raw(self.data_json),
            source,
            Raw(self.meta_json),
        )


_encode = msgspec.json.Encoder().encode
_decode_stored = msgspec.json.Decoder(Event).decode
_decode_one = msgspec.json.Decoder(NewEvent).decode
_decode_any = msgspec.json.Decoder(NewEvent | list[NewEvent]).decode
_skip = msgspec.json.Decoder(Raw).decode
_split = msgspec.json.Decoder(list[Raw]).decode


def _one_line(text: bytes | Raw) -> str:
    return msgspec.json.format(bytes(text), indent=-1).decode()


def encode(event: Event) -> bytes:
    """Return the envelope as one line of UTF-8 JSON; encodes an event only once."""
    made: bytes | None = event.__dict__.get("json")
    if made is None:
        made = event.__dict__["json"] = _encode(event)
    return made


def stored(envelope: bytes) -> Event:
    """Return the event whose envelope :func:`encode` has made."""
    event = _decode_stored(envelope)
    event.__dict__["json"] = envelope
    return event


def new_event(event_type: str, data: Any = UNSET, **fields: Any) -> NewEvent:
    """Return a validated event built from Python values.

    ``data`` and ``meta`` may hold whatever msgspec encodes: the JSON types, dates, UUIDs,
    dataclasses and the like. ``fields`` are the other keys of the envelope.

    :raises InvalidEvent: a field is wrong, or a value can't be encoded as JSON.
    """
    fields["event_type"] = event_type
    if data is not UNSET:
        fields["data"] = data
    return _of_fields(fields)


def new_events(items: Iterable[object]) -> list[NewEvent]:
    """Return validated events built from mappings, each shaped like the envelope.

    :raises InvalidEvent: every item that is no event is named by its index.
    """
    if isinstance(items, (str, bytes, Mapping)) or not isinstance(items, Iterable):
        raise InvalidEvent([Fault("", f"Expected a list of events, got {_kind(items)}")])
    events: list[NewEvent] = []
    faults: list[Fault] = []
    for index, item in enumerate(items):
        if len(faults) >= MAX_FAULTS:
            break
        if not isinstance(item, Mapping):
            faults.append(Fault(f"[{index}]", f"Expected an event (a mapping), got {_kind(item)}"))
            continue
        try:
            events.append(_of_fields(dict(item)))
        except InvalidEvent as error:
            faults += [
                Fault(f"[{index}].{loc}" if loc else f"[{index}]", msg)
                for loc, msg in error.faults
            ]
    if faults:
        raise InvalidEvent(faults)
    return events


def _kind(value: object) -> str:
    return f"`{type(value).__name__}`"


def _of_fields(fields: dict[str, Any]) -> NewEvent:
    try:
        text = _encode(fields)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise InvalidEvent([Fault("", f"can't be encoded as JSON: {error}")]) from error
    return decode(text)[0]


def decode(body: bytes) -> list[NewEvent]:
    """Return the events of a JSON body that holds one event or an array of them.

    :raises InvalidEvent: not JSON, or not events; every wrong event is named by its index.
    """
    body = _text(body)
    try:
        found = _decode_any(body)
        return _finished(found if isinstance(found, list) else [found])
    except msgspec.ValidationError:
        raise _invalid(body) from None
    except (msgspec.DecodeError, RecursionError) as error:
        raise _malformed(error) from None


def decode_lines(body: bytes) -> list[NewEvent]:
    """Return the events of an NDJSON body: one JSON object a line, blank lines skipped.

    :raises InvalidEvent: a line isn't JSON or isn't an event; named by index and line number.
    """
    events: list[NewEvent] = []
    faults: list[Fault] = []
    malformed = False
    lines = ((n, line) for n, line in enumerate(_text(body).split(b"\n"), 1) if line.strip())
    for index, (number, line) in enumerate(lines):
        try:
            events += _finished([_decode_one(line)])
        except msgspec.ValidationError as error:
            faults.append(_fault(error, f"[{index}]"))
        except (msgspec.DecodeError, RecursionError) as error:
            malformed = True
            faults.append(Fault(f"[{index}]", f"line {number}: {_malformed(error)}"))
        if len(faults) == MAX_FAULTS:
            break
    if faults:
        raise InvalidEvent(faults, malformed=malformed)
    return events


def _text(body: bytes) -> bytes:
    body = body.removeprefix(codecs.BOM_UTF8)
    try:
        # Raw fields are passed over, not decoded: this is what keeps bad UTF-8 out of the log.
        body.decode()
    except UnicodeDecodeError as error:
        fault = Fault("", f"not UTF-8 at byte {error.start}; JSON is sent as UTF-8")
        raise InvalidEvent([fault], malformed=True) from None
    return body


def _finished(events: list[NewEvent]) -> list[NewEvent]:
    """Fill in what may be left out, and make the texts that the log stores.

    Made here and not in the log: what nests too deeply must not fail in the middle of a commit,
    nor where it is read again, in a thread that may be deeper in calls.

    :raises RecursionError: it does.
    """
    for event in events:
        for text in (event.data_json, event.meta_json):
            if text.count("[") + text.count("{") > _DEEP:
                _skip(b"[" * _DEEP + text.encode() + b"]" * _DEEP)
        if event.event_id is None:
            event.event_id = f"evt_{secrets.token_hex(16)}"
        if event.source is None:
            event.source = DEFAULT_SOURCE
    return events


def _invalid(body: bytes) -> InvalidEvent:
    """Return what is wrong with a body; a wrong event may stand before a place that isn't JSON."""
    try:
        _skip(body)
        return InvalidEvent(list(itertools.islice(_faults(body), MAX_FAULTS)))
    except (msgspec.DecodeError, RecursionError) as error:
        return _malformed(error)


def _faults(body: bytes) -> Iterator[Fault]:
    """Yield a fault for every event of a body that was found wrong as a whole."""
    if not body.lstrip().startswith(b"["):
        parts, label = [Raw(body)], ""
    else:
        parts, label = _split(body), "[{}]"
    for index, part in enumerate(parts):
        try:
            _decode_one(part)
        except msgspec.ValidationError as error:
            yield _fault(error, label.format(index))


def _malformed(error: Exception) -> InvalidEvent:
    if isinstance(error, RecursionError):
        return InvalidEvent([Fault("", "nested too deeply")], malformed=True)
    text = str(error).removeprefix("JSON is malformed: ")
    if "truncated" in text:
        text = "it ends too soon, or holds half of a surrogate pair"
    return InvalidEvent([Fault("", f"not JSON: {text}")], malformed=True)


def _fault(error: msgspec.ValidationError, prefix: str) -> Fault:
    """Return msgspec's "<what> - at `$.path`" as a fault, with a cure where we know one."""
    what, _, path = str(error).partition(" - at `$")
    loc = prefix + path.rstrip("`")
    if not prefix:
        loc = loc.removeprefix(".")
    if "matching regex" in what:
        what = "Expected no control characters"
        if loc.endswith("event_type"):
            what += ", and names separated by single dots, e.g. `user.login`"
    elif "unknown field" in what:
        what += "; put what is yours into `data` or `meta`"
    elif what.startswith("Expected `object | array`"):
        what = "Expected an event (an object) or an array of events"
    return Fault(loc, what)
