"""Selections of events as JSON has them, such as ``{"event_type": ["order.*"]}``."""

from __future__ import annotations

from collections.abc import Mapping

from ..filters import CRITERIA, Criterion, Selection, selection


def to_json(events: Selection) -> dict[str, list[str]]:
    """Return the selection as a JSON object: each criterion's name and its values."""
    return {name: criterion.values() for name, criterion in events.criteria}


def from_json(value: object) -> Selection:
    """Return the selection of a JSON object; each criterion has one value or a list of them.

    A criterion that is missing lets every event through, one with an empty list lets none through.

    :raises ValueError: it isn't such an object, has an unknown key, or a value can't be used.
    """
    if not isinstance(value, Mapping):
        raise ValueError(f"{_shown(value)} is not an object of event_type, entity_id and source")
    criteria: dict[str, Criterion] = {}
    for name, values in value.items():
        kind = CRITERIA.get(name) if isinstance(name, str) else None
        if kind is None:
            known = ", ".join(CRITERIA)
            raise ValueError(f"{_shown(name)} is not known here; known are {known}")
        criteria[name] = kind.make(texts(name, values))
    return selection(criteria)


def texts(name: str, value: object) -> list[str]:
    """Return the texts that a value is: itself, or those in the list. An integer becomes a text.

    :raises ValueError: it is neither a text nor a list of texts; the message says which.
    """
    values = [value] if isinstance(value, str | int) else value
    if not isinstance(values, list | tuple | set | frozenset):
        raise ValueError(f"{name}: {_shown(value)} is neither a text nor a list of texts")
    for each in values:
        # True and False are integers, too.
        if not isinstance(each, str | int) or isinstance(each, bool):
            raise ValueError(f"{name}: {_shown(each)} is not a text")
    return [str(each) for each in values]


def _shown(value: object) -> str:
    return repr(value)[:80]
