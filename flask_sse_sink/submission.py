"""What a producer sends: checked and completed, it becomes new events.

``data`` and ``meta`` are kept as the JSON text they came as, without its white space.
"""

from __future__ import annotations

import codecs
import itertools
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from .event import NewEvent
from .exceptions import Fault, InvalidEvent
from .ids import new_ordered_id

NAME_LENGTH = 255
DEFAULT_SOURCE = "default"
# The most faults that one refusal lists: a batch of thousands of wrong events is one mistake.
MAX_FAULTS = 100
# Levels of nesting that stay free for the reader of an event, who may wrap it in others.
_RESERVED_DEPTH = 200

# \Z, not $: a dollar sign also matches before a trailing newline.
_CONTROL = r"\x00-\x1f\x7f-\x9f"
Name = Annotated[str, Meta(min_length=1, max_length=NAME_LENGTH, pattern=rf"^[^{_CONTROL}]+\Z")]
EventType = Annotated[
    str,
    Meta(min_length=1, max_length=NAME_LENGTH, pattern=rf"^[^.{_CONTROL}]+(\.[^.{_CONTROL}]+)*\Z"),
]


class Submission(Struct, forbid_unknown_fields=True):
    """An event as a producer sends it: the fields that are taken, and their types."""

    event_type: Annotated[EventType, Meta(description="names that are separated by dots")]
    event_id: Annotated[
        Name | None,
        Meta(description="with the source, it makes a repeat known; one is made if it is missing"),
    ] = None
    entity_id: Annotated[Name | None, Meta(description="whom or what the event is about")] = None
    data: Annotated[Raw | UnsetType, Meta(description="any JSON; `{}` if it is missing")] = UNSET
    source: Annotated[
        Name | None,
        Meta(description="who publishes; `default`, or what the token's grant says"),
    ] = None
    meta: dict[str, Raw] | None = None
    occurred_at: (
        Annotated[
            datetime, Meta(description="ISO 8601", extra_json_schema={"format": "date-time"})
        ]
        | None
    ) = None


_encode = msgspec.json.Encoder().encode
_decode_one = msgspec.json.Decoder(Submission).decode
_decode_any = msgspec.json.Decoder(Submission | list[Submission]).decode
_skip = msgspec.json.Decoder(Raw).decode
_split = msgspec.json.Decoder(list[Raw]).decode


def json_text(text: bytes | Raw) -> str:
    """Return JSON as one line of text, without its white space.

    Text that nests too deeply must neither fail in the middle of a commit, nor where it is read
    again, in a thread that may be deeper in calls. So its depth is checked here.

    :raises RecursionError: it nests too deeply.
    """
    line = msgspec.json.format(bytes(text), indent=-1).decode()
    if line.count("[") + line.count("{") > _RESERVED_DEPTH:
        _skip(b"[" * _RESERVED_DEPTH + line.encode() + b"]" * _RESERVED_DEPTH)
    return line


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
    """Return validated events built from mappings, whose keys are the envelope's.

    :raises InvalidEvent: an item isn't an event; every such item is named by its index.
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


def decode(body: bytes, source: str = DEFAULT_SOURCE) -> list[NewEvent]:
    """Return the events of a JSON body that holds one event or an array of them.

    ``source`` is that of events which name none.

    :raises InvalidEvent: not JSON, or not events; every wrong event is named by its index.
    """
    body = as_text(body)
    try:
        submitted = _decode_any(body)
        if isinstance(submitted, list):
            return [_completed(each, source) for each in submitted]
        return [_completed(submitted, source)]
    except msgspec.ValidationError:
        raise _invalid(body) from None
    except (msgspec.DecodeError, RecursionError) as error:
        raise not_json(error) from None


def decode_lines(body: bytes, source: str = DEFAULT_SOURCE) -> list[NewEvent]:
    """Return the events of an NDJSON body: one JSON object a line, blank lines skipped.

    ``source`` is that of events which name none.

    :raises InvalidEvent: a line isn't JSON or isn't an event; named by index and line number.
    """
    events: list[NewEvent] = []
    faults: list[Fault] = []
    malformed = False
    lines = ((n, line) for n, line in enumerate(as_text(body).split(b"\n"), 1) if line.strip())
    for index, (number, line) in enumerate(lines):
        try:
            events.append(_completed(_decode_one(line), source))
        except msgspec.ValidationError as error:
            faults.append(_fault(error, f"[{index}]"))
        except (msgspec.DecodeError, RecursionError) as error:
            malformed = True
            faults.append(Fault(f"[{index}]", f"line {number}: {not_json(error)}"))
        if len(faults) == MAX_FAULTS:
            break
    if faults:
        raise InvalidEvent(faults, malformed=malformed)
    return events


def as_text(body: bytes) -> bytes:
    """Return a body without the byte order mark that it may begin with.

    :raises InvalidEvent: it isn't UTF-8.
    """
    body = body.removeprefix(codecs.BOM_UTF8)
    try:
        # msgspec doesn't decode Raw fields: without this, bad UTF-8 would get into the log.
        body.decode()
    except UnicodeDecodeError as error:
        fault = Fault("", f"not UTF-8 at byte {error.start}; JSON is sent as UTF-8")
        raise InvalidEvent([fault], malformed=True) from None
    return body


def _completed(submission: Submission, source: str) -> NewEvent:
    """Return the event with a value for each field that may be left out.

    :raises RecursionError: ``data`` or ``meta`` nests too deeply.
    """
    data = "{}" if submission.data is UNSET else json_text(submission.data)
    meta = json_text(_encode(submission.meta)) if submission.meta else "{}"
    occurred_at = submission.occurred_at
    return NewEvent(
        submission.event_type,
        submission.event_id or f"evt_{new_ordered_id()}",
        submission.entity_id,
        data,
        submission.source or source,
        meta,
        occurred_at.isoformat() if occurred_at else None,
    )


def _invalid(body: bytes) -> InvalidEvent:
    """Return the error for a body that holds a wrong event, and perhaps isn't JSON after it."""
    try:
        _skip(body)
        return InvalidEvent(list(itertools.islice(_faults(body), MAX_FAULTS)))
    except (msgspec.DecodeError, RecursionError) as error:
        return not_json(error)


def _faults(body: bytes) -> Iterator[Fault]:
    """Yield a fault for every wrong event of a body, which is JSON."""
    if not body.lstrip().startswith(b"["):
        parts, label = [Raw(body)], ""
    else:
        parts, label = _split(body), "[{}]"
    for index, part in enumerate(parts):
        try:
            _decode_one(part)
        except msgspec.ValidationError as error:
            yield _fault(error, label.format(index))


def not_json(error: Exception) -> InvalidEvent:
    """Return the error for a body that isn't JSON, from what decoding it raised."""
    if isinstance(error, RecursionError):
        return InvalidEvent([Fault("", "nested too deeply")], malformed=True)
    text = str(error).removeprefix("JSON is malformed: ")
    if "truncated" in text:
        text = "it ends too soon, or holds half of a surrogate pair"
    return InvalidEvent([Fault("", f"not JSON: {text}")], malformed=True)


def _fault(error: msgspec.ValidationError, prefix: str) -> Fault:
    """Return msgspec's "<what> - at `$.path`" as a fault, with a cure where one is known."""
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
