"""Heartbeats that are sent without waking the clients' threads."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from flask_sse_sink.config.values import Pause, ReplayBound
from flask_sse_sink.filters import EVERYTHING
from flask_sse_sink.log.sqlite.log import SQLiteLog
from flask_sse_sink.relay import Relay
from flask_sse_sink.stream import frame
from flask_sse_sink.stream.client import Client
from flask_sse_sink.stream.heartbeats import Heartbeats
from flask_sse_sink.stream.settings import SSESettings
from flask_sse_sink.stream.write_batch import WriteBatch
from flask_sse_sink.submission import new_event
from support.chunks import chunk
from support.waiting import wait_until


def coded(data: bytes) -> bytes:
    return b"%X\r\n%b\r\n" % (len(data), data)


class _Listener:
    def on_events(self, envelopes: object) -> None: ...
    def on_gap(self, first_id: int, last_id: int) -> None: ...
    def on_log_replaced(self) -> None: ...
    def on_tail(self) -> None: ...


class Waiting:
    """A client whose thread waits for its queue, and what was written to it and when."""

    def __init__(
        self, seconds: float = 1.0, replay: bool = False, room: Callable[[], int] = lambda: 10**6
    ) -> None:
        settings = SSESettings(heartbeat_timeout=Pause(seconds), replay=ReplayBound(replay))
        self.client = Client("s", EVERYTHING, None, settings)
        self.written: list[bytes] = []
        self.times: list[float] = []
        self.batches: list[WriteBatch] = []
        self._room = room
        self.client.queue.sender.open(self._write)
        self._thread = threading.Thread(target=self._run)
        self.began = time.monotonic()
        self._thread.start()
        wait_until(lambda: self.client.queue.sender.is_idle, "its thread waits")

    def _write(self, data: bytes, flags: int) -> int:
        room = self._room()
        if not room:
            raise BlockingIOError
        self.written.append(data[:room])
        self.times.append(time.monotonic())
        return min(room, len(data))

    def _run(self) -> None:
        while not self.client.queue.closed:
            try:
                self.batches.append(self.client.queue.take(60))
            except queue.Empty:
                self.batches.append(WriteBatch(b"heartbeat"))

    def end(self) -> None:
        self.client.end("drained")
        self._thread.join(20)
        assert not self._thread.is_alive()


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[Relay]:
    log = SQLiteLog(tmp_path / "events.db")
    log.append([new_event("a") for _ in range(7)])
    relay = Relay(log, _Listener())
    relay.begin()
    yield relay
    log.close()


@pytest.fixture
def heartbeats(relay: Relay) -> Iterator[Heartbeats]:
    heartbeats = Heartbeats(relay)
    heartbeats.start()
    yield heartbeats
    heartbeats.stop()


def test_heartbeats_come_in_quiet_times_and_wake_no_thread(heartbeats: Heartbeats) -> None:
    quiet, replaying = Waiting(), Waiting(replay=True)
    for each in (quiet, replaying):
        assert heartbeats.add(each.client)
    wait_until(lambda: len(quiet.written) > 1 and len(replaying.written) > 1, "two heartbeats")
    assert set(quiet.written) == {coded(frame.HEARTBEAT)}
    # All events up to the relay's cursor were handed to it.
    assert set(replaying.written) == {coded(frame.heartbeat(7))}
    for each in (quiet, replaying):
        gaps = [
            later - at for at, later in zip([each.began, *each.times], each.times, strict=False)
        ]
        assert all(0.85 < gap < 2.5 for gap in gaps), gaps
        assert each.batches == []
        each.end()


def test_an_event_puts_the_heartbeat_off(heartbeats: Heartbeats) -> None:
    client = Waiting()
    heartbeats.add(client.client)
    for id in range(1, 6):
        time.sleep(0.4)
        assert client.client.queue.sender.send(chunk(id)) == 1
    assert len(client.written) == 5
    sent = time.monotonic()
    wait_until(lambda: len(client.written) == 6, "a heartbeat")
    assert 0.85 < time.monotonic() - sent < 2.5
    client.end()


@pytest.mark.parametrize("room", [0, 3])
def test_what_the_socket_does_not_take_is_left_to_the_thread(
    heartbeats: Heartbeats, room: int
) -> None:
    client = Waiting(room=lambda: room)
    heartbeats.add(client.client)
    wait_until(lambda: client.batches, "its thread is woken")
    rest = client.batches[0].rest
    assert rest is not None
    assert b"".join(client.written[:1]) + bytes(rest) == coded(frame.HEARTBEAT)
    assert (client.batches[0].frames, client.batches[0].stored_at) == (0, 0.0)
    client.end()


def test_a_peer_that_is_gone_is_dropped(heartbeats: Heartbeats) -> None:
    def gone() -> int:
        raise BrokenPipeError

    client = Waiting(room=gone)
    heartbeats.add(client.client)
    wait_until(lambda: client.client.queue.closed, "it is closed")
    assert isinstance(client.client.queue.sender.error, BrokenPipeError)
    client.end()


def test_those_that_are_due_together_are_sent_within_a_second(heartbeats: Heartbeats) -> None:
    times: list[float] = []
    clients = []
    for _ in range(2000):
        client = Client("s", EVERYTHING, None, SSESettings(heartbeat_timeout=Pause(1)))

        def write(data: bytes, flags: int) -> int:
            times.append(time.monotonic())
            return len(data)

        client.queue.sender.open(write)
        client.queue.sender.begin_idle()
        clients.append(client)
    began = time.monotonic()
    for client in clients:
        client.queue.sender.note_quiet(began)
        heartbeats.add(client)
    wait_until(lambda: len(times) >= 2000, "all have one")
    assert times[0] - began > 0.85
    assert times[1999] - began < 2.6
    # A tenth of them a tick, and not all at once.
    assert times[1999] - times[0] > 0.5
    for client in clients:
        heartbeats.discard(client)
    assert heartbeats.clients == 0


def test_a_client_that_was_discarded_has_no_more(heartbeats: Heartbeats) -> None:
    client, other = Waiting(), Waiting()
    for each in (client, other):
        heartbeats.add(each.client)
    heartbeats.discard(client.client)
    heartbeats.discard(client.client)
    wait_until(lambda: other.written, "the other has one")
    assert (client.written, heartbeats.clients) == ([], 1)
    client.end()
    other.end()


def test_short_timeouts_are_left_to_the_thread(heartbeats: Heartbeats) -> None:
    client = Client("s", EVERYTHING, None, SSESettings(heartbeat_timeout=Pause(0.5)))
    assert not heartbeats.add(client)


def test_a_client_whose_thread_is_busy_has_none(heartbeats: Heartbeats) -> None:
    client = Client("s", EVERYTHING, None, SSESettings(heartbeat_timeout=Pause(1)))
    client.queue.sender.open(lambda data, flags: pytest.fail("written"))
    heartbeats.add(client)
    other = Waiting()
    heartbeats.add(other.client)
    wait_until(lambda: len(other.written) > 1, "the other has two")
    assert heartbeats.clients == 2
    other.end()


def test_a_log_that_hangs_delays_no_heartbeat(tmp_path: Path) -> None:
    reading, goes_on = threading.Event(), threading.Event()

    class Hanging(SQLiteLog):
        def read(self, after: int, limit: int) -> list[tuple[int, bytes]]:
            reading.set()
            assert goes_on.wait(30)
            return super().read(after, limit)

    log = Hanging(tmp_path / "events.db")
    relay = Relay(log, _Listener())
    relay.begin(after=0)
    heartbeats = Heartbeats(relay)
    heartbeats.start()
    client = Waiting()
    heartbeats.add(client.client)
    pump = threading.Thread(target=relay.pump)
    pump.start()
    assert reading.wait(20)
    wait_until(lambda: len(client.written) > 1, "two heartbeats")
    goes_on.set()
    pump.join(20)
    client.end()
    heartbeats.stop()
    log.close()
