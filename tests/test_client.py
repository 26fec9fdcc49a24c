"""The stream made of one client."""

from __future__ import annotations

import re
import time

import pytest
from chunks import chunk, messages

from flask_sse_sink import frame
from flask_sse_sink.client import Client
from flask_sse_sink.exceptions import LogUnavailable
from flask_sse_sink.pattern import EVERYTHING
from flask_sse_sink.settings import Pause, SinkSettings


def client(**settings: object) -> Client:
    made = SinkSettings(**settings)  # type: ignore[arg-type] # the test's own keywords
    return Client("live", EVERYTHING, "127.0.0.1", made)


def is_closing(data: bytes) -> bool:
    """Return whether it is the last frame of a stream that is told to come back after 3 s."""
    found = re.fullmatch(rb"event: info\ndata: closing\nretry: (\d+)\n\n", data)
    return found is not None and 3000 <= int(found[1]) <= 6000


def nothing(client: Client) -> None:
    pass


def test_a_stream_begins_with_the_greeting_and_ends_with_the_closing_frame() -> None:
    found, calls = client(), list[str]()
    found.outbox.send(chunk(1))
    found.end("drained")
    found.end("again")
    parts = list(found.stream(lambda c: calls.append("join"), lambda c: calls.append("leave")))
    assert parts[:2] == [frame.connected(3000), messages(1)]
    assert is_closing(b"".join(parts[2:]))
    assert calls == ["join", "leave"]
    assert (found.reason, found.frames) == ("drained", 1)
    assert found.seconds >= 0


def test_a_stream_that_its_peer_closes_leaves() -> None:
    found, left = client(), list[Client]()
    stream = found.stream(nothing, left.append)
    next(stream)
    stream.close()  # type: ignore[attr-defined] # it is a generator
    assert left == [found]
    assert found.reason == "closed"


def test_a_stream_that_can_not_join_sends_and_leaves_nothing() -> None:
    def refuse(client: Client) -> None:
        raise OSError("no")

    left: list[Client] = []
    with pytest.raises(OSError, match="no"):
        next(client().stream(refuse, left.append))
    assert left == []


def test_a_heartbeat_comes_after_the_timeout_since_the_last_write() -> None:
    found = client(heartbeat_timeout=Pause(0.05))
    stream = found.stream(nothing, nothing)
    next(stream)
    for id in (1, 2):
        found.outbox.send(chunk(id))
        assert next(stream) == messages(id)
        written = time.monotonic()
        assert next(stream) == b"event: heartbeat\ndata: ping\n\n"
        assert 0.05 <= time.monotonic() - written < 5
    assert found.frames == 2
    stream.close()  # type: ignore[attr-defined] # it is a generator


def test_a_stream_that_can_not_tell_old_events_from_new_is_told_to_come_back() -> None:
    def fail(client: Client) -> None:
        raise LogUnavailable("away")

    left: list[Client] = []
    found = client()
    (only,) = found.stream(fail, left.append)
    assert re.fullmatch(rb"event: info\ndata: busy\nretry: [3-6]\d{3}\n\n", only)
    assert (found.reason, left) == ("refused", [])
