"""The whole server: gunicorn's workers, `flask run`, and what happens when one of them dies."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import random
import re
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest

from support.processes import environment, flask_command, gunicorn_command
from support.server import Server
from support.stream import SocketStream
from support.waiting import WAIT_SECONDS, wait_until

pytestmark = pytest.mark.usefixtures("both_ways")

# For servers that end before they could send anything.
one_way = pytest.mark.parametrize("both_ways", ["direct"], indirect=True)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("server")) as made:
        yield made
    assert "Traceback" not in made.log, made.log


class Posted(NamedTuple):
    """When a request began, and the ids that it was answered."""

    began: float
    answered: float
    ids: list[int]


class Heard(NamedTuple):
    """When a client began to connect, when it had read `connected`, and the ids it got."""

    began: float
    connected: float
    ids: list[int]


def check_promise(heard: Heard, posted: list[Posted], last: int) -> None:
    """Fail unless the client got, in order and once, at least what was posted after `connected`.

    And nothing that was answered before it began to connect.
    """
    ids = heard.ids
    assert ids == list(range(ids[0], last + 1))
    promised = [id for post in posted if post.began > heard.connected for id in post.ids]
    assert ids[0] <= min(promised, default=last)
    before = [id for post in posted if post.answered < heard.began for id in post.ids]
    assert ids[0] > max(before, default=0)


def hear(server: Server, last: list[int]) -> Heard:
    """Read a stream until the id that ``last`` holds once it is known."""
    began = time.monotonic()
    with server.stream() as stream:
        connected = time.monotonic()
        found: list[int] = []
        while not last or found[-1:] < last:
            found.append(stream.message_id())
        return Heard(began, connected, found)


def produce(server: Server, name: str, batches: list[int]) -> list[Posted]:
    posted = []
    with server.connection() as connection:
        for size in batches:
            began = time.monotonic()
            ids = connection.post([{"event_type": f"made.by.{name}"}] * size)
            posted.append(Posted(began, time.monotonic(), ids))
    return posted


def test_an_event_reaches_the_clients_of_both_workers_in_the_same_order(server: Server) -> None:
    with (
        server.one_of_each_worker(server.stream) as streams,
        server.one_of_each_worker(server.connection) as producers,
    ):
        assert set(streams) == set(producers)
        ids = []
        for number in range(20):
            for producer in producers.values():
                ids += producer.post({"event_type": "a.b", "data": {"n": number}})
        assert ids == list(range(ids[0], ids[-1] + 1))
        for stream in streams.values():
            assert stream.ids_until(ids[-1]) == ids


@pytest.mark.parametrize("round", [1, 2, 3])
def test_eight_producers_and_fifty_clients_at_once(server: Server, round: int) -> None:
    from_before = server.post({"event_type": "from.before"})[0]
    go = threading.Barrier(58)
    last: list[int] = []

    def listen() -> Heard:
        go.wait(WAIT_SECONDS)
        return hear(server, last)

    def publish(number: int) -> list[Posted]:
        go.wait(WAIT_SECONDS)
        return produce(server, str(number), [1, 3, 1, 10, 1, 1, 2, 1] * 3)

    with ThreadPoolExecutor(58) as pool:
        listening = [pool.submit(listen) for _ in range(50)]
        publishing = [pool.submit(publish, number) for number in range(8)]
        posted = [post for future in publishing for post in future.result()]
        # Clients look at `last` after an event: this one wakes those that had all others.
        last += [max(id for post in posted for id in post.ids) + 1]
        assert server.post({"event_type": "the.end"}) == last
        heard = [future.result() for future in listening]
    for post in posted:
        assert post.ids == list(range(post.ids[0], post.ids[0] + len(post.ids)))
    for each in heard:
        assert each.ids[0] > from_before
        check_promise(each, posted, last[0])


def test_clients_that_connect_while_events_pour_in_miss_nothing_after_connected(
    server: Server,
) -> None:
    stop = threading.Event()
    last: list[int] = []
    moments = random.Random(7)

    def listen(delay: float) -> Heard:
        stop.wait(delay)
        return hear(server, last)

    def pour(number: int) -> list[Posted]:
        posted = []
        while not stop.is_set():
            posted += produce(server, str(number), [1, 1, 5])
        return posted

    with ThreadPoolExecutor(44) as pool:
        listening = [pool.submit(listen, moments.uniform(0, 2)) for _ in range(40)]
        pouring = [pool.submit(pour, number) for number in range(4)]
        stop.wait(2.2)
        stop.set()
        posted = [post for future in pouring for post in future.result()]
        last += [max(id for post in posted for id in post.ids) + 1]
        assert server.post({"event_type": "the.end"}) == last
        for future in listening:
            check_promise(future.result(), posted, last[0])


def test_a_slow_reader_gets_missed_and_holds_up_nobody(tmp_path: Path) -> None:
    with Server(tmp_path, {"sink": {"events_stream": {"queue_size": 50}}}) as server:
        data = "x" * 50_000
        with server.stream() as quick, server.stream(receive_buffer=4096) as slow:
            first = 0
            for _ in range(25):
                began = time.monotonic()
                ids = server.post([{"event_type": "big", "data": data}] * 20)
                first = first or ids[0]
                assert quick.ids_until(ids[-1]) == ids
                assert time.monotonic() - began < 5
            expected = first
            notices = 0
            while expected <= ids[-1]:
                found = slow.next()
                if found.event == "info":
                    name, _, text = found.data.partition(" ")
                    lost = json.loads(text)
                    assert name == "missed"
                    assert lost["first_id"] == expected
                    assert lost["count"] == lost["last_id"] - expected + 1
                    expected = lost["last_id"] + 1
                    notices += 1
                else:
                    assert int(found.id) == expected
                    expected += 1
            assert notices


def test_what_was_answered_outlives_a_killed_worker(tmp_path: Path) -> None:
    with Server(tmp_path) as server:
        killed = threading.Event()
        answered: dict[str, int] = {}
        before = server.workers()

        def ingest(number: int) -> None:
            count = after = 0
            while after < 20:
                with contextlib.suppress(OSError, http.client.HTTPException):
                    with server.connection() as connection:
                        while after < 20:
                            name = f"{number}-{count}"
                            count += 1
                            ids = connection.post({"event_type": "a", "event_id": name})
                            answered[name] = ids[0]
                            after += killed.is_set()

        with ThreadPoolExecutor(8) as pool:
            working = [pool.submit(ingest, number) for number in range(8)]
            wait_until(lambda: len(answered) > 50, "events are stored")
            os.kill(before[0], signal.SIGKILL)
            killed.set()
            for future in working:
                future.result()
        wait_until(
            lambda: before[0] not in server.workers() and len(server.workers()) == 2,
            "the worker is replaced",
        )
        stored = server.stored()
        assert [id for id, _ in stored] == list(range(1, len(stored) + 1))
        by_name = {name: id for id, name in stored}
        assert len(by_name) == len(stored)
        assert answered.items() <= by_name.items()
        # The worker that came and the one that stayed serve alike.
        with server.one_of_each_worker(server.stream) as streams:
            ids = server.post([{"event_type": "after"}] * 3)
            for stream in streams.values():
                assert stream.ids_until(ids[-1]) == ids
    assert "Traceback" not in server.log, server.log


def test_a_vanished_client_is_noticed_by_its_heartbeats(tmp_path: Path) -> None:
    with Server(
        tmp_path,
        {
            "server": {"workers": 1, "max_clients": 2},
            "sink": {"events_stream": {"heartbeat_timeout": 1}},
        },
    ) as server:
        with server.stream() as gone, server.stream() as kept:
            with SocketStream(server.port) as refused:
                assert refused.status == 503
                assert re.search(r"retry-after: [456](\r|$)", refused.head)
            gone.close()
            assert kept.next(heartbeats=True).event == "heartbeat"

            def is_admitted() -> bool:
                with SocketStream(server.port) as tried:
                    return tried.status == 200

            wait_until(is_admitted, "the slot is free again")
    assert "Traceback" not in server.log, server.log


@pytest.mark.once
def test_a_peer_that_takes_nothing_is_cut(tmp_path: Path) -> None:
    sink = {"write_timeout": 1, "heartbeat_timeout": 1}
    with Server(
        tmp_path, {"server": {"workers": 1, "max_clients": 1}, "sink": {"events_stream": sink}}
    ) as server:
        with server.stream(receive_buffer=4096):
            for _ in range(10):
                server.post([{"event_type": "big", "data": "x" * 90_000}] * 10)

            def is_admitted() -> bool:
                with SocketStream(server.port) as tried:
                    return tried.status == 200

            wait_until(is_admitted, "the slot is free again")


@pytest.mark.parametrize("reload", ["--no-reload", "--reload"])
def test_flask_run_streams_at_once(tmp_path: Path, reload: str) -> None:
    def command(port: int) -> list[str]:
        return flask_command(port, reload)

    with Server(tmp_path, {"ingest": {"tokens": ["a-token-of-tests"]}}, command=command) as server:
        with server.stream() as stream:
            for _ in range(3):
                (id,) = server.post({"event_type": "a"})
                assert stream.message_id() == id
    assert "Traceback" not in server.log, server.log


@one_way
def test_a_bad_configuration_ends_gunicorn_with_its_mistakes(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("server: {port: x}\nsink: {a: {type: sse, queue_sise: 3}}\n")
    began = time.monotonic()
    done = subprocess.run(
        gunicorn_command(tmp_path),
        cwd=tmp_path,
        env=environment(config),
        capture_output=True,
        text=True,
        timeout=WAIT_SECONDS,
    )
    assert time.monotonic() - began < 10
    assert done.returncode != 0
    assert "server.port" in done.stderr
    assert "did you mean queue_size?" in done.stderr
    assert "Traceback" not in done.stderr + done.stdout, done.stderr


@one_way
@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("server: {host: 'http://0.0.0.0:80'}\nsink: {sse: }\n", "server.host: "),
        ("database: {url: 'sqlite:///'}\nsink: {sse: }\n", "database.url: "),
        ("database: {url: 'sqlite:///.'}\nsink: {sse: }\n", "is a folder; name a file in it"),
        ("database: {url: 'redis://:a/b@h:1'}\nsink: {sse: }\n", "holds / ? or #"),
        ("database: {url: 'rediss://h?ssl_x=1'}\nsink: {sse: }\n", "its option ssl_x"),
        ("sink: {sse_sink_ingest: {type: sse}}\n", "begins names of our own"),
    ],
)
def test_a_mistake_ends_gunicorn_without_a_traceback(tmp_path: Path, text: str, told: str) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(text)
    done = subprocess.run(
        gunicorn_command(tmp_path, "--bind", "127.0.0.1:0"),
        cwd=tmp_path,
        env=environment(config),
        capture_output=True,
        text=True,
        timeout=WAIT_SECONDS,
    )
    assert done.returncode != 0
    assert told in done.stderr
    assert "Traceback" not in done.stderr, done.stderr


@one_way
def test_a_file_that_is_no_log_ends_gunicorn_with_the_cure(tmp_path: Path) -> None:
    (tmp_path / "events.db").write_text("no database, but longer than a header is. " * 5)
    config = tmp_path / "config.yaml"
    config.write_text(
        "database: {url: 'sqlite:///events.db'}\ningest: {auth: none}\nsink: {a: {type: sse}}\n"
    )
    done = subprocess.run(
        gunicorn_command(tmp_path, "--bind", "127.0.0.1:0"),
        cwd=tmp_path,
        env=environment(config),
        capture_output=True,
        text=True,
        timeout=WAIT_SECONDS,
    )
    assert done.returncode != 0
    assert "the file is no SQLite database" in done.stderr
    assert "Traceback" not in done.stderr, done.stderr


def test_a_preloaded_app_streams_from_both_workers(tmp_path: Path) -> None:
    with Server(
        tmp_path, {"ingest": {"tokens": ["a-token-of-tests"]}}, arguments=["--preload"]
    ) as server:
        with server.one_of_each_worker(server.stream) as streams:
            ids = server.post([{"event_type": "a"}] * 3) + server.post({"event_type": "b"})
            for stream in streams.values():
                assert stream.ids_until(ids[-1]) == ids
    assert "Traceback" not in server.log, server.log


def test_told_to_end_it_says_closing_to_every_client(tmp_path: Path) -> None:
    with Server(tmp_path) as server:
        with contextlib.ExitStack() as stack:
            streams = [stack.enter_context(server.stream()) for _ in range(10)]
            ids = server.post([{"event_type": "a"}] * 3)
            stopping = threading.Thread(target=server.stop)
            stopping.start()
            for stream in streams:
                assert stream.ids_until(ids[-1]) == ids
                last = stream.next()
                assert (last.event, last.data) == ("info", "closing")
            stopping.join()
    assert "Traceback" not in server.log, server.log


def test_a_filter_narrows_to_the_letter(server: Server) -> None:
    names = ["user", "user.x", "users.x", "user_x.y", "mail.sent", "alert.fire"]
    with server.stream("?event_type=user.*,mail.sent") as narrow, server.stream() as all:
        ids = server.post([{"event_type": name} for name in names])
        assert all.ids_until(ids[-1]) == ids
        assert [narrow.message_id(), narrow.message_id()] == [ids[1], ids[4]]
