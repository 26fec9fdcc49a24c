"""Pulled sinks over real servers: several workers, two nodes, the documented consumers."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.consumer import OPEN_PULL, Consumer, ids_of
from support.measured import Measured
from support.processes import ROOT, environment
from support.redis_server import RedisServer
from support.server import Server
from support.waiting import wait_until

SINKS = {"sink": {"warehouse": {**OPEN_PULL, "match": "order.*"}}}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with Server(tmp_path, SINKS) as running:
        yield running


def orders(count: int) -> list[dict[str, object]]:
    return [{"event_type": "order.created", "data": {"n": n}} for n in range(count)]


def wait_for_waiting(server: Server, count: int) -> None:
    server.wait_for_metrics({'sse_sink_pull_waiting{sink="warehouse"}': count}, 5)


def test_two_workers_share_a_sink(server: Server) -> None:
    with server.one_of_each_worker(lambda: Consumer(server.port)) as consumers:
        one, two = consumers.values()
        server.post(orders(4))
        first = one.extract("batch_size=2&lease=60")
        second = two.extract("batch_size=2&lease=60")
        assert (ids_of(first), ids_of(second)) == ([1, 2], [3, 4])
        assert two.confirm(first["batch_id"]) == 2
        assert one.confirm(first["batch_id"]) == 0
        assert one.confirm(second["batch_id"]) == 2
        assert ids_of(two.extract()) == []


def test_events_that_other_workers_store_wake_those_who_wait(
    server: Server, measured: Measured
) -> None:
    times = []
    with server.one_of_each_worker(lambda: Consumer(server.port)) as consumers:
        for consumer in consumers.values():
            for _ in range(10):
                consumer.send("GET", "/extract?wait=20&lease=60")
                wait_for_waiting(server, 1)
                with server.connection() as producer:
                    producer.send(orders(1))
                    producer.ids()
                    stored = time.monotonic()
                    status, batch = consumer.answer()
                times.append(time.monotonic() - stored)
                assert (status, len(batch["events"])) == (200, 1)
    median = sorted(times)[len(times) // 2]
    measured("a waiting consumer is answered after the commit", f"{median * 1000:.1f} ms")
    assert median < 0.05


def test_a_waiting_consumer_that_hangs_up_frees_its_place(tmp_path: Path) -> None:
    settings = {"server": {"workers": 1, "max_clients": 1}, **SINKS}
    with Server(tmp_path, settings) as server:
        waiting = Consumer(server.port)
        waiting.send("GET", "/extract?wait=20")

        wait_for_waiting(server, 1)
        with Consumer(server.port) as other:
            other.send("GET", "/extract?wait=20")
            assert other.answer()[0] == 503
        waiting.close()
        wait_for_waiting(server, 0)
        with Consumer(server.port) as other:
            assert ids_of(other.extract("wait=0.01")) == []


def test_a_waiting_consumer_is_answered_empty_when_the_server_stops(tmp_path: Path) -> None:
    with Server(tmp_path, SINKS) as server:
        with Consumer(server.port) as consumer:
            consumer.send("GET", "/extract?wait=60")
            wait_for_waiting(server, 1)
            server.terminate()
            began = time.monotonic()
            status, batch = consumer.answer()
            assert (status, batch["batch_id"]) == (200, None)
            assert time.monotonic() - began < 3
    assert "Traceback" not in server.log


def test_two_nodes_share_a_sink(tmp_path: Path, redis_server: RedisServer) -> None:
    settings = {"database": {"url": redis_server.url}, **SINKS}
    with contextlib.ExitStack() as stack:
        nodes = []
        for name in ("one", "two"):
            (tmp_path / name).mkdir()
            nodes.append(stack.enter_context(Server(tmp_path / name, settings)))
        here, there = (stack.enter_context(Consumer(node.port)) for node in nodes)
        here.send("GET", "/extract?wait=20&lease=60&batch_size=1")
        wait_for_waiting(nodes[0], 1)
        nodes[1].post(orders(2))
        _, first = here.answer()
        second = there.extract("lease=60")
        assert (ids_of(first), ids_of(second)) == ([1], [2])
        assert there.confirm(first["batch_id"]) == 1
        assert here.confirm(second["batch_id"]) == 1
        assert ids_of(here.extract()) == []


@pytest.mark.once
def test_a_place_outlives_the_server_and_the_sinks_absence(tmp_path: Path) -> None:
    with Server(tmp_path, SINKS) as server:
        server.post(orders(3))
        with Consumer(server.port) as consumer:
            consumer.confirm(consumer.extract("batch_size=2")["batch_id"])
    with Server(tmp_path) as server:
        server.post(orders(1))
    with Server(tmp_path, SINKS) as server, Consumer(server.port) as consumer:
        assert ids_of(consumer.extract()) == [3, 4]


def test_the_metrics_tell_of_pulled_sinks(server: Server) -> None:
    server.post(orders(5))
    with Consumer(server.port) as consumer:
        batch = consumer.extract("batch_size=2&lease=60")
        consumer.confirm(consumer.extract("batch_size=1&lease=60")["batch_id"])
        consumer.ask("POST", f"/release?batch_id={batch['batch_id']}")
        consumer.extract("batch_size=1&lease=60")
    label = '{sink="warehouse"}'
    server.wait_for_metrics(
        {
            f"sse_sink_pull_lag{label}": 4,
            f"sse_sink_pull_out{label}": 1,
            f"sse_sink_pull_dead{label}": 0,
            f"sse_sink_pull_extracted_total{label}": 4,
            f"sse_sink_pull_confirmed_total{label}": 1,
            f"sse_sink_pull_attempts_total{label}": 1,
            f"sse_sink_pull_extract_seconds_count{label}": 3,
        }
    )


def documented(language: str, server: Server) -> str:
    text = (ROOT / "docs" / "pulled-sinks.md").read_text()
    found = re.search(rf"```{language}\n(.*?)```", text, re.DOTALL)
    assert found
    return found[1].replace("http://127.0.0.1:8000", f"http://127.0.0.1:{server.port}")


def run_until(command: list[str], server: Server, text: str) -> None:
    """Run a command until its output has the text, and every event is confirmed."""
    output = server.folder / "output"
    env = environment(server.config)
    with output.open("wb") as file:
        running = subprocess.Popen(command, stdout=file, stderr=file, env=env, cwd=server.folder)
        try:
            wait_until(lambda: text in output.read_text(), f"its output has {text}")
            lag = 'sse_sink_pull_lag{sink="warehouse"}'
            wait_until(lambda: server.metrics().get(lag) == 0, output.read_text())
        finally:
            running.kill()
            running.wait()


@pytest.mark.parametrize("language", ["python", "sh"])
def test_the_documented_consumers_work(server: Server, language: str) -> None:
    server.post([{"event_type": "order.created", "data": {"n": 'a "b",'}}, *orders(2)])
    command = [sys.executable, "-c"] if language == "python" else ["sh", "-c"]
    run_until([*command, documented(language, server)], server, "order.created")


def flask_sse(*words: str) -> list[str]:
    return [sys.executable, "-m", "flask", "--app", "wsgi", "sse", *words]


@pytest.mark.once
def test_a_command_is_run_for_each_batch(server: Server) -> None:
    server.post(orders(3))
    # Fails the first time.
    script = "cat; test -e failed || { touch failed; exit 3; }"
    (server.folder / "wsgi.py").symlink_to(ROOT / "wsgi.py")
    command = flask_sse("pull", "warehouse", "--exec", script, "--batch-size", "2", "-n", "3")
    answer = subprocess.run(
        command,
        env=environment(server.config),
        cwd=server.folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "the command exited with 3; it comes again in 1 s" in answer.stderr
    assert answer.stdout.count('"batch_id"') == 3
    lag = 'sse_sink_pull_lag{sink="warehouse"}'
    assert server.metrics()[lag] == 0


def test_a_command_is_run_with_a_token_where_the_sink_is_closed(tmp_path: Path) -> None:
    token = "a-token-of-the-consumer"
    settings = {
        "sink": {"warehouse": {"type": "http_pull"}},
        "access": {"tokens": [{"token": token, "name": "one", "subscribe": [{}]}]},
    }
    with Server(tmp_path, settings) as server:
        server.post(orders(1))
        (server.folder / "wsgi.py").symlink_to(ROOT / "wsgi.py")
        env = environment(server.config)
        for more, code, text in (
            ({}, 1, '"reason":"missing"'),
            ({"SSE_SINK_TOKEN": token}, 0, '"batch_id"'),
        ):
            answer = subprocess.run(
                flask_sse("pull", "warehouse", "--exec", "cat", "-n", "1"),
                env={**env, "PATH": os.environ["PATH"], **more},
                cwd=server.folder,
                capture_output=True,
                text=True,
                timeout=60,
            )
            assert answer.returncode == code, answer.stderr
            assert text in answer.stdout + answer.stderr
            assert "Traceback" not in answer.stderr


@pytest.mark.once
def test_the_places_are_shown_and_set(server: Server) -> None:
    server.post(orders(5))
    (server.folder / "wsgi.py").symlink_to(ROOT / "wsgi.py")

    def sse(*words: str, code: int = 0) -> str:
        env = {**environment(server.config), "PATH": os.environ["PATH"]}
        answer = subprocess.run(
            flask_sse(*words), env=env, cwd=server.folder, capture_output=True, text=True
        )
        assert answer.returncode == code, answer.stderr
        return answer.stdout + answer.stderr

    with Consumer(server.port) as consumer:
        consumer.confirm(consumer.extract("batch_size=1")["batch_id"])
        consumer.extract("batch_size=2&lease=60")
        head, row = sse("pulls").splitlines()
        assert head.split() == ["sink", "cursor", "lag", "out", "dead", "oldest", "missed"]
        assert row.split() == ["warehouse", "3", "4", "2", "0", "2", "0"]
        assert "warehouse goes on after event 4." in sse(
            "pulls", "reset", "warehouse", "--to", "4"
        )
        assert ids_of(consumer.extract()) == [5]
        sse("pulls", "reset", "warehouse", "--to", "earliest")
        assert ids_of(consumer.extract()) == [1, 2, 3, 4, 5]
        sse("pulls", "reset", "warehouse", "--to", "latest")
        assert ids_of(consumer.extract()) == []
        assert "the newest event has id 5" in sse(
            "pulls", "reset", "warehouse", "--to", "6", code=2
        )
        assert "no such pulled sink" in sse("pulls", "reset", "x", "--to", "1", code=2)
