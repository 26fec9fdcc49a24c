"""Patterns over event types: ``*``, ``prefix.*`` or an exact type, and filters made of them."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from typing import NamedTuple

# A type has 255 characters at most; ".*" adds two.
_MAX_LENGTH = 257
#: So many patterns a request may have.
MAX_PATTERNS = 256
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


class Filter(NamedTuple):
    """What a set of patterns lets through. Equal filters compare and hash equal.

    ``everything`` stands for ``*``. A prefix keeps its dot, and is compared to the letter:
    ``user.*`` takes ``user.login``, but neither ``user`` nor ``users.x``. Prefixes are sorted, and
    none begins with another.
    """

    everything: bool
    exact: frozenset[str] = frozenset()
    prefixes: tuple[str, ...] = ()

    def matches(self, event_type: str) -> bool:
        """Return whether an event of this type is let through."""
        return self.everything or event_type in self.exact or event_type.startswith(self.prefixes)

    def narrowed(self, other: Filter) -> Filter:
        """Return the filter that lets through what both this and the other do, perhaps nothing."""
        if self.everything or other.everything:
            return other if self.everything else self
        exact = self.exact & other.exact
        exact |= {name for name in self.exact if _covered(name, other.prefixes)}
        exact |= {name for name in other.exact if _covered(name, self.prefixes)}
        # Of two prefixes the longer one, if it begins with the other.
        longer = {p for p in self.prefixes if _covered(p, other.prefixes)}
        longer |= {p for p in other.prefixes if _covered(p, self.prefixes)}
        return _widest(exact, longer)

    def patterns(self) -> list[str]:
        """Return the patterns that make this filter, in a fixed order."""
        return ["*"] if self.everything else sorted(self.exact | {p + "*" for p in self.prefixes})


EVERYTHING = Filter(True)


def parse(patterns: Iterable[str]) -> Filter:
    """Return the filter that lets through what any of the patterns matches.

    Patterns that another one covers are dropped, so that filters which mean the same are equal.

    :raises ValueError: a pattern is malformed; the message says which and how to write it.
    """
    exact: set[str] = set()
    prefixes: set[str] = set()
    everything = False
    for pattern in patterns:
        _check(pattern)
        if pattern == "*":
            everything = True
        elif pattern.endswith(".*"):
            prefixes.add(pattern[:-1])
        else:
            exact.add(pattern)
    return EVERYTHING if everything else _widest(exact, prefixes)


def _covered(text: str, prefixes: Sequence[str]) -> bool:
    """Return whether the text begins with one of the prefixes of a filter.

    Of sorted prefixes that don't begin with each other, only the last one that isn't above the
    text can be its beginning.
    """
    place = bisect_right(prefixes, text)
    return place > 0 and text.startswith(prefixes[place - 1])


def _widest(exact: Iterable[str], prefixes: Iterable[str]) -> Filter:
    """Return the filter of these, without those that another one covers."""
    widest: list[str] = []
    for prefix in sorted(prefixes):
        # What begins with a prefix comes right after it.
        if not widest or not prefix.startswith(widest[-1]):
            widest.append(prefix)
    return Filter(False, frozenset(e for e in exact if not _covered(e, widest)), tuple(widest))


def parse_query(values: Iterable[str]) -> Filter:
    """Return the filter of a request's ``event_type`` values: repeated, with commas, or both.

    Empty values are as none given, and none given lets everything through.

    :raises ValueError: a pattern is malformed, or there are more than :data:`MAX_PATTERNS`.
    """
    parts = (part.strip(" ") for value in values for part in value.split(","))
    patterns = [part for part in parts if part]
    if len(patterns) > MAX_PATTERNS:
        raise ValueError(
            f"{len(patterns)} patterns; send at most {MAX_PATTERNS}, or wider ones like `user.*`"
        )
    return parse(patterns) if patterns else EVERYTHING


def _check(pattern: str) -> None:
    stem = "" if pattern == "*" else pattern.removesuffix(".*")
    wrong = (
        "*" in stem
        or _CONTROL.search(pattern)
        or (pattern != "*" and not stem)
        or len(pattern) > _MAX_LENGTH
    )
    if wrong:
        raise ValueError(
            f"{pattern[:80]!r} is not a pattern; "
            'write "*", a prefix like "user.*", or an exact type like "user.login"'
        )
