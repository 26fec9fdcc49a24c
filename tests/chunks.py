"""Events, chunks and frames for tests of what becomes of them."""

from __future__ import annotations

import re

from msgspec import Raw

from flask_sse_sink import frame
from flask_sse_sink.chunk import Chunk
from flask_sse_sink.event import Event, Source

MANY = 10**9


def event(id: int, size: int = 2) -> Event:
    data = Raw(b'"%b"' % (b"x" * (size - 2)))
    created_at = "2024-01-01T00:00:00+00:00"
    return Event(id, f"e{id}", "a.b", None, created_at, data, Source(1, "s"), Raw(b"{}"))


def chunk(*ids: int) -> Chunk:
    return Chunk([event(id) for id in ids])


def messages(*ids: int) -> bytes:
    return b"".join(frame.message(event(id)) for id in ids)


def ids_in(data: bytes) -> list[int]:
    return [int(id) for id in re.findall(rb"^id: (\d+)$", data, re.MULTILINE)]
