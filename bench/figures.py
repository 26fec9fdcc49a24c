"""Measures a server of its own on loopback, and prints the figures. Takes about a minute.

    python bench/figures.py [FOLDER]

The log lies in a new folder inside FOLDER (here by default), so on that disk.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import socket
import sqlite3
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from gunicorn_server import Server, Stream, wait_until  # noqa: E402

from flask_sse_sink.log.sqlite import SQLiteLog  # noqa: E402

SECONDS = 4.0
EVENT = {"event_type": "user.login", "data": {"ip": "1.2.3.4", "agent": "bench"}}


def main() -> None:
    where = sys.argv[1] if len(sys.argv) > 1 else "."
    with tempfile.TemporaryDirectory(prefix="figures-", dir=where) as folder:
        with Server(Path(folder), max_clients=1000) as server:
            latency(server)
            memory(server)
            idle(server)
            for producers in (1, 8):
                show(f"events/s, one a POST, {producers} producers", ingest(server, producers, 1))
            for producers in (1, 8):
                show(
                    f"events/s, 100 a POST, {producers} producers", ingest(server, producers, 100)
                )
        for size in (1, 100):
            show(f"events/s, bare sqlite3, {size} a commit", bare(Path(folder), size))


def show(what: str, figure: float, unit: str = "") -> None:
    print(f"{what:45} {figure:10,.2f} {unit}".rstrip(), flush=True)


def latency(server: Server) -> None:
    """From the moment a POST is sent until a client has read its event."""
    with (
        server.one_of_each_worker(server.stream) as streams,
        server.one_of_each_worker(server.connection) as producers,
    ):
        (here, producer), *_ = producers.items()
        (other,) = set(streams) - {here}
        streams_of = {"same": streams[here], "other": streams[other]}
        for name, stream in streams_of.items():
            idle_one = streams_of["other" if name == "same" else "same"]
            times = []
            for number in range(600):
                began = time.perf_counter()
                producer.send(EVENT)
                stream.message_id()
                if number >= 100:
                    times.append((time.perf_counter() - began) * 1000)
                idle_one.message_id()
                producer.ids()
            cuts = statistics.quantiles(times, n=100)
            show(f"POST to client, {name} worker, p50", cuts[49], "ms")
            show(f"POST to client, {name} worker, p99", cuts[98], "ms")


@contextlib.contextmanager
def clients(server: Server, count: int) -> Iterator[list[Stream]]:
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(server.stream()) for _ in range(count)]


def memory(server: Server) -> None:
    """What 500 idle clients add to the workers' proportional set size."""

    def pss() -> int:
        found = 0
        for pid in server.workers():
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    found += int(line.split()[1])
        return found

    before = pss()
    with clients(server, 500) as streams:
        (id,) = server.post(EVENT)
        for stream in streams:
            assert stream.message_id() == id
        show("PSS of both workers without clients", before / 1024, "MiB")
        show("PSS a client, of 500", (pss() - before) / 500, "KiB")
    end_clients(server)


def end_clients(server: Server) -> None:
    """Publish until the workers have noticed that the clients are gone."""

    def are_gone() -> bool:
        server.post(EVENT)
        return not any(
            each.status == psutil.CONN_CLOSE_WAIT
            for pid in server.workers()
            for each in psutil.Process(pid).net_connections("tcp")
        )

    wait_until(are_gone, "the clients are gone")


def idle(server: Server, seconds: float = 10) -> None:
    """What two workers with 100 clients between them take of a processor, doing nothing."""

    def used() -> float:
        found = [psutil.Process(pid).cpu_times() for pid in server.workers()]
        return float(sum(each.user + each.system for each in found))

    with clients(server, 100):
        began, before = time.perf_counter(), used()
        threading.Event().wait(seconds)
        share = (used() - before) / (time.perf_counter() - began)
        show("idle, 100 clients, both workers", share * 100, "% of one CPU")
    end_clients(server)


def ingest(server: Server, producers: int, size: int) -> float:
    """Return how many events a second are stored, over connections that stay open."""
    body = json.dumps([EVENT] * size).encode()
    head = "POST /ingest HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    request = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body

    def produce(until: float) -> int:
        count = 0
        with socket.create_connection(("127.0.0.1", server.port), timeout=20) as peer:
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while time.perf_counter() < until:
                peer.sendall(request)
                answer = peer.recv(65536)
                assert answer.startswith(b"HTTP/1.1 201"), answer
                while not answer.endswith(b"}\n"):
                    answer += peer.recv(65536)
                count += size
        return count

    return per_second(lambda until: _together(producers, produce, until))


def _together(count: int, run: Callable[[float], int], until: float) -> int:
    with ThreadPoolExecutor(count) as pool:
        return sum(pool.map(run, [until] * count))


def bare(folder: Path, size: int) -> float:
    """Return how many events a second SQLite takes, with nothing else around it."""
    path = folder / f"bare{size}.db"
    log = SQLiteLog(path)
    log.head()
    log.close()
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA synchronous = FULL")
        db.execute("INSERT INTO sources (name) VALUES ('default')")
        data = json.dumps(EVENT["data"])

        def insert(until: float) -> int:
            count = 0
            while time.perf_counter() < until:
                at = time.time_ns() // 1000
                rows = [
                    (1, f"evt_{secrets.token_hex(16)}", "user.login", None, at, None, data, "{}")
                    for _ in range(size)
                ]
                db.execute("BEGIN IMMEDIATE")
                db.executemany("INSERT INTO events VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?)", rows)
                db.execute("COMMIT")
                count += size
            return count

        return per_second(insert)


def per_second(work: Callable[[float], int]) -> float:
    began = time.perf_counter()
    count = work(began + SECONDS)
    return count / (time.perf_counter() - began)


if __name__ == "__main__":
    main()
