"""Which entries of a log's indexes give the events that a filter lets through.

Each log indexes its events by entity, by type and by source. A filter is *narrow* if few keys of
these indexes cover all its events: the log merges the keys' ids. For any other filter the log
reads through all events and leaves out those that don't match.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from ..filters import ENTITY_ID, EVENT_TYPE, SOURCE, Filter, Selection
from ..filters.patterns import TypePatterns

#: A filter of more event types than this isn't narrow by its types.
NARROW_TYPES = 64
#: A filter for which more keys than this are merged isn't narrow.
NARROW_KEYS = 256


class IndexKey(NamedTuple):
    """One key of the index of a criterion's property, e.g. one entity."""

    criterion: str
    value: str


class Merge(NamedTuple):
    """The keys that together have every event that a narrow filter lets through.

    ``is_exact`` says that they have no other events: none of them has to be compared.
    """

    keys: tuple[IndexKey, ...]
    is_exact: bool


class LogIndexes(Protocol):
    """What a log tells of its indexes."""

    def types(self, prefix: str, most: int) -> Sequence[str]:
        """Return up to ``most`` event types in the log that begin with the prefix."""

    def has_narrow(self, sources: frozenset[str]) -> bool:
        """Return whether the index is quicker for these sources than reading all events."""


def merge_of(filter: Filter, indexes: LogIndexes) -> Merge | None:
    """Return the keys to merge for a filter, None if it isn't narrow.

    Each selection is covered by its entities; else by its types, if they are few; else by its
    sources.
    """
    keys: dict[IndexKey, None] = {}
    for selection in filter.selections:
        covering = _covering(selection, indexes)
        if covering is None:
            return None
        keys.update(dict.fromkeys(covering))
        if len(keys) > NARROW_KEYS:
            return None
    is_exact = all(len(selection.criteria) == 1 for selection in filter.selections)
    return Merge(tuple(keys), is_exact)


def _covering(selection: Selection, indexes: LogIndexes) -> list[IndexKey] | None:
    entities = selection.get(ENTITY_ID)
    if entities is not None:
        return [IndexKey(ENTITY_ID, id) for id in sorted(entities.ids)]
    patterns = selection.get(EVENT_TYPE)
    if patterns is not None and (types := _few_types(patterns, indexes)) is not None:
        return [IndexKey(EVENT_TYPE, name) for name in types]
    sources = selection.get(SOURCE)
    if sources is not None and indexes.has_narrow(sources.names):
        return [IndexKey(SOURCE, name) for name in sorted(sources.names)]
    return None


def _few_types(patterns: TypePatterns, indexes: LogIndexes) -> list[str] | None:
    """Return the event types in the log that match, None if they are many."""
    if patterns.everything:
        return None
    types = sorted(patterns.exact)
    for prefix in patterns.prefixes:
        if len(types) <= NARROW_TYPES:
            types += indexes.types(prefix, NARROW_TYPES + 1)
    return types if len(types) <= NARROW_TYPES else None
