"""The KEYS and ARGV of the scripts that store events; the scripts say what each one is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from ...event import NewEvent, Source, decode_envelope, encode_envelope
from ..protocol import Record, iso
from .keys import ABOUT, EVENTS, IDS, SOURCES, TYPE, TYPES

_Values = list[str | bytes | int]


def of_append(events: Sequence[NewEvent], at_us: int) -> tuple[list[str], _Values]:
    """Return KEYS and ARGV of ``append``, for events that are stored at this time."""
    created_at = iso(at_us)
    places, keys = _places(event.event_type for event in events)
    values: _Values = [at_us]
    for event in events:
        values += (places[event.event_type], event.event_type, event.source)
        values += (event.event_id, event.occurred_at or "")
        values += _envelope_halves(event, created_at)
    return keys, values


def of_restore(records: Sequence[Record], head: int, identity: str) -> tuple[list[str], _Values]:
    """Return KEYS and ARGV of ``restore``."""
    events = [decode_envelope(record.envelope) for record in records]
    places, keys = _places(event.event_type for event in events)
    values: _Values = [identity, head]
    for record, event in zip(records, events, strict=True):
        values += (places[event.event_type], event.event_type, record.id)
        values += (record.created_at_us, record.occurred_at or "", record.envelope)
        values += (event.source.id, event.source.name, event.event_id)
    return keys, values


def _places(types: Iterable[str]) -> tuple[dict[str, int], list[str]]:
    """Return the place of each type's stream in KEYS, counted from 1 as in Lua, and KEYS."""
    names = list(dict.fromkeys(types))
    keys = [EVENTS, ABOUT, SOURCES, IDS, TYPES]
    places = {name: place for place, name in enumerate(names, len(keys) + 1)}
    return places, [*keys, *(TYPE + name for name in names)]


def _envelope_halves(event: NewEvent, created_at: str) -> tuple[bytes, bytes]:
    """Return the envelope's text between the event's id and the source's id, and after that.

    Redis gives the two ids, and puts the text together.
    """
    whole = encode_envelope(event.as_event(0, created_at, Source(0, event.source)))
    name = msgspec.json.encode(event.source)
    end = b',"name":' + name + b'},"meta":' + event.meta.encode() + b"}"
    return whole.removeprefix(b'{"id":0').removesuffix(b"0" + end), end
