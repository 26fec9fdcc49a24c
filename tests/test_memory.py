"""How much memory waiting frames are said to take."""

from __future__ import annotations

import threading

from chunks import MANY, event
from flask import Flask

from flask_sse_sink.config.settings import SinkSettings
from flask_sse_sink.event import Event
from flask_sse_sink.filters import EVERYTHING, parse
from flask_sse_sink.sinks.sse import Sink
from flask_sse_sink.stream.chunk import CHUNK_BYTES, Chunk, Frame, chunks, release
from flask_sse_sink.stream.client import Client
from flask_sse_sink.stream.memory import Memory

APP = Flask("app_of_a_test")


def sink_with(memory: Memory, *queries: str) -> tuple[Sink, list[Client]]:
    """Return a sink and a client for each query, whose threads take nothing."""
    settings = SinkSettings()
    sink = Sink("live", settings, memory)
    made = []
    for query in queries:
        filter = parse(query.split(",")) if query else EVERYTHING
        made.append(Client("live", filter, None, settings))
        sink.add(made[-1])
    return sink, made


def deliver(sinks: list[Sink], events: list[Event]) -> None:
    for sink in sinks:
        sink.on_events_stored(APP, events)
    release(events)


def test_a_frame_counts_from_when_it_is_made_until_nobody_refers_to_it() -> None:
    memory = Memory(MANY)
    made = Frame(b"x" * 1000, 1, 0.0, memory)
    assert 1000 <= memory.used < 1500
    again = made
    del made
    assert memory.used >= 1000
    del again
    assert memory.used == 0


def test_more_than_the_limit_is_too_much() -> None:
    memory = Memory(2000)
    frames, found = [], []
    for id in (1, 2):
        frames.append(Frame(b"x" * 1000, id, 0.0, memory))
        found.append(memory.exceeded)
    frames.clear()
    assert [*found, memory.exceeded] == [False, True, False]


def test_frames_that_end_on_many_threads_are_counted_to_the_byte() -> None:
    memory = Memory(MANY)

    def work() -> None:
        kept: list[Frame] = []
        for id in range(20_000):
            kept.append(Frame(b"x", id, 0.0, memory))
            if len(kept) == 7:
                kept.clear()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        assert memory.used >= 0
        threads[0].join(0.01)
    for thread in threads:
        thread.join()
    assert memory.used == 0


def test_what_was_made_before_a_reset_changes_nothing() -> None:
    memory = Memory(MANY)
    before = Frame(b"x" * 1000, 1, 0.0, memory)
    memory.reset()
    del before
    assert memory.used == 0


def test_an_event_is_framed_once_and_no_longer_kept_than_it_waits() -> None:
    memory = Memory(MANY)
    one = event(1)
    assert Frame.of(one, memory) is Frame.of(one, memory)
    assert memory.used > 0
    release([one])
    # Somebody may keep the event.
    assert memory.used == 0


def test_filters_and_sinks_share_the_frames_of_what_waits() -> None:
    memory = Memory(MANY)
    queries = ["", "a.*", *(f"a.b,none.n{n}" for n in range(60))]
    first, clients = sink_with(memory, *queries)
    second, others = sink_with(memory, *queries)
    deliver([first, second], [event(id, 10_000) for id in (1, 2, 3)])
    waiting = [client.outbox._waiting for client in clients + others]
    assert len({tuple(map(id, frames)) for frames in waiting}) == 1
    assert 30_000 < memory.used < 32_000
    for client in (clients + others)[1:]:
        client.outbox.close(forget=True)
    assert memory.used > 30_000
    clients[0].outbox.close(forget=True)
    assert memory.used == 0


def test_what_is_delivered_and_does_not_wait_takes_nothing_afterwards() -> None:
    memory = Memory(MANY)
    sink, (client,) = sink_with(memory, "")
    deliver([sink], [event(1, 10_000), event(2, 10_000)])
    client.outbox.get_frames(0)
    assert memory.used == 0


def test_what_waits_keeps_no_joined_bytes() -> None:
    memory = Memory(MANY)
    sink, (client,) = sink_with(memory, "")
    sent: list[bytes] = []

    def part(data: bytes, flags: int) -> int:
        sent.append(data)
        return 7

    client.outbox.open_lane(part)
    client.outbox._idle = True
    deliver([sink], [event(id, 1000) for id in (1, 2, 3)])
    assert client.outbox._rest is not None
    assert client.outbox._rest[0].wire == b""
    # It is joined again when it is written, from the byte at which the send ended.
    rest = client.outbox.get_frames(0).rest
    assert rest is not None
    assert bytes(rest) == sent[0][7:]


def test_a_page_that_is_large_is_sent_in_chunks_of_a_bounded_size() -> None:
    memory = Memory(MANY)
    sizes = [100_000, 100_000, 100_000, 2, 2, 400_000, 2]
    frames = [Frame.of(event(id, size), memory) for id, size in enumerate(sizes, 1)]
    made = list(chunks(frames))
    assert [[each.id for each in chunk.frames] for chunk in made] == [[1, 2], [3, 4, 5], [6], [7]]
    assert all(chunk.size <= CHUNK_BYTES for chunk in made if chunk.count > 1)
    assert [len(list(chunks(frames[:n]))) for n in (1, 2, 3)] == [1, 1, 2]


def test_a_notice_of_what_was_pruned_is_counted_where_it_waits() -> None:
    memory = Memory(MANY)
    sink, (client,) = sink_with(memory, "")
    sink.on_events_lost(2, 4)
    assert memory.used > 0
    assert client.outbox.get_frames(0).frames == 1
    assert memory.used == 0
    assert Chunk.gap(1, 2, 2, memory).after(2) is None
