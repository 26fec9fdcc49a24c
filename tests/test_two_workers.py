"""The promises, kept by a real gunicorn with two workers."""

from __future__ import annotations

import contextlib
import http.client
import os
import random
import signal
import socket
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from running import Reader, Server, reading, wait_for


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    running = Server(tmp_path_factory.mktemp("server"))
    yield running
    running.stop()


@contextlib.contextmanager
def on_both_workers(server: Server) -> Iterator[dict[int, Reader]]:
    """Give a reader on each worker: which of the two takes a connection is chance."""
    with contextlib.ExitStack() as stack:
        found: dict[int, Reader] = {}
        for _ in range(200):
            [reader] = stack.enter_context(reading(server, 1))
            found.setdefault(server.worker_of(reader) or 0, reader)
            if len(found) == 2:
                yield found
                return
        raise AssertionError("one worker took 200 connections in a row")


def flood(server: Server, producers: int, each: int, name: str) -> list[int]:
    """Publish from threads at once, and return the ids that were answered."""
    ids: list[int] = []

    def produce(producer: int) -> None:
        for number in range(each):
            ids.extend(server.publish({"event_type": name, "data": [producer, number]}))

    threads = [threading.Thread(target=produce, args=(n,)) for n in range(producers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sorted(ids)


def test_an_event_reaches_the_clients_of_both_workers_in_the_same_order(server: Server) -> None:
    with on_both_workers(server) as readers:
        ids = flood(server, 4, 25, "both.workers")
        for reader in readers.values():
            reader.wait_for_id(ids[-1])
            assert reader.ids == ids


@pytest.mark.parametrize("turn", range(3))
def test_eight_producers_and_fifty_clients_without_gap_or_repeat(
    server: Server, turn: int
) -> None:
    before = server.publish({"event_type": "from.before"})
    with reading(server, 50) as readers:
        ids = flood(server, 8, 25, "flood.one")
        assert ids == list(range(before[0] + 1, before[0] + 201))
        for reader in readers:
            reader.wait_for_id(ids[-1])
            assert reader.ids == ids


def test_who_connects_while_events_pour_in_misses_nothing_after_connected(
    server: Server,
) -> None:
    answered: list[int] = []
    stop = threading.Event()

    def produce() -> None:
        while not stop.is_set():
            answered.extend(server.publish({"event_type": "pouring.in"}))

    threads = [threading.Thread(target=produce) for _ in range(4)]
    for thread in threads:
        thread.start()
    joined: list[tuple[Reader, int, int]] = []
    try:
        for _ in range(40):
            stop.wait(random.uniform(0, 0.02))
            answered_before = max(answered, default=0)
            reader = Reader(server)
            joined.append((reader, answered_before, server.publish({"event_type": "mark"})[0]))
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    last = server.publish({"event_type": "the.last"})[0]
    for reader, answered_before, mark in joined:
        reader.wait_for_id(last)
        ids = reader.ids
        assert ids == list(range(ids[0], last + 1)), "a gap or a repeat"
        assert answered_before < ids[0] <= mark
        reader.close()


def test_filters_narrow_and_match_bounds(server: Server) -> None:
    with (
        reading(server, 1, "/events_stream/?event_type=user.*,mail.sent") as [narrow],
        reading(server, 1, "/alerts/live") as [alerts],
        reading(server, 1) as [all],
    ):
        names = ["user", "user.x", "users.x", "mail.sent", "alert.fire", "alerts"]
        ids = server.publish(*({"event_type": name} for name in names))
        wait_for(lambda: ids[-1] in all.ids)
        wait_for(lambda: len(narrow.ids) == 2 and len(alerts.ids) == 1)
        assert [m["event_type"] for m in narrow.messages] == ["user.x", "mail.sent"]
        assert [m["event_type"] for m in alerts.messages] == ["alert.fire"]


def test_heartbeats_come_in_quiet_times(server: Server) -> None:
    with reading(server, 1) as [reader]:
        wait_for(lambda: any(e.event == "heartbeat" for e in reader.events), 5)
        beat = next(e for e in reader.events if e.event == "heartbeat")
        assert beat.data == "ping"


def test_a_stalled_reader_is_told_what_it_missed_and_holds_up_nobody(server: Server) -> None:
    stalled = socket.socket()
    stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    stalled.settimeout(20)
    stalled.connect(("127.0.0.1", server.port))
    stalled.sendall(b"GET /events_stream/ HTTP/1.0\r\nHost: x\r\n\r\n")
    received = b""
    while b"connected" not in received:
        received += stalled.recv(1000)
    with reading(server, 1) as [lively]:
        big = {"event_type": "big.one", "data": "x" * 200_000}
        ids = [id for _ in range(150) for id in server.publish(big)]
        wait_for(lambda: ids[-1] in lively.ids)
        assert lively.ids == ids
    while b"missed" not in received[-5000:]:
        received = received[-5000:] + stalled.recv(1 << 16)
    stalled.close()


def test_a_killed_worker_loses_nothing_that_was_answered(tmp_path: Path) -> None:
    server = Server(tmp_path)
    try:
        answered: list[int] = []
        stop = threading.Event()

        def produce(producer: int) -> None:
            number = 0
            while not stop.is_set():
                number += 1
                event = {"event_type": "k.k", "event_id": f"{producer}-{number}"}
                with contextlib.suppress(OSError, http.client.HTTPException):
                    answered.extend(server.publish(event))

        threads = [threading.Thread(target=produce, args=(n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for _ in range(3):
            enough = len(answered) + 100
            wait_for(lambda: len(answered) > enough)  # noqa: B023 - called at once
            os.kill(server.workers()[0], signal.SIGKILL)
            wait_for(lambda: len(server.workers()) == 2)
        stop.set()
        for thread in threads:
            thread.join()
        assert server.publish({"event_type": "after.all"})
        assert len(set(answered)) == len(answered)
        with contextlib.closing(sqlite3.connect(server.database)) as db:
            stored = [id for (id,) in db.execute("SELECT id FROM events ORDER BY id")]
        assert set(answered) <= set(stored)
        assert stored == list(range(1, len(stored) + 1))
    finally:
        server.stop()


@pytest.mark.parametrize("reloader", ["--no-reload", "--reload"])
def test_flask_run_streams_at_once(tmp_path: Path, reloader: str) -> None:
    server = Server(tmp_path, "flask", "--app", "wsgi", "run", reloader)
    try:
        with reading(server, 2) as readers:
            ids = server.publish({"event_type": "a.b"}, {"event_type": "a.c"})
            for reader in readers:
                reader.wait_for_id(ids[-1])
                assert reader.ids == ids
    finally:
        server.stop()


def test_a_preloaded_app_serves_from_every_worker(tmp_path: Path) -> None:
    root = Path(__file__).parent.parent
    conf = str(root / "gunicorn.conf.py")
    server = Server(tmp_path, "gunicorn", "-c", conf, "--preload", "wsgi:app")
    try:
        with on_both_workers(server) as readers:
            ids = flood(server, 2, 5, "pre.load")
            for reader in readers.values():
                reader.wait_for_id(ids[-1])
                assert reader.ids == ids
    finally:
        server.stop()


def test_told_to_end_it_says_closing_to_every_client(tmp_path: Path) -> None:
    server = Server(tmp_path)
    with reading(server, 10) as readers:
        server.stop()
        for reader in readers:
            assert reader.ended.wait(10)
            assert (reader.events[-1].event, reader.events[-1].data) == ("info", "closing")
