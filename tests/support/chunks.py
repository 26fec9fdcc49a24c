"""Events, frames and chunks for tests of what becomes of them."""

from __future__ import annotations

import re

from msgspec import Raw

from flask_sse_sink.event import Event, Source, encode_envelope
from flask_sse_sink.stream import frame
from flask_sse_sink.stream.chunk import Chunk
from flask_sse_sink.stream.delivery import Delivery
from flask_sse_sink.stream.memory import Memory

MANY = 10**9
MEMORY = Memory(MANY)


def event(id: int, size: int = 2, event_type: str = "a.b") -> Event:
    """Return an event whose data has this size in bytes."""
    data = Raw(b'"%b"' % (b"x" * (size - 2)))
    created_at = "2024-01-01T00:00:00+00:00"
    return Event(id, f"e{id}", event_type, None, created_at, data, Source(1, "s"), Raw(b"{}"))


def delivery(*events: Event, memory: Memory = MEMORY) -> Delivery:
    """Return the events as they come from the log."""
    return Delivery([(each.id, encode_envelope(each)) for each in events], memory)


def chunk(*ids: int, size: int = 2, memory: Memory = MEMORY) -> Chunk:
    """Return a chunk of events with these ids."""
    events = delivery(*(event(id, size) for id in ids), memory=memory)
    return Chunk([events.frame(n) for n in range(len(ids))])


def messages(*ids: int) -> bytes:
    """Return the frames of events with these ids."""
    return b"".join(frame.message(id, encode_envelope(event(id))) for id in ids)


def ids_in(data: bytes) -> list[int]:
    """Return the ids that stand in these frames."""
    return [int(id) for id in re.findall(rb"^id: (\d+)$", data, re.MULTILINE)]
