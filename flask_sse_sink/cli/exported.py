"""Events as ``export`` writes them and ``import`` reads them: one JSON object a line.

A line is the event's envelope, and ``occurred_at`` behind it where the producer said so.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime

import msgspec
from msgspec import Raw, Struct

from .. import submission
from ..event import NewEvent, Source, encode_envelope
from ..exceptions import Fault, InvalidEvent
from ..log import Record
from ..log.protocol import iso

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_encode = msgspec.json.Encoder().encode


class _Line(Struct, forbid_unknown_fields=True):
    """A line of an export."""

    id: int
    event_id: str
    event_type: str
    entity_id: str | None
    created_at: datetime
    data: Raw
    source: Source
    meta: Raw
    occurred_at: str | None = None


_decode = msgspec.json.Decoder(_Line).decode


def write(record: Record) -> bytes:
    """Return the line of a stored event."""
    if record.occurred_at is None:
        return record.envelope + b"\n"
    return record.envelope[:-1] + b',"occurred_at":' + _encode(record.occurred_at) + b"}\n"


def read(text: bytes) -> tuple[Record, Source]:
    """Return the stored event of a line, with the id that it had, and its source.

    :raises InvalidEvent: it is no event that was exported.
    """
    line = _read(text)
    if line.id < 1 or line.source.id < 1:
        raise InvalidEvent([Fault("id", "Expected a number from 1 on")])
    if line.created_at.tzinfo is None:
        raise InvalidEvent([Fault("created_at", "Expected a time with its time zone")])
    event = _new_event(line, line.occurred_at)
    at_us = (line.created_at - _EPOCH) // (datetime.resolution)
    envelope = encode_envelope(event.as_event(line.id, iso(at_us), line.source))
    return Record(line.id, at_us, event.occurred_at, envelope), line.source


def read_as_new(text: bytes) -> NewEvent:
    """Return the event of a line, to be stored under a new id; or an event that a producer sends.

    It occurred when it was stored first, unless it says otherwise.

    :raises InvalidEvent: it is neither.
    """
    try:
        keys = msgspec.json.decode(text, type=dict[str, Raw]).keys()
    except (msgspec.MsgspecError, RecursionError):
        keys = {}.keys()
    if "id" not in keys:
        if text.lstrip().startswith(b"["):
            raise InvalidEvent([Fault("", "Expected an event (an object), got an array")])
        return submission.decode(text, source="")[0]
    line = _read(text)
    return _new_event(line, line.occurred_at or line.created_at.isoformat())


def _read(text: bytes) -> _Line:
    try:
        text.decode()
        return _decode(text)
    except msgspec.ValidationError as error:
        what, _, path = str(error).partition(" - at `$.")
        raise InvalidEvent([Fault(path.rstrip("`"), what)]) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidEvent([Fault("", f"not JSON: {error}")], malformed=True) from None


def _new_event(line: _Line, occurred_at: str | None) -> NewEvent:
    """Return the event, checked as those of producers are."""
    fields: dict[str, object] = {
        "event_type": line.event_type,
        "event_id": line.event_id,
        "data": line.data,
        "source": line.source.name,
        "meta": line.meta,
    }
    if line.entity_id is not None:
        fields["entity_id"] = line.entity_id
    if occurred_at is not None:
        fields["occurred_at"] = occurred_at
    return submission.decode(_encode(fields))[0]


def identity_of(first: Record) -> str:
    """Return the identity of a log that begins with this event: the same file has the same."""
    return hashlib.sha256(first.envelope).hexdigest()[:16]
