"""Measures one system with the scenarios that share a server."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from .audience import audience
from .board import Board
from .child import Child
from .clients import Clients
from .fanout import fanout
from .heartbeat import heartbeat
from .own import own, refuse_without_filter
from .publisher import Report
from .reconnect import reconnect
from .replay import catch_up
from .results import Row
from .scenario import Scenario
from .session import Session
from .system import Setting, System, Usage

_FIRST = 16
_CLOSE_SECONDS = 0.5


def measure(system: System, setting: Setting, scenarios: Sequence[Scenario]) -> Iterator[Row]:
    """Yield a row for each scenario.

    :raises RuntimeError: the server didn't start, or clients received nothing.
    :raises OSError: it doesn't accept connections.
    :raises BadAnswer: it answers something other than a stream.
    :raises Unsuited: it lacks what the scenarios are about.
    """
    alone = [each for each in scenarios if each.kind in _WITHOUT_CLIENTS]
    together = [each for each in scenarios if each.kind in _WITH_CLIENTS]
    for each in scenarios:
        if each.kind == "steps":
            yield _steps(system, setting, each)
    if not alone and not together:
        return
    with contextlib.ExitStack() as stack:
        server = system.start(setting, stack)
        board = stack.enter_context(contextlib.closing(Board(setting.folder / "board")))
        session = Session(system, server, board)
        stack.callback(session.clients.close)
        if scenarios[0].stored:
            session.store(scenarios[0].stored)
        for each in alone:
            yield _WITHOUT_CLIENTS[each.kind](session, each)
        if together:
            if scenarios[0].own:
                refuse_without_filter(session, scenarios[0])
            connected = _connect_all(session, setting, together)
            for each in together:
                yield _WITH_CLIENTS[each.kind](session, each, connected)


@dataclass(frozen=True, kw_only=True)
class _Connected:
    """What the clients cost that were connected after the first ones."""

    clients: int
    seconds: float
    cpu_seconds: float
    memory_kib: float
    helper_memory_kib: dict[str, float]


def _connect_all(session: Session, setting: Setting, scenarios: Sequence[Scenario]) -> _Connected:
    """Connect all clients, and publish until each has received an event."""
    wanted = min(max(each.clients for each in scenarios), setting.clients)
    asked = audience(scenarios[0], wanted)
    paths = [session.stream(each) for each in asked.queries]
    server, clients, greets = session.server, session.clients, session.system.greets
    # A server's first clients cost more, as it loads code for them; these aren't measured.
    with contextlib.closing(Clients(server.ports, session.board)) as first:
        first.connect(paths[:_FIRST], greeted=greets)
        session.warm_up(first, asked.heard[:_FIRST])
    time.sleep(_CLOSE_SECONDS)
    one_a_node = len(server.ports)
    clients.connect(paths[:one_a_node], greeted=greets)
    session.warm_up(clients, asked.heard[:_FIRST])
    memory = server.pss_kib()
    helpers = {name: each.pss_kib() for name, each in server.helpers.items()}
    cpu, seconds = server.cpu_seconds(), 0.0
    if wanted > one_a_node:
        seconds = clients.connect(paths[one_a_node:], greeted=greets)
    cpu = server.cpu_seconds() - cpu
    clients.cool()
    session.warm_up(clients, asked.heard)
    return _Connected(
        clients=wanted - one_a_node,
        seconds=seconds,
        cpu_seconds=cpu,
        memory_kib=server.pss_kib() - memory,
        helper_memory_kib={
            name: each.pss_kib() - helpers[name] for name, each in server.helpers.items()
        },
    )


def _ingest(session: Session, scenario: Scenario) -> Row:
    """Measure how many events the nodes take together while nobody listens."""
    row = session.row(scenario, 0)
    with contextlib.ExitStack() as stack:
        publishers = [
            stack.enter_context(
                Child(
                    "publisher",
                    session.spec(
                        port=port,
                        batch=scenario.batch,
                        connections=scenario.producers,
                        seconds=scenario.seconds,
                    ),
                )
            )
            for port in session.server.ports
        ]
        usage = Usage(session.server)
        for each in publishers:
            each.go()
        reports = [each.report(Report) for each in publishers]
        usage.stop()
    row.producers, row.batch = scenario.producers, scenario.batch or 1
    row.events = sum(each.events for each in reports)
    row.seconds = max(each.seconds for each in reports)
    row.events_per_second = sum(each.events / each.seconds for each in reports)
    row.cpu_percent = 100 * usage.server / usage.seconds
    row.load_percent = 100 * sum(each.cpu_seconds for each in reports) / row.seconds
    if row.events:
        row.cpu_us = usage.server * 1e6 / row.events
        row.helper_cpu_us = {name: used * 1e6 / row.events for name, used in usage.helpers.items()}
    for report in reports:
        if report.failed:
            row.notes.append(f"{report.failed} POSTs failed: {report.error}")
    return row


def _connect(session: Session, scenario: Scenario, connected: _Connected) -> Row:
    row = session.row(scenario, len(session.clients))
    if session.system.greets:
        row.seconds = connected.seconds
        row.connects_per_second = connected.clients / connected.seconds
        row.cpu_us = connected.cpu_seconds / connected.clients * 1e6
    else:
        row.notes.append("sends nothing before the first event")
    return row


def _memory(session: Session, scenario: Scenario, connected: _Connected) -> Row:
    row = session.row(scenario, len(session.clients))
    row.memory_kib = connected.memory_kib / connected.clients
    row.helper_memory_kib = {
        name: kib / connected.clients for name, kib in connected.helper_memory_kib.items()
    }
    return row


def _idle(session: Session, scenario: Scenario, connected: _Connected) -> Row:
    """Measure what the clients cost while nothing is published."""
    row = session.row(scenario, len(session.clients))
    usage = Usage(session.server)
    session.clients.receive(scenario.seconds)
    usage.stop()
    row.seconds = scenario.seconds
    row.cpu_percent = 100 * usage.server / usage.seconds
    return row


def _fanout(session: Session, scenario: Scenario, connected: _Connected) -> Row:
    return fanout(session, scenario)


def _own(session: Session, scenario: Scenario, connected: _Connected) -> Row:
    return own(session, scenario)


def _heartbeat(session: Session, scenario: Scenario, connected: _Connected) -> Row:
    return heartbeat(session, scenario)


def _steps(system: System, setting: Setting, scenario: Scenario) -> Row:
    return Row(
        system=system.label,
        scenario=scenario.name,
        kind=scenario.kind,
        clients=0,
        workers=1,
        batch=scenario.batch,
        steps_us=system.steps(scenario.batch, setting.folder),
    )


_WITHOUT_CLIENTS: dict[str, Callable[[Session, Scenario], Row]] = {
    "ingest": _ingest,
    "reconnect": reconnect,
    "replay": catch_up,
}
_WITH_CLIENTS: dict[str, Callable[[Session, Scenario, _Connected], Row]] = {
    "connect": _connect,
    "memory": _memory,
    "idle": _idle,
    "fanout": _fanout,
    "own": _own,
    "heartbeat": _heartbeat,
}
