"""A scenario: the load that it puts on a system, and the systems that it suits."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal[
    "ingest",
    "connect",
    "memory",
    "idle",
    "fanout",
    "own",
    "heartbeat",
    "reconnect",
    "replay",
    "steps",
]

WINDOW = 8
"""Requests on their way at once in a flat-out scenario: so few that no peer's queue overflows."""
NO_HEARTBEATS = 3600.0
"""A heartbeat timeout that is longer than any scenario."""


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """One measurement."""

    name: str
    kind: Kind
    clients: int = 0
    rate: float = 0
    """Requests a second; 0 is flat out: a window of requests is on its way."""
    batch: int = 0
    """Events in a request's array; 0 sends one event without an array."""
    filters: int = 0
    """Different ``event_type`` filters, given to the clients in turn; 0 is none."""
    others: int = 0
    """Clients, among ``clients``, whose filters differ and match no event."""
    own: Literal["", "event_type", "entity_id"] = ""
    """What each client asks for a value of its own of; each event is for one client."""
    nobody: bool = False
    """Whether the events are for none of these clients."""
    producers: int = 1
    """Connections that POST to each node, where no deliveries are measured."""
    workers: int | None = None
    """Worker processes, if not as many as the system has by default."""
    sink: Mapping[str, float | bool] = field(default_factory=dict)
    """Settings of this project's sink."""
    seconds: float = 4
    stored: int = 0
    """Events that the log holds before the scenario begins."""
    events: int = 0
    """Events that a replay goes over."""
    rare: bool = False
    """Whether the replay asks only for the type of every hundredth event."""
    replaying: int = 0
    """More clients, which replay the whole log again and again meanwhile."""
    systems: tuple[str, ...] = ()
    """The systems that can be measured with it."""
    default: tuple[str, ...] = ()
    """Those of them that a run without options measures with it."""

    @property
    def server(self) -> tuple[object, ...]:
        """A key: scenarios with equal ones are measured on one server, one after the other."""
        if self.kind == "steps":
            return (self.name,)
        if self.stored:
            return ("stored", self.stored)
        filters = (self.filters, self.others, self.own)
        return (max(self.clients, 1), filters, self.workers, tuple(self.sink.items()))

    def with_clients(self, most: int) -> Scenario:
        """Return the scenario with so many clients at most."""
        return dataclasses.replace(self, clients=min(self.clients, max(most, self.others + 1)))


def groups(scenarios: Sequence[Scenario]) -> list[list[Scenario]]:
    """Return the scenarios in groups that share a server, in the order of each first one."""
    found: dict[tuple[object, ...], list[Scenario]] = {}
    for each in scenarios:
        found.setdefault(each.server, []).append(each)
    return list(found.values())
