"""The KEYS and ARGV of the scripts; the scripts say what each one is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from ...event import NewEvent, Source, decode_envelope, encode_envelope
from ...filters import ENTITY_ID, EVENT_TYPE, SOURCE
from ..indexes import Merge
from ..protocol import PAGE_BYTES, Record, iso
from . import keys
from .keys import ABOUT, ENTITY, EVENTS, IDS, SOURCES, TYPE, TYPES, id_of

_Values = list[str | bytes | int]

# In the order in which `replay` takes the indexes.
_INDEXES = {EVENT_TYPE: TYPE, SOURCE: keys.SOURCE, ENTITY_ID: ENTITY}


class _Places:
    """KEYS, in which an index gets a place as soon as it is needed, counted from 1 as in Lua."""

    def __init__(self, *first: str) -> None:
        self.keys = list(first)
        self._places: dict[str, int] = {}

    def of(self, event_type: str, source: str, entity_id: str | None) -> tuple[int, int, int]:
        """Return the places of the three indexes that have an event, 0 for none by entity."""
        by_entity = 0 if entity_id is None else self._place(ENTITY + entity_id)
        return self._place(TYPE + event_type), self._place(keys.SOURCE + source), by_entity

    def _place(self, key: str) -> int:
        place = self._places.get(key)
        if place is None:
            self.keys.append(key)
            place = self._places[key] = len(self.keys)
        return place


def of_append(events: Sequence[NewEvent], at_us: int) -> tuple[list[str], _Values]:
    """Return KEYS and ARGV of ``append``, for events that are stored at this time."""
    created_at = iso(at_us)
    places = _Places(EVENTS, ABOUT, SOURCES, IDS, TYPES)
    values: _Values = [at_us]
    for event in events:
        values += places.of(event.event_type, event.source, event.entity_id)
        values += (event.event_type, event.source, event.event_id, event.occurred_at or "")
        values += _envelope_halves(event, created_at)
    return places.keys, values


def of_restore(records: Sequence[Record], head: int, identity: str) -> tuple[list[str], _Values]:
    """Return KEYS and ARGV of ``restore``."""
    places = _Places(EVENTS, ABOUT, SOURCES, IDS, TYPES)
    values: _Values = [identity, head]
    for record in records:
        event = decode_envelope(record.envelope)
        values += places.of(event.event_type, event.source.name, event.entity_id)
        values += (event.event_type, record.id)
        values += (record.created_at_us, record.occurred_at or "", record.envelope)
        values += (event.source.id, event.source.name, event.event_id)
    return places.keys, values


def of_replay(
    after: int, until: int | None, limit: int, merge: Merge | None
) -> tuple[list[str], _Values]:
    """Return KEYS and ARGV of ``replay``, for all events if there are no keys to merge."""
    values: _Values = [after, "+" if until is None else until, limit, PAGE_BYTES]
    if merge is None:
        return [EVENTS, ABOUT], [*values, -1, -1]
    names: dict[str, list[str]] = {criterion: [] for criterion in _INDEXES}
    for key in merge.keys:
        names[key.criterion].append(_INDEXES[key.criterion] + key.value)
    indexes = [index for group in names.values() for index in group]
    return [EVENTS, ABOUT, *indexes], [*values, len(names[EVENT_TYPE]), len(names[SOURCE])]


def of_prune(entries: Sequence[tuple[bytes, dict[bytes, bytes]]]) -> tuple[list[str], _Values]:
    """Return KEYS and ARGV of ``prune``, for the oldest entries of the stream of events."""
    events = [decode_envelope(fields[b"e"]) for _, fields in entries]
    types = _distinct(event.event_type for event in events)
    sources = _distinct(event.source.name for event in events)
    entities = _distinct(event.entity_id for event in events if event.entity_id is not None)
    indexes = [TYPE + name for name in types]
    indexes += [keys.SOURCE + name for name in sources]
    indexes += [ENTITY + id for id in entities]
    values: _Values = [id_of(entries[-1][0]), len(types), len(sources), len(entities), *types]
    for entry, fields in entries:
        values += (fields[b"k"], id_of(entry))
    return [EVENTS, IDS, TYPES, *indexes], values


def _distinct(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))


def _envelope_halves(event: NewEvent, created_at: str) -> tuple[bytes, bytes]:
    """Return the envelope's text between the event's id and the source's id, and after that.

    Redis gives the two ids, and puts the text together.
    """
    whole = encode_envelope(event.as_event(0, created_at, Source(0, event.source)))
    name = msgspec.json.encode(event.source)
    end = b',"name":' + name + b'},"meta":' + event.meta.encode() + b"}"
    return whole.removeprefix(b'{"id":0').removesuffix(b"0" + end), end
