"""Filters of their own: each client asks for something else, and each event is for one client."""

from __future__ import annotations

import contextlib

from .audience import audience
from .child import Child
from .clients import Clients
from .fanout import fanout
from .publisher import Report
from .results import Row
from .scenario import Scenario
from .session import Session
from .system import Unsuited, Usage

_PROBES = 4


def own(session: Session, scenario: Scenario) -> Row:
    """Measure what an event costs that is for one client of many, or for none.

    The processor time that the server uses in the same time without events is subtracted.
    """
    idle = Usage(session.server)
    session.clients.receive(scenario.seconds)
    idle.stop()
    row = fanout(session, scenario)
    row.filters = row.clients
    row.criterion = scenario.own
    row.idle_percent = 100 * idle.server / idle.seconds
    if row.cpu_percent and row.cpu_us_per_event:
        row.cpu_us_per_event *= 1 - row.idle_percent / row.cpu_percent
    most = max(session.clients.received.values(), default=0)
    if row.events is not None and most > -(-row.events // row.clients):
        row.notes.append("a client received an event that isn't for it")
    return row


def refuse_without_filter(session: Session, scenario: Scenario) -> None:
    """Check that the server has filters of this kind.

    :raises Unsuited: it sends a client what the client's filter doesn't let through.
    """
    asked = audience(scenario, _PROBES)
    clients = Clients(session.server.ports, session.board)
    with contextlib.closing(clients):
        clients.connect([session.stream(asked.queries[0])], greeted=session.system.greets)
        clients.begin(0)
        # One event for each of four clients, of whom only the first is there.
        spec = session.spec(asked.heard, most=_PROBES, seconds=5)
        with Child("publisher", spec) as publisher:
            publisher.go()
            while not clients.receive(5.0, until=publisher.fileno()):
                pass
            publisher.report(Report)
        clients.receive(0.3)
        if len(clients.latencies) > 1:
            raise Unsuited(f"it ignores {scenario.own}, so every client would get every event")
