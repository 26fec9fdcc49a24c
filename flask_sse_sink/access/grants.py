"""Grants: what somebody may publish or read. Pure: no request, no log, no clock."""

from __future__ import annotations

from typing import NamedTuple

from ..event import Event
from ..filters import Filter, Selection

NOTHING = Filter(())


class ReadGrant(NamedTuple):
    """Events of some sinks that somebody may read; ``sinks`` is None for every sink."""

    sinks: frozenset[str] | None
    events: Selection

    def covers(self, sink: str) -> bool:
        """Return whether the grant is for this sink."""
        return self.sinks is None or sink in self.sinks


class Grants(NamedTuple):
    """Alternatives: what one of them allows is allowed.

    ``subscribe`` is for reading. Each selection of ``publish`` is a kind of event that may be
    published.
    """

    subscribe: tuple[ReadGrant, ...] = ()
    publish: tuple[Selection, ...] = ()

    def readable(self, sink: str) -> Filter:
        """Return the filter for what may be read of a sink; nothing passes without a grant."""
        events = [grant.events for grant in self.subscribe if grant.covers(sink)]
        return Filter(tuple(dict.fromkeys(events)))

    def may_publish(self, event: Event) -> bool:
        """Return whether the event, as it would be stored, may be published."""
        return Filter(self.publish).matches(event)

    def and_also(self, other: Grants) -> Grants:
        """Return the grants of both."""
        return Grants(
            tuple(dict.fromkeys(self.subscribe + other.subscribe)),
            tuple(dict.fromkeys(self.publish + other.publish)),
        )


#: What a publisher may do with one of ``ingest.tokens``: publish everything, read nothing.
PUBLISH_EVERYTHING = Grants(publish=(Selection(),))
