"""Criteria that compare to the letter: whom an event is about, and who published it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from ..event import Event

_MAX_LENGTH = 255
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")

#: The JSON Schema of a value.
VALUE_SCHEMA = {"type": "string", "maxLength": _MAX_LENGTH, "pattern": r"^[^\x00-\x1f\x7f-\x9f]*$"}


class EntityIds(NamedTuple):
    """Lets events through that are about one of these entities; those without one don't pass."""

    ids: frozenset[str]

    def matches(self, event: Event) -> bool:
        """Return whether the event is about one of the entities."""
        return event.entity_id in self.ids

    def narrowed(self, other: EntityIds) -> EntityIds | None:
        """Return the criterion for events that pass both, None where no event can."""
        both = self.ids & other.ids
        return EntityIds(both) if both else None

    def values(self) -> list[str]:
        """Return the ids, sorted."""
        return sorted(self.ids)


class Sources(NamedTuple):
    """Lets events through that one of these sources published."""

    names: frozenset[str]

    def matches(self, event: Event) -> bool:
        """Return whether one of the sources published the event."""
        return event.source.name in self.names

    def narrowed(self, other: Sources) -> Sources | None:
        """Return the criterion for events that pass both, None where no event can."""
        both = self.names & other.names
        return Sources(both) if both else None

    def values(self) -> list[str]:
        """Return the names, sorted."""
        return sorted(self.names)


def split_unless_repeated(values: Sequence[str]) -> list[str]:
    """Return the values of a parameter that may hold commas, without empty ones.

    A value that is given once is split at its commas. If there are several, each is one whole
    value, so that values with commas can be sent by giving the parameter twice.
    """
    parts = values[0].split(",") if len(values) == 1 else values
    return [part for part in parts if part]


def repeated_to_stay_whole(values: Sequence[str]) -> list[str]:
    """Return the values as :func:`split_unless_repeated` has to get them to return them whole."""
    return [*values, *values] if len(values) == 1 and "," in values[0] else list(values)


def parse_entity_ids(values: Sequence[str]) -> EntityIds:
    """Return the criterion of these entities.

    :raises ValueError: a value can't be an entity's id.
    """
    return EntityIds(_checked(values, "an entity's id"))


def parse_sources(values: Sequence[str]) -> Sources:
    """Return the criterion of these sources.

    :raises ValueError: a value can't be a source's name.
    """
    return Sources(_checked(values, "a source's name"))


def _checked(values: Sequence[str], what: str) -> frozenset[str]:
    for value in values:
        if len(value) > _MAX_LENGTH or _CONTROL.search(value):
            raise ValueError(
                f"{value[:80]!r} can't be {what}; "
                f"send at most {_MAX_LENGTH} characters, none of them a control character"
            )
    return frozenset(values)
