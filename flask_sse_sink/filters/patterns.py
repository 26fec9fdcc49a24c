"""Patterns over event types: ``*``, ``prefix.*`` or an exact type."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ..event import Event

# A type has 255 characters at most; ".*" adds two.
_MAX_LENGTH = 257
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")

#: The JSON Schema of a pattern.
PATTERN_SCHEMA = {
    "type": "string",
    "maxLength": _MAX_LENGTH,
    "pattern": r"^(\*|[^ *,\x00-\x1f\x7f-\x9f][^*,\x00-\x1f\x7f-\x9f]*(\.\*)?)$",
}


class TypePatterns(NamedTuple):
    """A criterion over event types. Sets of patterns that mean the same are equal.

    ``everything`` stands for ``*``. A prefix keeps its dot and is compared to the letter:
    ``user.*`` matches ``user.login``, but neither ``user`` nor ``users.x``. Prefixes are sorted,
    and none begins with another one.
    """

    everything: bool
    exact: frozenset[str] = frozenset()
    prefixes: tuple[str, ...] = ()

    def matches(self, event: Event) -> bool:
        """Return whether the event's type is let through."""
        return self.matches_type(event.event_type)

    def matches_type(self, event_type: str) -> bool:
        """Return whether this event type is let through."""
        return self.everything or event_type in self.exact or event_type.startswith(self.prefixes)

    def narrowed(self, other: TypePatterns) -> TypePatterns | None:
        """Return the patterns for types that pass both, None where no type can."""
        if self.everything or other.everything:
            return other if self.everything else self
        exact = self.exact & other.exact
        exact |= {name for name in self.exact if _begins_with_one(name, other.prefixes)}
        exact |= {name for name in other.exact if _begins_with_one(name, self.prefixes)}
        # Of two prefixes the longer one, if it begins with the other.
        longer = {p for p in self.prefixes if _begins_with_one(p, other.prefixes)}
        longer |= {p for p in other.prefixes if _begins_with_one(p, self.prefixes)}
        narrowed = without_covered(exact, longer)
        return narrowed if narrowed.exact or narrowed.prefixes else None

    def union(self, other: TypePatterns) -> TypePatterns:
        """Return the patterns for types that pass one of the two or both."""
        if self.everything or other.everything:
            return ALL_TYPES
        return without_covered(self.exact | other.exact, {*self.prefixes, *other.prefixes})

    def values(self) -> list[str]:
        """Return the patterns as text, sorted."""
        return ["*"] if self.everything else sorted(self.exact | {p + "*" for p in self.prefixes})


ALL_TYPES = TypePatterns(True)
NO_TYPES = TypePatterns(False)


def parse_patterns(patterns: Iterable[str]) -> TypePatterns:
    """Return the criterion that lets through what any of the patterns matches.

    A pattern that another one covers is left out, so that equal sets compare equal.

    :raises ValueError: a pattern is malformed; the message names it and says how to write one.
    """
    exact: set[str] = set()
    prefixes: set[str] = set()
    everything = False
    for pattern in patterns:
        _refuse_malformed(pattern)
        if pattern == "*":
            everything = True
        elif pattern.endswith(".*"):
            prefixes.add(pattern[:-1])
        else:
            exact.add(pattern)
    return ALL_TYPES if everything else without_covered(exact, prefixes)


def without_covered(exact: Iterable[str], prefixes: Iterable[str]) -> TypePatterns:
    """Return the patterns of these names and prefixes, less those that another prefix covers."""
    widest: list[str] = []
    for prefix in sorted(prefixes):
        # In sorted order, what begins with a prefix comes right after it.
        if not widest or not prefix.startswith(widest[-1]):
            widest.append(prefix)
    names = frozenset(name for name in exact if not _begins_with_one(name, widest))
    return TypePatterns(False, names, tuple(widest))


def _begins_with_one(text: str, prefixes: Sequence[str]) -> bool:
    """Return whether the text begins with one of the sorted prefixes.

    None of them begins with another one, so that only the last one that isn't above the text in
    sorted order can be its beginning.
    """
    place = bisect_right(prefixes, text)
    return place > 0 and text.startswith(prefixes[place - 1])


def _refuse_malformed(pattern: str) -> None:
    stem = "" if pattern == "*" else pattern.removesuffix(".*")
    is_malformed = (
        "*" in stem
        or _CONTROL.search(pattern)
        or (pattern != "*" and not stem)
        or len(pattern) > _MAX_LENGTH
    )
    if is_malformed:
        raise ValueError(
            f"{pattern[:80]!r} is not a pattern; "
            'write "*", a prefix like "user.*", or an exact type like "user.login"'
        )
