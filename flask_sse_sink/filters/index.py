"""Finds the filters that let an event through without trying all of them."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

from ..event import Event
from . import ENTITY_ID, EVENT_TYPE, SOURCE, Filter, Selection

T = TypeVar("T", bound=Hashable)

_KEYED = (ENTITY_ID, EVENT_TYPE, SOURCE)


class _Entry(Generic[T]):
    """An item, and a selection of its filter that is still to be tried; None where none is."""

    __slots__ = ("item", "selection")

    def __init__(self, item: T, selection: Selection | None) -> None:
        self.item = item
        self.selection = selection


# Under one key; a dict, so that an entry is removed quickly from a thousand.
_Bucket = dict[_Entry[T], None]
_Place = tuple[dict[str, _Bucket[T]], str, _Entry[T]]


class FilterIndex(Generic[T]):
    """Items with a filter each, found by the events that their filters let through.

    A selection of a filter is kept under one of its criteria: under each of its entities, else
    under each of its exact types and prefixes, else under each of its sources. An event is looked
    up under its own entity, type, beginnings of the type, and source. So the cost of an event
    doesn't depend on how many items there are for other entities, types and sources. A selection
    without any of these criteria is tried for each event.

    Not safe for use by several threads at once.
    """

    def __init__(self) -> None:
        self._by_entity: dict[str, _Bucket[T]] = {}
        self._by_type: dict[str, _Bucket[T]] = {}
        self._by_prefix: dict[str, _Bucket[T]] = {}
        self._by_source: dict[str, _Bucket[T]] = {}
        self._others: dict[str, _Bucket[T]] = {}
        self._places: dict[T, list[_Place[T]]] = {}

    def add(self, item: T, filter: Filter) -> None:
        """Add an item, which must not be in the index."""
        places: list[_Place[T]] = []
        for selection in filter.selections:
            keys = list(self._keys(selection))
            # Where the key's criterion is the only one, nothing is left to try.
            keyed = any(name in _KEYED for name, _ in selection.criteria)
            entry = _Entry(item, selection if len(selection.criteria) > keyed else None)
            for table, key in keys:
                table.setdefault(key, {})[entry] = None
                places.append((table, key, entry))
        self._places[item] = places

    def discard(self, item: T) -> None:
        """Remove an item; nothing happens where it isn't in the index."""
        for table, key, entry in self._places.pop(item, ()):
            bucket = table[key]
            del bucket[entry]
            if not bucket:
                del table[key]

    def matching(self, event: Event) -> list[T]:
        """Return the items whose filters let the event through, each once."""
        items: dict[T, None] = {}
        for bucket in self._buckets(event):
            for entry in bucket:
                if entry.selection is None or entry.selection.matches(event):
                    items[entry.item] = None
        return list(items)

    def _keys(self, selection: Selection) -> Iterator[tuple[dict[str, _Bucket[T]], str]]:
        if (entities := selection.get(ENTITY_ID)) is not None:
            yield from ((self._by_entity, id) for id in entities.ids)
        elif (types := selection.get(EVENT_TYPE)) is not None:
            yield from ((self._by_type, name) for name in types.exact)
            yield from ((self._by_prefix, prefix) for prefix in types.prefixes)
        elif (sources := selection.get(SOURCE)) is not None:
            yield from ((self._by_source, name) for name in sources.names)
        else:
            yield self._others, ""

    def _buckets(self, event: Event) -> list[_Bucket[T]]:
        buckets = [self._others.get("")]
        if self._by_entity and event.entity_id is not None:
            buckets.append(self._by_entity.get(event.entity_id))
        event_type = event.event_type
        if self._by_type:
            buckets.append(self._by_type.get(event_type))
        if self._by_prefix:
            # Prefixes of patterns end in a dot.
            dot = event_type.find(".")
            while dot >= 0:
                buckets.append(self._by_prefix.get(event_type[: dot + 1]))
                dot = event_type.find(".", dot + 1)
        if self._by_source:
            buckets.append(self._by_source.get(event.source.name))
        return [bucket for bucket in buckets if bucket]
