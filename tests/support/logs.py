"""What a log holds, for tests that compare it."""

from __future__ import annotations

from flask_sse_sink.event import Event, decode_envelope
from flask_sse_sink.log import EventLog


def events_in(log: EventLog, after: int = 0, limit: int = 100_000) -> list[Event]:
    """Return the events with ids above ``after``; their ids are those that the log says."""
    found = []
    for id, envelope in log.read(after, limit):
        event = decode_envelope(envelope)
        assert event.id == id
        found.append(event)
    return found


def ids_in(log: EventLog, after: int = 0) -> list[int]:
    """Return the ids above ``after``."""
    return [id for id, _ in log.read(after, 100_000)]


def names_in(log: EventLog) -> list[tuple[int, str]]:
    """Return the id and the event id of every event."""
    return [(event.id, event.event_id) for event in events_in(log)]
