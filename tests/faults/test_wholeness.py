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
from chunks import unchunk
from gunicorn_server import STREAM_PATH, Server
from measured import Measured

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
            found = self.socket.recv(1 << 20 if hurry else self.pace)
            self.raw += found
            self.ended = not found


def body(raw: bytes, whole: bool) -> bytes:
    """Return the body of an answer; ``whole`` says that its last chunk must be there."""
    head, _, rest = raw.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 "), raw[:500]
    assert b"transfer-encoding: chunked" in head.lower()
    found, ended = unchunk(rest)
    assert ended or not whole, "the last chunk is missing"
    return found


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


@pytest.mark.timeout(120 + 20 * SECONDS)
@pytest.mark.usefixtures("both_ways")
def test_every_byte_under_a_flood_of_events(tmp_path: Path, measured: Measured) -> None:
    seed = random.randrange(1 << 30)
    print("seed", seed)
    chance = random.Random(seed)
    sink = "queue_size: 1000000, queue_bytes: 1GiB, heartbeat_timeout: 0.05, write_timeout: 60"
    sent: dict[int, object] = {}
    stop = threading.Event()
    with Server(tmp_path, workers=2, max_clients=200, sink=sink) as server:
        readers = [Reader(server.port, chance) for _ in range(READERS)]
        producers = [
            threading.Thread(target=publish, args=(server, seed + n, stop, sent)) for n in range(3)
        ]
        try:
            for each in producers:
                each.start()
            until = time.monotonic() + SECONDS
            left: list[Reader] = []
            terminated = 0.0
            while not all(reader.ended for reader in readers):
                now = time.monotonic()
                if now > until and not stop.is_set():
                    stop.set()
                    for each in producers:
                        each.join()
                    last = b"id: %d\n" % max(sent)
                for reader in readers:
                    if reader.leaves_at < now and not reader.ended and not stop.is_set():
                        # It hangs up in the middle of whatever it was reading.
                        reader.socket.close()
                        reader.ended = True
                        left.append(reader)
                reading = {
                    each.socket: each
                    for each in readers
                    if not each.ended and each.next_read <= now
                }
                for ready in select.select(list(reading), [], [], 0.01)[0]:
                    reader = reading[ready]
                    reader.read(hurry=stop.is_set())
                    reader.next_read = now + reader.pause
                if stop.is_set() and not terminated:
                    staying = [each for each in readers if each not in left]
                    if all(last in each.raw[-60_000:] for each in staying):
                        terminated = now
                        server.terminate()
        finally:
            stop.set()
            for each in producers:
                each.join()
            for reader in readers:
                reader.socket.close()
    data = {id: json.dumps(text).encode() for id, text in sent.items()}
    heartbeats = frames = size = 0
    for reader in readers:
        whole = reader not in left
        *found, end = body(bytes(reader.raw), whole).split(b"\n\n")
        assert not whole or end == b""
        if found:
            assert found[0] == b"event: info\ndata: connected\nretry: 3000"
        expected: int | None = None
        for number, part in enumerate(found[1:], 1):
            if part == b"event: heartbeat\ndata: ping":
                heartbeats += 1
                continue
            if part.startswith(b"event: info\ndata: closing\n"):
                assert number == len(found) - 1
                continue
            head, line, envelope = part.split(b"\n")
            id = int(line.removeprefix(b"id: "))
            assert head == b"event: message"
            assert expected in (None, id), f"seed {seed}"
            assert envelope.startswith(b'data: {"id":%d,' % id)
            assert b',"data":%b,' % data[id] in envelope
            assert envelope.endswith(b"}")
            expected = id + 1
            frames += 1
            size += len(part)
        if whole:
            assert expected == max(sent) + 1, f"seed {seed}"
    assert heartbeats
    measured(
        f"{READERS} readers of random speed, {len(left)} hang up: frames checked",
        f"{frames:,} of {size / 2**20:,.0f} MiB",
    )
