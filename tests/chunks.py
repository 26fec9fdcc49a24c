"""Events, chunks and frames for tests of what becomes of them."""

from __future__ import annotations

import re

from msgspec import Raw

from flask_sse_sink.event import Event, Source
from flask_sse_sink.stream import frame
from flask_sse_sink.stream.chunk import Chunk, Frame
from flask_sse_sink.stream.memory import Memory

MANY = 10**9
MEMORY = Memory(MANY)


def event(id: int, size: int = 2) -> Event:
    data = Raw(b'"%b"' % (b"x" * (size - 2)))
    created_at = "2024-01-01T00:00:00+00:00"
    return Event(id, f"e{id}", "a.b", None, created_at, data, Source(1, "s"), Raw(b"{}"))


def chunk(*ids: int, size: int = 2, memory: Memory = MEMORY) -> Chunk:
    return Chunk([Frame.of(event(id, size), memory) for id in ids])


def messages(*ids: int) -> bytes:
    return b"".join(frame.message(event(id)) for id in ids)


def unchunk(raw: bytes) -> tuple[bytes, bool]:
    """Return a body in chunked coding without it, and whether its last chunk is there.

    It may be cut anywhere; what there is must be sound.
    """
    parts: list[bytes] = []
    at = 0
    while (end := raw.find(b"\r\n", at)) >= 0:
        size = int(raw[at:end], 16)
        if not size:
            assert b"0\r\n\r\n".startswith(raw[at:])
            return b"".join(parts), raw[at:] == b"0\r\n\r\n"
        parts.append(raw[end + 2 : end + 2 + size])
        tail = raw[end + 2 + size : end + 4 + size]
        assert b"\r\n".startswith(tail), tail
        at = end + 4 + size
    return b"".join(parts), False


def ids_in(data: bytes) -> list[int]:
    return [int(id) for id in re.findall(rb"^id: (\d+)$", data, re.MULTILINE)]
