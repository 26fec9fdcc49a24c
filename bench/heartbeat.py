"""Heartbeats: what they cost, how exact they are, and how much later events come among them."""

from __future__ import annotations

import dataclasses
import statistics

from .fanout import fanout
from .results import Row
from .scenario import Scenario
from .session import Session
from .system import Usage

_EVENTS_SECONDS = 16.0
"""Events are published for no longer than this."""


def heartbeat(session: Session, scenario: Scenario) -> Row:
    """Measure quiet clients for the scenario's time, and then events to all of them."""
    session.clients.begin(session.next)
    usage = Usage(session.server)
    session.clients.receive(scenario.seconds)
    usage.stop()
    heartbeats = session.clients.heartbeats
    seconds = min(scenario.seconds, _EVENTS_SECONDS)
    row = fanout(session, dataclasses.replace(scenario, seconds=seconds))
    row.heartbeat_seconds = scenario.sink["heartbeat_timeout"]
    row.idle_percent = 100 * usage.server / usage.seconds
    if gaps := [each / 1e9 for each in heartbeats.nanoseconds]:
        row.gap_seconds = {
            "min": min(gaps),
            "median": statistics.median(gaps),
            "max": max(gaps),
        }
    silent = row.clients - heartbeats.clients
    if silent and scenario.seconds > 2 * row.heartbeat_seconds:
        row.notes.append(f"{silent} clients received no heartbeat")
    return row
