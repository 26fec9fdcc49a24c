"""Grants: what somebody may publish or read. Pure: no request, no log, no clock."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from ..event import Event
from ..filters import EVERYTHING, SOURCE, Filter, Selection
from . import selection_json

NOTHING = Filter(())


class ReadGrant(NamedTuple):
    """Events of some sinks that somebody may read; ``sinks`` is None for every sink."""

    sinks: frozenset[str] | None
    events: Selection

    def covers(self, sink: str) -> bool:
        """Return whether the grant is for this sink."""
        return self.sinks is None or sink in self.sinks

    @classmethod
    def from_json(cls, value: object) -> ReadGrant:
        """Return the grant of an object such as ``{"sink": "inbox", "entity_id": ["7"]}``.

        Each key has one value or a list of them; a key that is missing stands for any value.

        :raises ValueError: it isn't such an object; the message says what is wrong.
        """
        sinks: frozenset[str] | None = None
        if isinstance(value, Mapping) and "sink" in value:
            value = dict(value)
            sinks = frozenset(selection_json.texts("sink", value.pop("sink")))
        return cls(sinks, selection_json.from_json(value))

    def to_json(self) -> dict[str, list[str]]:
        """Return the grant as the object that :meth:`from_json` takes."""
        events = selection_json.to_json(self.events)
        return events if self.sinks is None else {"sink": sorted(self.sinks), **events}


class Grants(NamedTuple):
    """Alternatives: what one of them allows is allowed.

    ``subscribe`` is for reading. Each selection of ``publish`` is a kind of event that may be
    published.
    """

    subscribe: tuple[ReadGrant, ...] = ()
    publish: tuple[Selection, ...] = ()

    @classmethod
    def of(
        cls,
        subscribe: Iterable[Mapping[str, object]] = (),
        publish: Iterable[Mapping[str, object]] = (),
    ) -> Grants:
        """Return the grants of objects such as ``{"sink": "inbox", "entity_id": "7"}``.

        The keys are ``event_type``, ``entity_id`` and ``source``, and for reading also ``sink``.
        Each has one value or a list of them; a key that is missing stands for any value. Only in
        ``event_type`` may a value be a pattern, such as ``order.*``.

        :raises ValueError: one of them isn't such an object; the message says what is wrong.
        """
        return cls(
            tuple(ReadGrant.from_json(each) for each in subscribe),
            tuple(selection_json.from_json(each) for each in publish),
        )

    def to_json(self) -> dict[str, list[dict[str, list[str]]]]:
        """Return the grants as JSON: the arguments of :meth:`of` by their names."""
        return {
            "subscribe": [grant.to_json() for grant in self.subscribe],
            "publish": [selection_json.to_json(each) for each in self.publish],
        }

    def readable(self, sink: str) -> Filter:
        """Return the filter for what may be read of a sink; nothing passes without a grant."""
        return _any_of(grant.events for grant in self.subscribe if grant.covers(sink))

    @property
    def publishable(self) -> Filter:
        """Return the filter for what may be published; nothing passes without a grant."""
        return _any_of(self.publish)

    @property
    def own_source(self) -> str | None:
        """Return the one source that all grants for publishing name, None where there isn't one.

        An event without a source gets that source.
        """
        criteria = [events.get(SOURCE) for events in self.publish]
        if None in criteria:
            return None
        names = {name for criterion in criteria for name in criterion.names}
        return names.pop() if len(names) == 1 else None

    def may_publish(self, event: Event) -> bool:
        """Return whether the event, as it would be stored, may be published."""
        return self.publishable.matches(event)

    def and_also(self, other: Grants) -> Grants:
        """Return the grants of both."""
        return Grants(
            tuple(dict.fromkeys(self.subscribe + other.subscribe)),
            tuple(dict.fromkeys(self.publish + other.publish)),
        )


def _any_of(alternatives: Iterable[Selection]) -> Filter:
    events = tuple(dict.fromkeys(alternatives))
    return EVERYTHING if Selection() in events else Filter(events)


#: What a publisher may do with one of ``ingest.tokens``: publish everything, read nothing.
PUBLISH_EVERYTHING = Grants(publish=(Selection(),))
