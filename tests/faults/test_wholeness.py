"""Readers of every speed, under a flood: each gets all frames, whole, once and in order."""

from __future__ import annotations

import contextlib
import json
import os
import random
import select
import socket
import threading
import time
from pathlib import Path

import pytest

from support.http1 import AnswerReader
from support.measured import Measured
from support.server import Server
from support.stream import STREAM_PATH

READERS = 60
MOST_BYTES_PER_SECOND = 300_000  # of one producer
SECONDS = float(os.environ.get("SSE_SINK_WHOLENESS_SECONDS", "3"))


class Reader:
    """A client that reads ``pace`` bytes at a time, and keeps every one."""

    def __init__(self, port: int, chance: random.Random) -> None:
        self.pace = chance.choice((7, 500, 5_000, 1 << 20))
        self.pause = chance.choice((0.0, 0.0, 0.001, 0.02))
        self.leaves_at = time.monotonic() + SECONDS * chance.uniform(0.2, 6)
        self.next_read = 0.0
        self.raw = bytearray()
        self.ended = False
        self.socket = socket.socket()
        if chance.random() < 0.5:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32768)
        self.socket.connect(("127.0.0.1", port))
        self.socket.sendall(f"GET {STREAM_PATH} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        self.socket.setblocking(False)

    def read(self, hurry: bool) -> None:
        with contextlib.suppress(BlockingIOError):
            data = self.socket.recv(1 << 20 if hurry else self.pace)
            self.raw += data
            self.ended = not data


def body(raw: bytes, whole: bool) -> bytes:
    """Return the body of an answer; ``whole`` says that its last chunk must be there."""
    answer = AnswerReader()
    decoded = answer.feed(raw)
    if not answer.head and not whole:
        # A slow reader may hang up before it has read the head.
        assert b"HTTP/1.1 200 OK".startswith(raw[:15])
        return b""
    assert answer.status == 200, raw[:500]
    assert answer.is_chunked
    assert answer.ended or not whole, "the last chunk is missing"
    return decoded


def publish(server: Server, seed: int, stop: threading.Event, sent: dict[int, object]) -> None:
    chance = random.Random(seed)
    with server.connection() as producer:
        room = int(SECONDS * MOST_BYTES_PER_SECOND)
        while not stop.is_set() and room > 0:
            size = chance.choice((1, 50, 2_000, 30_000))
            events = [
                {"event_type": "a", "data": f"{chance.random()}{'x' * size}"}
                for _ in range(chance.randint(1, 5))
            ]
            room -= size * len(events)
            for id, event in zip(producer.post(events), events, strict=True):
                sent[id] = event["data"]
            stop.wait(chance.choice((0, 0.001, 0.05)))


class Flood:
    """Producers that publish at a server, and readers of it, some of which hang up."""

    def __init__(self, server: Server, seed: int, chance: random.Random) -> None:
        self.server = server
        self.sent: dict[int, object] = {}
        self.left: list[Reader] = []
        self.readers = [Reader(server.port, chance) for _ in range(READERS)]
        self._stop = threading.Event()
        self._producers = [
            threading.Thread(target=publish, args=(server, seed + n, self._stop, self.sent))
            for n in range(3)
        ]
        for producer in self._producers:
            producer.start()

    def stop_producers(self) -> None:
        self._stop.set()
        for producer in self._producers:
            producer.join()

    def close(self) -> None:
        self.stop_producers()
        for reader in self.readers:
            reader.socket.close()

    def run(self) -> None:
        """Read until the server has ended every stream that its reader didn't leave."""
        until = time.monotonic() + SECONDS
        while time.monotonic() < until:
            self._hang_up(time.monotonic())
            self._read()
        self.stop_producers()
        last = b"id: %d\n" % max(self.sent)
        staying = [reader for reader in self.readers if reader not in self.left]
        while not all(last in reader.raw[-60_000:] for reader in staying):
            self._read()
        self.server.terminate()
        while not all(reader.ended for reader in staying):
            self._read()

    def _hang_up(self, now: float) -> None:
        """Close those whose time has come, in the middle of whatever they were reading."""
        for reader in self.readers:
            if reader.leaves_at < now and not reader.ended:
                reader.socket.close()
                reader.ended = True
                self.left.append(reader)

    def _read(self) -> None:
        """Read once from each stream that has bytes and whose pause is over."""
        now = time.monotonic()
        reading = {
            reader.socket: reader
            for reader in self.readers
            if not reader.ended and reader.next_read <= now
        }
        for ready in select.select(list(reading), [], [], 0.01)[0]:
            reader = reading[ready]
            reader.read(hurry=self._stop.is_set())
            reader.next_read = now + reader.pause


class Tally:
    """Checks what readers got, frame by frame, and counts it."""

    def __init__(self, sent: dict[int, object]) -> None:
        self._data = {id: json.dumps(text).encode() for id, text in sent.items()}
        self.heartbeats = 0
        self.messages = 0
        self.bytes = 0

    def check(self, raw: bytes, whole: bool) -> None:
        """Fail unless each byte is right; ``whole`` says that the stream came to its end."""
        *frames, rest = body(raw, whole).split(b"\n\n")
        assert not whole or rest == b""
        if frames:
            assert frames[0] == b"event: info\ndata: connected\nretry: 3000"
        expected: int | None = None
        for number, frame in enumerate(frames[1:], 1):
            if frame == b"event: heartbeat\ndata: ping":
                self.heartbeats += 1
            elif frame.startswith(b"event: info\ndata: closing\n"):
                assert number == len(frames) - 1
            else:
                expected = self._check_message(frame, expected) + 1
        if whole:
            assert expected == max(self._data) + 1

    def _check_message(self, frame: bytes, expected: int | None) -> int:
        """Return the id of a message, which must be the expected one."""
        head, line, envelope = frame.split(b"\n")
        id = int(line.removeprefix(b"id: "))
        assert head == b"event: message"
        assert expected in (None, id)
        assert envelope.startswith(b'data: {"id":%d,' % id)
        assert b',"data":%b,' % self._data[id] in envelope
        assert envelope.endswith(b"}")
        self.messages += 1
        self.bytes += len(frame)
        return id


@pytest.mark.timeout(120 + 20 * SECONDS)
@pytest.mark.usefixtures("both_ways")
def test_every_byte_under_a_flood_of_events(tmp_path: Path, measured: Measured) -> None:
    seed = random.randrange(1 << 30)
    print("seed", seed)
    sink = {
        "queue_size": 1_000_000,
        "queue_bytes": "1GiB",
        "heartbeat_timeout": 0.05,
        "write_timeout": 60,
    }
    settings = {
        "server": {"workers": 2, "max_clients": 200},
        "sink": {"events_stream": sink},
    }
    with (
        Server(tmp_path, settings) as server,
        contextlib.closing(Flood(server, seed, random.Random(seed))) as flood,
    ):
        flood.run()
    tally = Tally(flood.sent)
    for reader in flood.readers:
        tally.check(bytes(reader.raw), whole=reader not in flood.left)
    assert tally.heartbeats
    measured(
        f"{READERS} readers of random speed, {len(flood.left)} hang up: frames checked",
        f"{tally.messages:,} of {tally.bytes / 2**20:,.0f} MiB",
    )
