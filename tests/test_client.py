"""The outbox of one client, and the stream made of it."""

from __future__ import annotations

import queue
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from flask_sse_sink import frame
from flask_sse_sink.chunk import Chunk
from flask_sse_sink.client import Client
from flask_sse_sink.event import Event, Source
from flask_sse_sink.outbox import Outbox
from flask_sse_sink.pattern import EVERYTHING
from flask_sse_sink.settings import Pause, SinkSettings

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


def client(**settings: object) -> Client:
    made = SinkSettings(**settings)  # type: ignore[arg-type] # the test's own keywords
    return Client("live", EVERYTHING, "127.0.0.1", made)


def is_closing(data: bytes) -> bool:
    """Return whether it is the last frame of a stream that is told to come back after 3 s."""
    found = re.fullmatch(rb"event: info\ndata: closing\nretry: (\d+)\n\n", data)
    return found is not None and 3000 <= int(found[1]) <= 6000


def nothing(client: Client) -> None:
    pass


def test_a_chunk_of_one_event_shares_that_events_frame() -> None:
    one = event(1)
    assert Chunk([one]).data is frame.message(one)


def test_everything_that_waits_is_taken_as_one() -> None:
    outbox = Outbox(10, MANY)
    outbox.put_nowait(chunk(1))
    outbox.put_nowait(chunk(2, 3))
    assert outbox.get_frames(0)[:2] == (messages(1, 2, 3), 3)


def test_an_empty_outbox_says_so_after_the_timeout() -> None:
    began = time.monotonic()
    with pytest.raises(queue.Empty):
        Outbox(10, MANY).get_frames(0.02)
    assert time.monotonic() - began >= 0.02


def test_overflow_by_count_loses_the_oldest_frames() -> None:
    outbox = Outbox(2, MANY)
    for id in (1, 2, 3, 4):
        outbox.put_nowait(chunk(id))
    assert outbox.get_frames(0)[:2] == (frame.missed(2, 1, 2) + messages(3, 4), 2)


def test_overflow_by_bytes_loses_the_oldest_frames() -> None:
    outbox = Outbox(10, len(messages(1, 2)))
    for id in (1, 2, 3):
        outbox.put_nowait(chunk(id))
    assert outbox.get_frames(0)[:2] == (frame.missed(1, 1, 1) + messages(2, 3), 2)


def test_overflow_splits_a_chunk() -> None:
    outbox = Outbox(2, MANY)
    outbox.put_nowait(chunk(1, 2, 3))
    outbox.put_nowait(chunk(4))
    assert outbox.get_frames(0)[:2] == (frame.missed(2, 1, 2) + messages(3, 4), 2)


def test_the_newest_frame_stays_however_large_it_is() -> None:
    outbox = Outbox(1, 1)
    outbox.put_nowait(chunk(1))
    outbox.put_nowait(chunk(2))
    assert outbox.get_frames(0)[:2] == (frame.missed(1, 1, 1) + messages(2), 1)


def test_the_missed_notice_names_its_numbers_once_and_comes_first() -> None:
    outbox = Outbox(1, MANY)
    for id in (3, 7, 9):
        outbox.put_nowait(chunk(id))
    notice = b'event: info\ndata: missed {"count":2,"first_id":3,"last_id":7}\n\n'
    assert outbox.get_frames(0)[:2] == (notice + messages(9), 1)
    outbox.put_nowait(chunk(10))
    assert outbox.get_frames(0)[:2] == (messages(10), 1)


def test_losses_are_counted_anew_after_a_notice() -> None:
    outbox = Outbox(1, MANY)
    for id in (1, 2):
        outbox.put_nowait(chunk(id))
    outbox.get_frames(0)
    for id in (3, 4):
        outbox.put_nowait(chunk(id))
    assert outbox.get_frames(0)[:2] == (frame.missed(1, 3, 3) + messages(4), 1)


def test_large_chunks_are_not_all_joined_for_one_write() -> None:
    outbox = Outbox(10, MANY)
    for id in (1, 2, 3):
        outbox.put_nowait(Chunk([event(id, 200_000)]))
    taken = [ids_in(outbox.get_frames(0)[0]) for _ in range(2)]
    assert taken == [[1, 2], [3]]


def test_a_closed_outbox_gives_what_waits_and_then_nothing_at_once() -> None:
    outbox = Outbox(10, MANY)
    outbox.put_nowait(chunk(1))
    outbox.close()
    outbox.put_nowait(chunk(2))
    assert outbox.get_frames(60)[:2] == (messages(1), 1)
    assert outbox.get_frames(60)[:2] == (b"", 0)
    assert outbox.get_frames(60)[:2] == (b"", 0)


def test_a_single_chunk_can_not_be_taken_from_a_outbox() -> None:
    outbox = Outbox(10, MANY)
    outbox.put_nowait(chunk(1))
    with pytest.raises(NotImplementedError):
        outbox.get_nowait()


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


@given(
    st.lists(st.one_of(st.integers(1, 5), st.none()), max_size=30),
    st.integers(1, 6),
    st.integers(1, 1500),
)
def test_what_is_read_is_all_messages_but_those_that_the_notices_count(
    steps: list[int | None], max_frames: int, max_bytes: int
) -> None:
    outbox = Outbox(max_frames, max_bytes)
    sent = 0
    expected = 1
    for step in [*steps, None]:
        if step is not None:
            outbox.put_nowait(chunk(*range(sent + 1, sent + step + 1)))
            sent += step
            continue
        try:
            data, count, *_ = outbox.get_frames(0)
        except queue.Empty:
            continue
        notice = re.match(rb"event: info\ndata: missed (.*)\n\n", data)
        if notice:
            lost, first, last = (int(number) for number in re.findall(rb"\d+", notice[1]))
            assert first == expected
            assert last - first + 1 == lost
            expected = last + 1
        found = ids_in(data)
        assert data.endswith(messages(*found))
        assert b"missed" not in data[notice.end() if notice else 0 :]
        assert found == list(range(expected, expected + count))
        assert len(found) <= max_frames
        expected += count
    assert expected == sent + 1
