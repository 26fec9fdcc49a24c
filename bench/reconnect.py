"""A restart under load: all clients lose their streams and come back for what they missed."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from typing import NamedTuple

from .child import Child
from .producers import Report, Spec
from .results import Row
from .returning import ReturningClients
from .scenario import Scenario
from .session import Session
from .system import EVENT_TYPE, PLACE, new_event

_OPEN_SECONDS = 60.0
_CALM_SECONDS = 3.0
_DRAIN_SECONDS = 10.0
_LOOK_SECONDS = 0.2
_FOR_CLIENTS = 8
"""One event in so many is for the clients; the others only measure ingest."""


class Outage(NamedTuple):
    """The moments of one restart, in nanoseconds since the epoch, and the load meanwhile."""

    began: int
    returned: int
    """When the last client had a stream again; 0 if some have none."""
    away: int
    """Clients that have not come back."""
    cpu_seconds: float
    """Processor time of the new workers until then."""
    load_percent: float
    """Of one core, the clients' process until then."""


def reconnect(session: Session, scenario: Scenario) -> Row:
    """Measure how long after a restart all clients have every event again."""
    path = session.stream(f"event_type={EVENT_TYPE}")
    clients = ReturningClients(session.server.ports[0], path, scenario.clients)
    with contextlib.closing(clients):
        _open_all(clients, scenario.clients)
        with Child("producers", _spec(session, scenario)) as producers:
            producers.go()
            clients.receive(_CALM_SECONDS)
            outage = _restart(session, scenario, clients)
            clients.receive(_CALM_SECONDS)
            producers.go()
            while not producers.has_reported():
                clients.receive(_LOOK_SECONDS)
            report = producers.report(Report)
        mine = range(0, len(report.answered_ns), _FOR_CLIENTS)
        until = time.monotonic() + _DRAIN_SECONDS
        while not all(clients.complete_ns[each] for each in mine) and time.monotonic() < until:
            clients.receive(_LOOK_SECONDS)
        return _row(session, scenario, clients, report, outage)


def _open_all(clients: ReturningClients, wanted: int) -> None:
    until = time.monotonic() + _OPEN_SECONDS
    while clients.open < wanted:
        clients.receive(_LOOK_SECONDS)
        if time.monotonic() > until:
            raise TimeoutError(f"{clients.open} of {wanted} streams opened")


def _spec(session: Session, scenario: Scenario) -> Spec:
    types = [EVENT_TYPE, *[f"{EVENT_TYPE}.other"] * (_FOR_CLIENTS - 1)]
    return Spec(
        port=session.server.ports[0],
        path=session.server.publish,
        board=str(session.board.path),
        # Each event has its number in its id, too.
        items=[new_event(each, event_id=f"bench-{PLACE}") for each in types],
        producers=scenario.producers,
        rate=scenario.rate,
    )


def _restart(session: Session, scenario: Scenario, clients: ReturningClients) -> Outage:
    """Restart the server, and read until every client has come back, or the time is over."""
    cpu, began, began_ns = time.process_time(), time.monotonic(), time.time_ns()
    session.server.restart()
    until = began + scenario.seconds
    while len(clients.returned) < scenario.clients or clients.open < scenario.clients:
        if time.monotonic() > until:
            break
        clients.receive(_LOOK_SECONDS)
    seconds = time.monotonic() - began
    load = 100 * (time.process_time() - cpu) / seconds
    away = scenario.clients - len(clients.returned)
    return Outage(
        began=began_ns,
        returned=0 if away else clients.last_return_ns,
        away=away,
        cpu_seconds=session.server.nodes[0].cpu_seconds_since_restart(),
        load_percent=load,
    )


def _row(
    session: Session,
    scenario: Scenario,
    clients: ReturningClients,
    report: Report,
    outage: Outage,
) -> Row:
    row = session.row(scenario, scenario.clients)
    row.producers, row.rate, row.load_percent = (
        scenario.producers,
        scenario.rate,
        outage.load_percent,
    )
    events = len(report.answered_ns)
    sent, complete = list(session.board.sent[:events]), clients.complete_ns
    mine = range(0, events, _FOR_CLIENTS)
    row.events = events
    row.missing = sum(scenario.clients - clients.counts[each] for each in mine)
    row.repeated = clients.repeated
    again = 0
    if outage.returned:
        row.returned_seconds = (outage.returned - outage.began) / 1e9
        row.cpu_us = outage.cpu_seconds * 1e6 / scenario.clients
        again = caught_up([(sent[n], complete[n]) for n in mine], outage.returned)
    if again:
        row.seconds = (again - outage.began) / 1e9
    took = [(sent[n], at - sent[n]) for n, at in enumerate(report.answered_ns) if at]
    until = again or time.time_ns()
    row.p99_ms = _p99_ms([ns for at, ns in took if outage.began <= at <= until])
    row.calm_p99_ms = _p99_ms([ns for at, ns in took if at < outage.began])
    row.notes = _notes(scenario, clients, report, outage)
    return row


def caught_up(events: Sequence[tuple[int, int]], since: int) -> int:
    """Return the first moment, not before ``since``, at which no event is on its way.

    ``events`` are the moments at which each was sent and had reached all clients; the latter is 0
    if it never did. Then the answer is 0.
    """
    moment = since
    for sent, complete in sorted(events):
        if sent > moment:
            break
        if not complete:
            return 0
        moment = max(moment, complete)
    return moment


def _p99_ms(times: Sequence[int]) -> float | None:
    return sorted(times)[len(times) * 99 // 100] / 1e6 if times else None


def _notes(
    scenario: Scenario, clients: ReturningClients, report: Report, outage: Outage
) -> list[str]:
    notes = []
    if not outage.returned:
        notes.append(f"{outage.away} clients didn't come back within {scenario.seconds:g} s")
    if clients.missed:
        notes.append(f"the server said {clients.missed} times that a client lost events")
    if clients.refused:
        notes.append(f"{clients.refused} connections were refused or cut before a stream began")
    if report.repeats:
        notes.append(f"{report.repeats} POSTs were sent again")
    if report.lost:
        notes.append(f"{report.lost} events were not stored")
    return notes
