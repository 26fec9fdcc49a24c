"""The grants of the configuration, and how the claims of a token fill their templates. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from ..config.grants import PublishGrantSettings, ReadGrantSettings, claims_of, fill
from ..filters import EVENT_TYPE, Selection
from .grants import Grants, ReadGrant
from .selections import selection_of

# One name of an event type, which a claim may fill in: with a dot or an asterisk in it, the claim
# would decide how much the grant covers.
_ONE_NAME = re.compile(r"[^.*\x00-\x1f\x7f-\x9f]+")

Criteria = list[tuple[str, Sequence[str]]]


class _Void(Exception):
    """The claims of a token don't fill a grant's template: the grant is worth nothing."""


class _Template(NamedTuple):
    """A grant with templates. ``sinks`` is None for every sink, and unused for publishing."""

    sinks: frozenset[str] | None
    criteria: Criteria


class ConfiguredGrants:
    """The grants that stand in the configuration, for one static token or one issuer."""

    def __init__(
        self, subscribe: Iterable[ReadGrantSettings], publish: Iterable[PublishGrantSettings]
    ) -> None:
        self._subscribe = [_Template(_sinks(each), _criteria(each)) for each in subscribe]
        self._publish = [_Template(None, _criteria(each)) for each in publish]
        templates = [*self._subscribe, *self._publish]
        texts = (text for each in templates for _, texts in each.criteria for text in texts)
        self._needs_claims = any(claims_of(text) for text in texts)
        self._fixed = None if self._needs_claims else self._filled({})

    def for_claims(self, claims: Mapping[str, Any]) -> Grants:
        """Return the grants of whoever has these claims."""
        return self._filled(claims) if self._fixed is None else self._fixed

    def _filled(self, claims: Mapping[str, Any]) -> Grants:
        subscribe = ((each.sinks, _selection(each, claims)) for each in self._subscribe)
        publish = (_selection(each, claims) for each in self._publish)
        return Grants(
            tuple(ReadGrant(sinks, events) for sinks, events in subscribe if events is not None),
            tuple(events for events in publish if events is not None),
        )


def _sinks(grant: ReadGrantSettings) -> frozenset[str] | None:
    return frozenset(grant.sink.texts) or None


def _criteria(grant: PublishGrantSettings) -> Criteria:
    return [(name, texts) for name, texts in grant.criteria()]


def _selection(template: _Template, claims: Mapping[str, Any]) -> Selection | None:
    """Return the events that a grant covers, None where the claims make it void."""
    try:
        return selection_of(
            (name, [value for text in texts for value in _expanded(name, text, claims)])
            for name, texts in template.criteria
        )
    except (_Void, ValueError):
        # A claim may be too long, or hold a control character.
        return None


def _expanded(criterion: str, text: str, claims: Mapping[str, Any]) -> list[str]:
    """Return the values that a text of the configuration stands for."""
    names = claims_of(text)
    if not names:
        return [text]
    if text == f"{{{names[0]}}}":
        return _values(criterion, claims.get(names[0]), listed=True)
    return [fill(text, [_values(criterion, claims.get(name))[0] for name in names])]


def _values(criterion: str, claim: object, listed: bool = False) -> list[str]:
    """Return a claim's values: one text or integer, or, where it may be ``listed``, several."""
    items = claim if listed and isinstance(claim, list) else [claim]
    values = []
    for item in items:
        # True and False are integers, too.
        if isinstance(item, bool) or not isinstance(item, (str, int)) or item == "":
            raise _Void
        values.append(str(item))
    if not values or (criterion == EVENT_TYPE and not all(map(_ONE_NAME.fullmatch, values))):
        raise _Void
    return values
