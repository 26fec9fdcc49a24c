"""How much memory waiting frames take, and that each is counted once."""

from __future__ import annotations

import threading

from flask_sse_sink.event import Event
from flask_sse_sink.filters import EVERYTHING, parse
from flask_sse_sink.stream.chunk import CHUNK_BYTES, Chunk, Frame, split
from flask_sse_sink.stream.client import Client
from flask_sse_sink.stream.memory import Memory
from flask_sse_sink.stream.settings import SSESettings
from flask_sse_sink.stream.subscribers import Subscribers
from support.chunks import MANY, delivery, event


def subscribed(memory: Memory, *queries: str) -> tuple[Subscribers, list[Client]]:
    """Return a client for each query, whose threads take nothing."""
    settings = SSESettings()
    subscribers = Subscribers("live", EVERYTHING, memory)
    clients = []
    for query in queries:
        filter = parse(query.split(",")) if query else EVERYTHING
        clients.append(Client("live", filter, None, settings))
        subscribers.add(clients[-1])
    return subscribers, clients


def deliver(all: list[Subscribers], events: list[Event], memory: Memory) -> None:
    made = delivery(*events, memory=memory)
    for subscribers in all:
        subscribers.dispatch(made)
    made.release()


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
    one = delivery(event(1), memory=memory)
    assert one.frame(0) is one.frame(0)
    assert memory.used > 0
    one.release()
    # A receiver of the signal may keep the events.
    assert memory.used == 0
    assert one[0].id == 1


def test_filters_and_sinks_share_the_frames_of_what_waits() -> None:
    memory = Memory(MANY)
    queries = ["", "a.*", *(f"a.b,none.n{n}" for n in range(60))]
    first, clients = subscribed(memory, *queries)
    second, others = subscribed(memory, *queries)
    deliver([first, second], [event(n, 10_000) for n in (1, 2, 3)], memory)
    waiting = [client.queue.waiting_frames for client in clients + others]
    assert len({tuple(map(id, frames)) for frames in waiting}) == 1
    assert 30_000 < memory.used < 32_000
    del waiting
    for client in (clients + others)[1:]:
        client.queue.close(forget=True)
    assert memory.used > 30_000
    clients[0].queue.close(forget=True)
    assert memory.used == 0


def test_what_is_delivered_and_does_not_wait_takes_nothing_afterwards() -> None:
    memory = Memory(MANY)
    subscribers, (client,) = subscribed(memory, "")
    deliver([subscribers], [event(1, 10_000), event(2, 10_000)], memory)
    client.queue.take(0)
    assert memory.used == 0


def test_what_waits_keeps_no_joined_bytes() -> None:
    memory = Memory(MANY)
    subscribers, (client,) = subscribed(memory, "")
    sent: list[bytes] = []

    def part(data: bytes, flags: int) -> int:
        sent.append(data)
        return 7

    client.queue.sender.open(part)
    client.queue.sender.begin_idle()
    deliver([subscribers], [event(id, 1000) for id in (1, 2, 3)], memory)
    # Frames alone: three of a thousand bytes, with their objects.
    assert memory.used < 4500
    # It is joined again when it is written, from the byte at which the send ended.
    rest = client.queue.take(0).rest
    assert rest is not None
    assert bytes(rest) == sent[0][7:]


def test_a_page_that_is_large_is_sent_in_chunks_of_a_bounded_size() -> None:
    memory = Memory(MANY)
    sizes = [100_000, 100_000, 100_000, 2, 2, 400_000, 2]
    events = delivery(*(event(id, size) for id, size in enumerate(sizes, 1)), memory=memory)
    frames = [events.frame(n) for n in range(len(sizes))]
    made = list(split(frames))
    assert [[each.id for each in chunk.frames] for chunk in made] == [[1, 2], [3, 4, 5], [6], [7]]
    assert all(chunk.size <= CHUNK_BYTES for chunk in made if chunk.count > 1)
    assert [len(list(split(frames[:n]))) for n in (1, 2, 3)] == [1, 1, 2]


def test_a_notice_of_what_was_pruned_is_counted_where_it_waits() -> None:
    memory = Memory(MANY)
    subscribers, (client,) = subscribed(memory, "")
    subscribers.on_gap(2, 4)
    assert memory.used > 0
    assert client.queue.take(0).frames == 1
    assert memory.used == 0
    assert Chunk.of_gap(1, 2, 2, memory).after(2) is None
