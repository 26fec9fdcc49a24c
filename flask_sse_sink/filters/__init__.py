"""Filters: which events a stream gets.

A :class:`Criterion` looks at one property of an event. Each kind of criterion has a name, which is
its parameter in a stream's query, and is registered in :data:`CRITERIA`. To add a kind, write a
class with the methods of :class:`Criterion`, and register how a query's values make one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from ..event import Event
from ..registry import Registry
from .exact import VALUE_SCHEMA, parse_entity_ids, parse_sources, split_unless_repeated
from .patterns import ALL_TYPES, NO_TYPES, PATTERN_SCHEMA, TypePatterns, parse_patterns

#: The most values that a query may have, over all criteria.
MAX_VALUES = 256

EVENT_TYPE = "event_type"
ENTITY_ID = "entity_id"
SOURCE = "source"


class Criterion(Protocol):
    """What a filter asks of one property of an event.

    Criteria never change, and are hashable; two that let the same events through should be equal,
    as streams with equal filters share their work.
    """

    def matches(self, event: Event, /) -> bool:
        """Return whether the event is let through."""

    def narrowed(self, other: Any, /) -> Criterion | None:
        """Return the criterion for events that pass both, None where no event can.

        ``other`` is of the same kind.
        """

    def values(self) -> list[str]:
        """Return values of the query that mean this criterion."""


class CriterionKind(NamedTuple):
    """How a query's values make a criterion of one kind.

    ``split`` returns the single values that the parameter's values hold, and ``make`` the
    criterion of one or more single values; it raises ValueError, whose message tells the cure.
    ``about`` describes the parameter, ``schema`` is the JSON Schema of a single value, and
    ``example`` a value.
    """

    split: Callable[[Sequence[str]], list[str]]
    make: Callable[[list[str]], Criterion]
    about: str = ""
    schema: Mapping[str, Any] = {"type": "string"}
    example: str = ""


def split_at_commas(values: Sequence[str]) -> list[str]:
    """Return what stands between commas in any of the values, without spaces and empty ones."""
    parts = (part.strip(" ") for value in values for part in value.split(","))
    return [part for part in parts if part]


_WHOLE = "Given once, it is split at commas; given more often, each value is whole."

#: Every kind of criterion by its parameter's name.
CRITERIA: Registry[CriterionKind] = Registry("criterion")
CRITERIA.register(
    EVENT_TYPE,
    CriterionKind(
        split_at_commas,
        parse_patterns,
        "The types of events: `*`, `user.*` (each type that begins with exactly `user.`), or an "
        "exact type. Several are alternatives.",
        PATTERN_SCHEMA,
        "order.*",
    ),
)
CRITERIA.register(
    ENTITY_ID,
    CriterionKind(
        split_unless_repeated,
        parse_entity_ids,
        f"Whom or what the events are about, to the letter. {_WHOLE}",
        VALUE_SCHEMA,
        "order_7",
    ),
)
CRITERIA.register(
    SOURCE,
    CriterionKind(
        split_unless_repeated,
        parse_sources,
        f"Who published the events, to the letter. {_WHOLE}",
        VALUE_SCHEMA,
        "shop",
    ),
)


class MalformedQuery(ValueError):
    """A query's values for ``criterion`` can't be parsed; the message says why."""

    def __init__(self, criterion: str, message: str) -> None:
        super().__init__(message)
        self.criterion = criterion


class Selection(NamedTuple):
    """Criteria that an event must meet all of, sorted by name, one of each kind at most."""

    criteria: tuple[tuple[str, Criterion], ...] = ()

    def matches(self, event: Event) -> bool:
        """Return whether the event meets every criterion."""
        for _, criterion in self.criteria:
            if not criterion.matches(event):
                return False
        return True

    def get(self, name: str) -> Any:
        """Return the criterion of this name, None where there is none."""
        for own, criterion in self.criteria:
            if own == name:
                return criterion
        return None

    def narrowed(self, other: Selection) -> Selection | None:
        """Return the selection of events that pass both, None where no event can."""
        merged = dict(self.criteria)
        for name, criterion in other.criteria:
            if name in merged:
                both = merged[name].narrowed(criterion)
                if both is None:
                    return None
                merged[name] = both
            else:
                merged[name] = criterion
        return selection(merged)


def selection(criteria: Mapping[str, Criterion]) -> Selection:
    """Return the selection of these criteria."""
    return Selection(tuple(sorted(criteria.items(), key=lambda item: item[0])))


class Filter(NamedTuple):
    """Alternatives: an event passes that is in one of the selections."""

    selections: tuple[Selection, ...]

    @property
    def everything(self) -> bool:
        """Return whether every event passes."""
        return self == EVERYTHING

    @property
    def types(self) -> TypePatterns:
        """Return patterns for the types of all events that pass."""
        types = NO_TYPES
        for each in self.selections:
            types = types.union(each.get(EVENT_TYPE) or ALL_TYPES)
        return types

    @property
    def is_of_types(self) -> bool:
        """Return whether an event's type alone decides if it passes."""
        return all(name == EVENT_TYPE for each in self.selections for name, _ in each.criteria)

    def matches(self, event: Event) -> bool:
        """Return whether the event passes."""
        for each in self.selections:
            if each.matches(event):
                return True
        return False

    def narrowed(self, other: Filter) -> Filter:
        """Return the filter for events that pass both, perhaps none."""
        if other.everything or self.everything:
            return other if self.everything else self
        pairs = (one.narrowed(two) for one in self.selections for two in other.selections)
        return Filter(tuple(dict.fromkeys(both for both in pairs if both is not None)))

    def query(self) -> str:
        """Return the filter as a query has it, for people to read; ``event_type`` always stands.

        Alternatives are separated by `` or ``.
        """
        return " or ".join(_query(each) for each in self.selections) or "nothing"


EVERYTHING = Filter((Selection(),))


def _query(selection: Selection) -> str:
    criteria: dict[str, Criterion] = {EVENT_TYPE: ALL_TYPES, **dict(selection.criteria)}
    return "&".join(f"{name}={','.join(each.values())}" for name, each in criteria.items())


def of_types(types: TypePatterns) -> Filter:
    """Return the filter that lets events of these types through."""
    return EVERYTHING if types.everything else Filter((Selection(((EVENT_TYPE, types),)),))


def parse(patterns: Iterable[str]) -> Filter:
    """Return the filter for events whose type any of the patterns matches.

    :raises ValueError: a pattern is malformed; the message names it and says how to write one.
    """
    return of_types(parse_patterns(patterns))


def parse_query(query: Mapping[str, Sequence[str]]) -> Filter:
    """Return the filter of a query: all values of each parameter, in the order sent.

    An event must meet every criterion. Parameters that are no criteria are passed over; empty
    values are as none.

    :raises MalformedQuery: values can't be parsed, or there are more than :data:`MAX_VALUES`.
    """
    criteria: dict[str, Criterion] = {}
    count = 0
    for name, kind in CRITERIA.items():
        values = kind.split(query.get(name, ()))
        if not values:
            continue
        count += len(values)
        if count > MAX_VALUES:
            noun = "patterns" if name == EVENT_TYPE else "values"
            raise MalformedQuery(
                name,
                f"{count} {noun}; send at most {MAX_VALUES}, or wider ones like `user.*`",
            )
        try:
            criterion = kind.make(values)
        except ValueError as error:
            raise MalformedQuery(name, str(error)) from None
        if criterion != ALL_TYPES:
            criteria[name] = criterion
    return Filter((selection(criteria),)) if criteria else EVERYTHING
