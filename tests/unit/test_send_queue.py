"""The queue of one client: what waits in it, and what is sent past it."""

from __future__ import annotations

import contextlib
import errno
import queue
import random
import re
import select
import socket
import threading
import time
from collections.abc import Callable
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flask_sse_sink.config.values import Pause
from flask_sse_sink.filters import EVERYTHING
from flask_sse_sink.stream import frame
from flask_sse_sink.stream.chunk import FRAME_OBJECT_BYTES, Chunk
from flask_sse_sink.stream.client import Client
from flask_sse_sink.stream.direct_socket import DirectSocket
from flask_sse_sink.stream.memory import Memory
from flask_sse_sink.stream.send_queue import SendQueue, shrink_fullest
from flask_sse_sink.stream.settings import SSESettings
from flask_sse_sink.stream.write_batch import WriteBatch
from support.chunks import MANY, MEMORY, chunk, ids_in, messages
from support.examples import at_most
from support.http1 import unchunk
from support.sessions import session
from support.waiting import wait_until

HELLO = frame.connected(3000)
CLOSING = b"event: info\ndata: closing\n"


class Thread:
    """A client's thread that waits in a queue whose sends go to ``write``."""

    def __init__(self, write: Callable[[bytes, int], int], timeout: float = 20) -> None:
        self.queue = SendQueue(10, MANY)
        self.queue.sender.open(write)
        self.found: list[WriteBatch | None] = []
        self._thread = threading.Thread(target=self._run, args=(timeout,))
        self._thread.start()
        wait_until(lambda: self.queue.sender.is_idle or not self._thread.is_alive(), "it waits")

    def _run(self, timeout: float) -> None:
        try:
            self.found.append(self.queue.take(timeout))
        except queue.Empty:
            self.found.append(None)

    def taken(self) -> WriteBatch | None:
        """Return what it took, None for a heartbeat."""
        self._thread.join(20)
        return self.found[0]


def whole(data: bytes, flags: int) -> int:
    return len(data)


def refuse(error: BaseException) -> Callable[[bytes, int], int]:
    def write(data: bytes, flags: int) -> int:
        raise error

    return write


def coded(data: bytes) -> bytes:
    return b"%X\r\n%b\r\n" % (len(data), data)


def test_everything_that_waits_is_taken_as_one() -> None:
    send_queue = SendQueue(10, MANY)
    send_queue.put_nowait(chunk(1))
    send_queue.put_nowait(chunk(2, 3))
    assert send_queue.take(0)[:2] == (messages(1, 2, 3), 3)


def test_an_empty_queue_says_so_after_the_timeout() -> None:
    began = time.monotonic()
    with pytest.raises(queue.Empty):
        SendQueue(10, MANY).take(0.02)
    assert time.monotonic() - began >= 0.02


def test_overflow_by_count_loses_the_oldest_frames() -> None:
    send_queue = SendQueue(2, MANY)
    for id in (1, 2, 3, 4):
        send_queue.put_nowait(chunk(id))
    assert send_queue.take(0)[:2] == (frame.missed(2, 1, 2) + messages(3, 4), 2)


def test_overflow_by_bytes_loses_the_oldest_frames() -> None:
    send_queue = SendQueue(10, len(messages(1, 2)))
    for id in (1, 2, 3):
        send_queue.put_nowait(chunk(id))
    assert send_queue.take(0)[:2] == (frame.missed(1, 1, 1) + messages(2, 3), 2)


def test_overflow_splits_a_chunk() -> None:
    send_queue = SendQueue(2, MANY)
    send_queue.put_nowait(chunk(1, 2, 3))
    send_queue.put_nowait(chunk(4))
    assert send_queue.take(0)[:2] == (frame.missed(2, 1, 2) + messages(3, 4), 2)


def test_the_newest_frame_stays_however_large_it_is() -> None:
    send_queue = SendQueue(1, 1)
    send_queue.put_nowait(chunk(1))
    send_queue.put_nowait(chunk(2))
    assert send_queue.take(0)[:2] == (frame.missed(1, 1, 1) + messages(2), 1)


def test_the_missed_notice_names_its_numbers_once_and_comes_first() -> None:
    send_queue = SendQueue(1, MANY)
    for id in (3, 7, 9):
        send_queue.put_nowait(chunk(id))
    notice = b'event: info\ndata: missed {"count":2,"first_id":3,"last_id":7}\n\n'
    assert send_queue.take(0)[:2] == (notice + messages(9), 1)
    send_queue.put_nowait(chunk(10))
    assert send_queue.take(0)[:2] == (messages(10), 1)


def test_losses_are_counted_anew_after_a_notice() -> None:
    send_queue = SendQueue(1, MANY)
    for id in (1, 2):
        send_queue.put_nowait(chunk(id))
    send_queue.take(0)
    for id in (3, 4):
        send_queue.put_nowait(chunk(id))
    assert send_queue.take(0)[:2] == (frame.missed(1, 3, 3) + messages(4), 1)


def test_what_waits_is_not_all_joined_for_one_write() -> None:
    send_queue = SendQueue(10, MANY)
    send_queue.put_nowait(chunk(1, 2, 3, size=25_000))
    send_queue.put_nowait(chunk(4, size=200_000))
    taken = [ids_in(send_queue.take(0)[0]) for _ in range(3)]
    assert taken == [[1, 2], [3], [4]]
    assert send_queue.waiting_bytes == 0


def test_a_closed_queue_gives_what_waits_and_then_nothing_at_once() -> None:
    send_queue = SendQueue(10, MANY)
    send_queue.put_nowait(chunk(1))
    send_queue.close()
    send_queue.put_nowait(chunk(2))
    assert send_queue.take(60)[:2] == (messages(1), 1)
    assert send_queue.take(60)[:2] == (b"", 0)
    assert send_queue.take(60)[:2] == (b"", 0)


def test_a_single_chunk_can_not_be_taken_from_a_queue() -> None:
    send_queue = SendQueue(10, MANY)
    send_queue.put_nowait(chunk(1))
    with pytest.raises(NotImplementedError):
        send_queue.get_nowait()


def test_a_chunk_is_sent_while_its_thread_waits_and_wakes_nobody() -> None:
    wire: list[bytes] = []
    thread = Thread(lambda data, flags: wire.append(data) or len(data))  # type: ignore[func-returns-value]
    assert thread.queue.sender.send(chunk(1, 2)) == 2
    assert thread.queue.sender.send(chunk(3)) == 1
    assert wire == [coded(messages(1, 2)), coded(messages(3))]
    assert (thread.queue.sender.written, thread.queue.waiting, thread.found) == (3, 0, [])
    thread.queue.close()
    assert thread.taken() == WriteBatch(b"")


def test_without_a_lane_or_a_thread_that_waits_a_chunk_is_kept() -> None:
    send_queue = SendQueue(10, MANY)
    assert send_queue.sender.send(chunk(1)) == 0
    send_queue.sender.open(whole)
    assert send_queue.sender.send(chunk(2)) == 0
    assert send_queue.take(0)[:2] == (messages(1, 2), 2)


def test_what_a_send_leaves_over_is_taken_first_and_then_what_waits() -> None:
    thread = Thread(lambda data, flags: 7)
    first = chunk(1, 2)
    assert thread.queue.sender.send(first) == 0
    taken = thread.taken()
    assert taken is not None
    assert bytes(taken.rest or b"") == coded(messages(1, 2))[7:]
    assert (taken.data, taken.frames, taken.stored_at) == (b"", 2, first.stored_at)
    assert thread.queue.sender.send(chunk(3)) == 0
    assert thread.queue.take(0)[:2] == (messages(3), 1)


def test_a_full_socket_leaves_the_whole_chunk_to_the_thread() -> None:
    thread = Thread(refuse(BlockingIOError()))
    assert thread.queue.sender.send(chunk(1)) == 0
    taken = thread.taken()
    assert taken is not None
    assert (taken.data, taken.frames, taken.rest) == (messages(1), 1, None)


@pytest.mark.parametrize("room", [0, 7])
def test_nothing_overtakes_what_the_socket_had_no_room_for(room: int) -> None:
    for _ in range(20):
        calls: list[bytes] = []

        def write(data: bytes, flags: int, calls: list[bytes] = calls) -> int:
            calls.append(data)
            if len(calls) == 1 and not room:
                raise BlockingIOError
            return room if len(calls) == 1 else len(data)

        thread = Thread(write)
        # The thread is told of the first, and hasn't woken yet.
        thread.queue.sender.send(chunk(1))
        thread.queue.sender.send(chunk(2))
        taken = thread.taken()
        assert taken is not None
        assert len(calls) == 1
        waiting = thread.queue.take(0).data if thread.queue.waiting else b""
        assert bytes(taken.rest or b"") == (coded(messages(1))[7:] if room else b"")
        assert taken.data + waiting == (messages(2) if room else messages(1, 2))


@pytest.mark.parametrize("error", [BrokenPipeError(), OSError(errno.ETIMEDOUT, "silent")])
def test_a_gone_peer_closes_the_queue(error: OSError) -> None:
    thread = Thread(refuse(error))
    assert thread.queue.sender.send(chunk(1)) == 0
    assert thread.taken() == WriteBatch(b"")
    assert (thread.queue.sender.error, thread.queue.closed) == (error, True)
    assert thread.queue.sender.send(chunk(2)) == 0
    assert thread.queue.waiting == 0


def test_a_send_that_is_interrupted_ends_the_stream_as_nobody_knows_what_went_out() -> None:
    thread = Thread(refuse(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        thread.queue.sender.send(chunk(1))
    assert thread.taken() == WriteBatch(b"")
    assert isinstance(thread.queue.sender.error, InterruptedError)


def test_what_came_before_is_passed_over() -> None:
    wire: list[bytes] = []
    thread = Thread(lambda data, flags: wire.append(data) or len(data))  # type: ignore[func-returns-value]
    assert [thread.queue.sender.send(chunk(*ids)) for ids in ((1, 2), (1, 2), (2, 3))] == [2, 0, 1]
    assert wire == [coded(messages(1, 2)), coded(messages(3))]
    thread.queue.close()
    thread.taken()


def test_a_send_puts_the_heartbeat_off() -> None:
    thread = Thread(whole, timeout=0.3)
    for id in range(1, 4):
        time.sleep(0.15)
        assert thread.queue.sender.send(chunk(id)) == 1
    sent = time.monotonic()
    assert thread.found == []
    assert thread.taken() is None
    assert 0.25 < time.monotonic() - sent < 5


def test_a_thread_that_leaves_waits_for_a_send_in_progress() -> None:
    began, goes_on = threading.Event(), threading.Event()

    def slow(data: bytes, flags: int) -> int:
        began.set()
        assert goes_on.wait(20)
        return 3

    thread = Thread(slow)
    sender = threading.Thread(target=thread.queue.sender.send, args=(chunk(1),))
    sender.start()
    assert began.wait(20)
    thread.queue.close(forget=True)
    time.sleep(0.05)
    assert thread.found == []
    goes_on.set()
    sender.join(20)
    taken = thread.taken()
    # Half a chunk is on the wire: the rest is never forgotten.
    assert taken is not None
    assert bytes(taken.rest or b"") == coded(messages(1))[3:]


@given(
    st.lists(st.one_of(st.integers(1, 5), st.none()), max_size=30),
    st.integers(1, 6),
    st.integers(1, 1500),
)
def test_what_is_read_is_all_messages_but_those_that_the_notices_count(
    steps: list[int | None], max_frames: int, max_bytes: int
) -> None:
    send_queue = SendQueue(max_frames, max_bytes)
    sent = 0
    expected = 1
    for step in [*steps, None]:
        if step is not None:
            send_queue.put_nowait(chunk(*range(sent + 1, sent + step + 1)))
            sent += step
            continue
        try:
            data, count, *_ = send_queue.take(0)
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


def test_a_shrinking_queue_may_lose_even_its_newest_frame_and_says_so() -> None:
    send_queue = SendQueue(10, MANY)
    for id in (1, 2, 3):
        send_queue.sender.send(chunk(id))
    send_queue.shrink(len(messages(3)))
    assert (send_queue.waiting, send_queue.waiting_bytes) == (1, len(messages(3)))
    send_queue.shrink(0)
    assert send_queue.waiting == 0
    assert send_queue.sent_up_to(0) is None
    assert send_queue.take(0) == WriteBatch(frame.missed(3, 1, 3), 0, 3)
    send_queue.sender.send(chunk(4))
    assert send_queue.take(0)[:2] == (messages(4), 1)


def test_a_thread_that_waits_is_told_of_what_was_lost_before_it_woke() -> None:
    for _ in range(20):
        thread = Thread(refuse(BlockingIOError()))
        thread.queue.sender.send(chunk(1))
        thread.queue.shrink(0)
        taken = thread.taken()
        assert taken is not None
        assert (taken.data, taken.lost) in [(messages(1), 0), (frame.missed(1, 1, 1), 1)]


def test_a_shrinking_lossless_queue_falls_behind() -> None:
    send_queue = SendQueue(10, MANY, lossless=True)
    send_queue.sender.send(chunk(5))
    send_queue.sender.send(chunk(6))
    send_queue.shrink(send_queue.waiting_bytes)
    assert send_queue.waiting == 2
    send_queue.shrink(send_queue.waiting_bytes - 1)
    assert send_queue.waiting == 0
    assert send_queue.take(0).behind == 4


def test_the_fullest_queues_lose_first() -> None:
    memory = Memory(100_000)
    full, fuller, empty = (SendQueue(1000, MANY) for _ in range(3))
    for id in range(1, 31):
        full.sender.send(chunk(id, size=1000, memory=memory))
    for id in range(31, 131):
        fuller.sender.send(chunk(id, size=1000, memory=memory))
    assert memory.exceeded
    shrink_fullest([full, fuller, empty], memory)
    assert 60_000 < memory.used <= 87_500
    assert full.waiting == 30
    # No more than is needed, and the newest stay.
    assert 25 <= fuller.waiting < 50
    waiting = fuller.waiting
    assert ids_in(fuller.take(0).data)[0] == 131 - waiting
    assert empty.waiting == 0


def test_queues_that_share_their_frames_lose_them_together() -> None:
    memory = Memory(50_000)
    queues = [SendQueue(1000, MANY) for _ in range(8)]
    for id in range(1, 101):
        made = chunk(id, size=1000, memory=memory)
        for send_queue in queues:
            send_queue.sender.send(made)
    del made
    shrink_fullest(queues, memory)
    assert 25_000 < memory.used <= 43_750
    assert len({send_queue.waiting for send_queue in queues}) == 1


def test_nobody_loses_anything_for_what_nobody_holds() -> None:
    memory = Memory(100)
    kept = chunk(1, size=1000, memory=memory)
    send_queue = SendQueue(10, MANY)
    shrink_fullest([send_queue], memory)
    shrink_fullest([], memory)
    assert send_queue.sent_up_to(0) == 0
    assert memory.exceeded and kept.count == 1


@given(
    st.lists(
        st.one_of(
            # How many events, of which size, and by the bits of a number who gets each of them.
            st.tuples(st.integers(1, 4), st.integers(2, 3000), st.integers(0, 7)),
            st.sampled_from(["take 0", "take 1", "take 2"]),
        ),
        max_size=40,
    ),
    st.integers(500, 20_000),
    st.integers(1, 20),
)
def test_a_bound_for_all_queues_holds_and_every_loss_is_told(
    steps: list[tuple[int, int, int] | str], limit: int, max_frames: int
) -> None:
    memory = Memory(limit)
    queues = [SendQueue(max_frames, MANY) for _ in range(3)]
    sent: list[list[int]] = [[], [], []]
    told: list[list[int]] = [[], [], []]
    next_id = 1

    def take(who: int) -> None:
        with contextlib.suppress(queue.Empty):
            taken = queues[who].take(0)
            data = taken.data
            begin = len(told[who])
            if taken.lost:
                notice = re.match(
                    rb'event: info\ndata: missed \{"count":(\d+),"first_id":(\d+),"last_id":(\d+)'
                    rb"\}\n\n",
                    data,
                )
                assert notice is not None
                count, first, last = (int(number) for number in notice.groups())
                assert sent[who][begin : begin + count][:: max(1, count - 1)] in (
                    [first, last],
                    [first],
                )
                assert count == taken.lost
                told[who] += sent[who][begin : begin + count]
                data = data[notice.end() :]
            found = ids_in(data)
            assert len(found) == taken.frames
            assert data.count(b"\n\n") == len(found)
            told[who] += found

    for step in steps:
        if isinstance(step, str):
            take(int(step[-1]))
            continue
        count, size, who_gets = step
        made = chunk(*range(next_id, next_id + count), size=size, memory=memory)
        next_id += count
        for number, send_queue in enumerate(queues):
            if who_gets >> number & 1:
                send_queue.sender.send(made)
                sent[number] += [each.id for each in made.frames]
        del made
        if memory.exceeded:
            shrink_fullest(queues, memory)
        assert not memory.exceeded
        waiting = {id(each): each for send_queue in queues for each in send_queue.waiting_frames}
        assert memory.used == sum(len(each.data) + FRAME_OBJECT_BYTES for each in waiting.values())
        del waiting
    for who in range(3):
        while told[who] != sent[who]:
            before = len(told[who])
            take(who)
            assert len(told[who]) > before
    assert memory.used == 0


class Served:
    """A stream over a socket pair of small buffers, its thread writing the way gunicorn does."""

    def __init__(self, buffer: int, **made: object) -> None:
        self.mine, self.peer = socket.socketpair()
        for each in (self.mine, self.peer):
            each.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer)
            each.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        self.answer = SimpleNamespace(chunked=True, sent=0, headers=[("Server", "test")])
        values = SSESettings(heartbeat_timeout=Pause(0.01), **made)  # type: ignore[arg-type]
        self.direct = DirectSocket(self.mine, self.answer)
        self.client = Client("live", EVERYTHING, None, values)
        self.queue = self.client.queue
        self.ids: list[int] = []
        self.raw = b""
        self._threads = [threading.Thread(target=self._serve)]

    def _serve(self) -> None:
        stream = session(self.client, direct=self.direct)
        try:
            with contextlib.suppress(OSError):
                for part in stream:
                    self.answer.sent += len(part)
                    self.mine.sendall(coded(part))
                self.mine.sendall(b"0\r\n\r\n")
        finally:
            stream.close()
            self.mine.close()

    def read(self, seed: int, most: int = MANY) -> None:
        """Begin to read, now a little, now much, now nothing; hang up after ``most`` bytes."""
        self._threads.append(threading.Thread(target=self._read, args=(seed, most)))
        for thread in self._threads:
            thread.start()

    def _read(self, seed: int, most: int) -> None:
        chance = random.Random(seed)
        with self.peer, contextlib.suppress(ConnectionError):
            while len(self.raw) < most:
                select.select([self.peer], [], [], 20)
                if chance.random() < 0.2:
                    time.sleep(chance.random() * 0.01)
                found = self.peer.recv(chance.choice((1, 50, 3000, 1 << 20)))
                if not found:
                    return
                self.raw += found

    def send(self, made: Chunk) -> None:
        self.ids += [each.id for each in made.frames]
        self.queue.sender.send(made)

    def join(self) -> None:
        for thread in self._threads:
            thread.join(20)
            assert not thread.is_alive()


def test_a_stream_that_is_dropped_with_half_a_chunk_on_the_wire_is_cut_there() -> None:
    served = Served(65536)
    direct = served.direct

    def half(data: bytes, flags: int) -> int:
        served.client.drop("closed")
        return served.mine.send(data[:9])

    direct.send = half
    served.read(0)
    wait_until(lambda: served.queue.sender.is_idle, "its thread waits")
    served.send(chunk(1))
    served.join()
    # Nothing that the server adds at the end is taken for the rest of the frame.
    assert served.raw.endswith(coded(messages(1))[:9])


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (BrokenPipeError(errno.EPIPE, "gone"), "closed"),
        (OSError(errno.ETIMEDOUT, "silent"), "stalled"),
        (KeyboardInterrupt(), "failed"),
    ],
)
def test_a_stream_says_why_a_send_ended_it(error: BaseException, reason: str) -> None:
    served = Served(65536)
    direct = served.direct
    direct.send = refuse(error)
    served.read(0)
    wait_until(lambda: served.queue.sender.is_idle, "its thread waits")
    with contextlib.suppress(KeyboardInterrupt):
        served.send(chunk(1))
    served.join()
    assert served.client.reason == reason
    # The connection is cut: nothing comes after what may be half a chunk.
    assert not served.raw.endswith(b"0\r\n\r\n")


STEPS = st.lists(
    st.one_of(
        st.tuples(st.integers(1, 4), st.sampled_from([2, 300, 5000, 60_000])),
        st.floats(0, 0.02),
    ),
    min_size=1,
    max_size=25,
)


def run(served: Served, steps: list[tuple[int, int] | float]) -> list[bytes]:
    """Take the steps, and return all frames that the client has to get."""
    expected = []
    for step in steps:
        if isinstance(step, float):
            time.sleep(step)
            continue
        count, size = step
        first = served.ids[-1] + 1 if served.ids else 1
        made = chunk(*range(first, first + count), size=size)
        expected += [each.data for each in made.frames]
        served.send(made)
    return expected


def frames_in(body: bytes) -> list[bytes]:
    assert body.endswith(b"\n\n")
    return [part + b"\n\n" for part in body.split(b"\n\n")[:-1]]


@settings(max_examples=at_most(60), deadline=None)
@given(STEPS, st.sampled_from([1, 4096, 65536]), st.integers(0, 1 << 30))
def test_what_is_read_is_whole_frames_in_order(
    steps: list[tuple[int, int] | float], buffer: int, seed: int
) -> None:
    served = Served(buffer, queue_size=MANY)
    served.read(seed)
    expected = run(served, steps)
    served.client.end("drained")
    served.join()
    assert served.raw.endswith(b"0\r\n\r\n")
    found = frames_in(unchunk(served.raw)[0])
    assert found[0] == HELLO
    assert found[-1].startswith(CLOSING)
    assert [each for each in found[1:-1] if each != frame.HEARTBEAT] == expected
    assert served.client.frames == len(expected)


@settings(max_examples=at_most(40), deadline=None)
@given(STEPS, st.sampled_from([1, 65536]), st.integers(0, 1 << 30), st.integers(0, 300_000))
def test_a_peer_that_hangs_up_has_read_whole_frames_up_to_the_last_byte(
    steps: list[tuple[int, int] | float], buffer: int, seed: int, most: int
) -> None:
    served = Served(buffer, queue_size=MANY)
    served.read(seed, most)
    expected = run(served, steps)
    time.sleep(0.01)
    # Somebody else may find out first.
    if seed % 2:
        served.client.drop("closed")
    served.client.end("drained")
    served.join()
    *found, end = unchunk(served.raw)[0].split(b"\n\n")
    messages = [each + b"\n\n" for each in found[1:]]
    messages = [each for each in messages if each not in (frame.HEARTBEAT, b"")]
    if messages and messages[-1].startswith(CLOSING):
        messages.pop()
    assert messages == expected[: len(messages)]
    # The end may be cut anywhere in the next message, or in something of the server's own.
    ends = [HELLO, frame.HEARTBEAT, *expected[len(messages) :][:1]]
    assert any(each.startswith(end) for each in ends) or end.startswith(CLOSING[: len(end)])
    assert served.client.reason in ("closed", "drained")


@settings(max_examples=at_most(40), deadline=None)
@given(STEPS, st.integers(0, 1 << 30), st.integers(1, 6))
def test_a_slow_reader_misses_what_the_notices_say_and_nothing_else(
    steps: list[tuple[int, int] | float], seed: int, most: int
) -> None:
    served = Served(1, queue_size=most)
    served.read(seed)
    run(served, steps)
    served.client.end("drained")
    served.join()
    expected = 1
    missed = 0
    for each in frames_in(unchunk(served.raw)[0])[1:-1]:
        if each == frame.HEARTBEAT:
            continue
        notice = re.fullmatch(
            rb'event: info\ndata: missed \{"count":(\d+),"first_id":(\d+).*\n\n', each
        )
        if notice:
            assert int(notice[2]) == expected
            expected += int(notice[1])
            missed += int(notice[1])
        else:
            found = re.match(rb"event: message\nid: (\d+)\n", each)
            assert found is not None
            assert int(found[1]) == expected
            expected += 1
    assert expected == len(served.ids) + 1
    assert served.client.missed == missed


def test_a_lossless_queue_gives_all_up_and_says_from_where() -> None:
    send_queue = SendQueue(3, MANY, lossless=True)
    send_queue.sender.send(chunk(5))
    assert send_queue.take(0).behind is None
    for ids in ((7,), (9, 10), (12,), (13,)):
        send_queue.sender.send(chunk(*ids))
    assert send_queue.waiting == 0
    assert send_queue.take(0) == WriteBatch(b"", behind=6)
    # It takes nothing until it is told where the log ended.
    send_queue.sender.send(chunk(14))
    with pytest.raises(queue.Empty):
        send_queue.take(0)
    send_queue.resume(15)
    send_queue.sender.send(chunk(15))
    send_queue.sender.send(chunk(15, 16))
    assert ids_in(send_queue.take(0).data) == [16]


def test_a_lossless_queue_that_overflows_at_one_chunk_lost_nothing_of_it() -> None:
    send_queue = SendQueue(3, MANY, lossless=True)
    send_queue.sender.send(chunk(5, 6, 7, 8))
    assert send_queue.take(0).behind == 4


def test_the_rest_of_a_chunk_survives_falling_behind() -> None:
    sent: list[bytes] = []

    def part(data: bytes, flags: int) -> int:
        sent.append(data[:7])
        return 7

    thread = Thread(part)
    thread.queue.lossless = True
    thread.queue.max_frames = 1
    one = chunk(5)
    thread.queue.sender.send(one)
    taken = thread.taken()
    assert taken is not None and taken.rest is not None
    assert sent[0] + bytes(taken.rest) == one.wire
    for id in (6, 7):
        thread.queue.sender.send(chunk(id))
    assert thread.queue.take(0).behind == 5


def test_a_lossless_queue_keeps_a_frame_that_is_larger_than_it() -> None:
    send_queue = SendQueue(3, 10, lossless=True)
    send_queue.sender.send(chunk(5))
    assert ids_in(send_queue.take(0).data) == [5]


def test_what_is_certain_to_be_sent() -> None:
    send_queue = SendQueue(10, MANY)
    assert send_queue.sent_up_to(3) == 3
    send_queue.sender.send(chunk(5))
    assert send_queue.sent_up_to(9) is None
    send_queue.take(0)
    assert send_queue.sent_up_to(3) == 5
    assert send_queue.sent_up_to(9) == 9
    send_queue.close()
    assert send_queue.sent_up_to(9) is None


def test_what_was_sent_at_once_is_certain() -> None:
    thread = Thread(whole, timeout=1)
    thread.queue.sender.send(chunk(5))
    assert thread.taken() is None
    assert thread.queue.sent_up_to(4) == 5


def test_a_wait_ends_when_it_is_closed() -> None:
    send_queue = SendQueue(10, MANY)
    send_queue.wait_closed(0.01)
    closing = threading.Timer(0.05, send_queue.close)
    closing.start()
    began = time.monotonic()
    send_queue.wait_closed(30)
    assert time.monotonic() - began < 10
    closing.join()


def test_a_gap_has_its_place_among_the_events() -> None:
    send_queue = SendQueue(10, MANY)
    send_queue.sender.send(chunk(1))
    send_queue.sender.send(Chunk.of_gap(3, 2, 4, MEMORY))
    send_queue.sender.send(Chunk.of_gap(3, 2, 4, MEMORY))
    send_queue.sender.send(chunk(5))
    gap = frame.missed(3, 2, 4, reason="pruned")
    assert send_queue.take(0).data == messages(1) + gap + messages(5)
