"""The grants that stand in a token itself, in the claim ``sse``. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec
from msgspec import UNSET, Struct, UnsetType

from ..filters import ENTITY_ID, EVENT_TYPE, SOURCE, Selection
from .grants import Grants, ReadGrant
from .selections import selection_of

_Texts = str | list[str] | UnsetType


class _PublishGrant(Struct, forbid_unknown_fields=True):
    event_type: _Texts = UNSET
    entity_id: _Texts = UNSET
    source: _Texts = UNSET


class _ReadGrant(_PublishGrant, forbid_unknown_fields=True):
    sink: _Texts = UNSET


class _Claim(Struct, forbid_unknown_fields=True):
    subscribe: list[_ReadGrant] = []
    publish: list[_PublishGrant] = []


def grants_of_claim(value: object) -> Grants:
    """Return the grants that a claim's value holds: ``{"subscribe": […], "publish": […]}``.

    A sink that doesn't exist grants nothing.

    :raises ValueError: it has another shape; the message says where and how.
    """
    try:
        claim = msgspec.convert(value, _Claim)
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from None
    return Grants(
        tuple(
            ReadGrant(_sinks(grant), events) for grant, events in _with_selections(claim.subscribe)
        ),
        tuple(events for _, events in _with_selections(claim.publish)),
    )


def _sinks(grant: _PublishGrant) -> frozenset[str] | None:
    sinks = _listed(grant.sink) if isinstance(grant, _ReadGrant) else None
    return None if sinks is None else frozenset(sinks)


def _with_selections(
    grants: Sequence[_PublishGrant],
) -> Iterator[tuple[_PublishGrant, Selection]]:
    """Yield each grant with the events that it selects; an empty list selects none."""
    for grant in grants:
        texts = (
            (EVENT_TYPE, grant.event_type),
            (ENTITY_ID, grant.entity_id),
            (SOURCE, grant.source),
        )
        values = [(name, listed) for name, text in texts if (listed := _listed(text)) is not None]
        if all(listed for _, listed in values):
            yield grant, selection_of(values)


def _listed(text: _Texts) -> list[str] | None:
    """Return the values, None where any value is meant."""
    if isinstance(text, UnsetType):
        return None
    return [text] if isinstance(text, str) else text
