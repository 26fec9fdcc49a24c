"""Whom the events of a scenario are for: the clients' filters, and the events in turn (pure)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from .scenario import Scenario
from .system import EVENT_TYPE

_OWN_TYPE = "own.n"
_OWN_ENTITY = "user_"


class Topic(NamedTuple):
    """What the filters look at in an event."""

    event_type: str = EVENT_TYPE
    entity_id: str | None = None


class Audience(NamedTuple):
    """The clients' filters, and the events that are published."""

    queries: Sequence[str]
    """The query of each client's request; empty for no filter."""
    topics: Sequence[Topic]
    """Event *n* has topic *n* modulo the length."""
    expected: Sequence[int]
    """How many clients the events with each of the topics are for."""
    heard: Sequence[Topic]
    """Topics of which each client gets at least one."""

    def due(self, events: int) -> int:
        """Return how many deliveries so many events make."""
        whole, rest = divmod(events, len(self.expected))
        return whole * sum(self.expected) + sum(self.expected[:rest])


def audience(scenario: Scenario, clients: int) -> Audience:
    """Return the audience of a scenario with so many clients."""
    if scenario.own:
        return _own(scenario, clients)
    if scenario.filters:
        return _filters(scenario, clients)
    return Audience([""] * clients, [Topic()], [clients], [Topic()])


def types_of(filters: int) -> list[str]:
    """Return the event types that so many filters ask for."""
    return [f"{EVENT_TYPE}.{number}" for number in range(filters)]


def _filters(scenario: Scenario, clients: int) -> Audience:
    """Return filters for types in turn, then one more type for each of the ``others``."""
    filters, asking = scenario.filters, clients - scenario.others
    types = types_of(filters + scenario.others)
    queries = [f"event_type={types[number % filters]}" for number in range(asking)]
    queries += [f"event_type={each}" for each in types[filters:]]
    topics = [Topic(each) for each in types]
    expected = [len(range(number, asking, filters)) for number in range(filters)]
    return Audience(queries, topics[:filters], expected, topics)


def _own(scenario: Scenario, clients: int) -> Audience:
    """Return filters of the clients' own, and events that pass one of them each, or none."""
    if scenario.own == "event_type":
        heard = [Topic(f"{_OWN_TYPE}{number}") for number in range(clients)]
        queries = [f"event_type={each.event_type}" for each in heard]
        strange = Topic("own.nobody")
    else:
        heard = [Topic(entity_id=f"{_OWN_ENTITY}{number}") for number in range(clients)]
        queries = [f"entity_id={each.entity_id}" for each in heard]
        strange = Topic(entity_id="nobody")
    if scenario.nobody:
        return Audience(queries, [strange], [0], heard)
    return Audience(queries, heard, [1] * clients, heard)
