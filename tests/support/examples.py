"""How many examples of a property are tried."""

from __future__ import annotations

from hypothesis import settings

_DEFAULT = 100


def at_most(examples: int) -> int:
    """Return so many examples; with a profile of few, as `make quick` has, only those few."""
    profile = settings().max_examples
    return min(examples, profile) if profile < _DEFAULT else examples
