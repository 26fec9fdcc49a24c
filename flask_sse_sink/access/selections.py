"""Makes selections of events from the names and values that grants are written with. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..filters import CRITERIA, Criterion, Selection, selection
from ..filters.patterns import ALL_TYPES


def selection_of(criteria: Iterable[tuple[str, Sequence[str]]]) -> Selection:
    """Return the selection of these criteria: the name of each with one value or more.

    :raises ValueError: a value can't be one of its criterion.
    """
    chosen: dict[str, Criterion] = {}
    for name, values in criteria:
        criterion = CRITERIA[name].make(list(values))
        if criterion != ALL_TYPES:
            chosen[name] = criterion
    return selection(chosen)
