"""A server whose Redis goes away, comes late, hangs, fills up or is emptied."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from flask_sse_sink.log.redis.log import RedisLog
from flask_sse_sink.submission import new_event
from support.measured import Measured
from support.processes import free_port
from support.redis_server import Guarded, RedisServer
from support.server import Server
from support.waiting import WAIT_SECONDS, wait_until

SINK = {"replay": True, "heartbeat_timeout": 0.2, "retry": 0.1}


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    (tmp_path / "redis").mkdir()
    with RedisServer(tmp_path / "redis") as made:
        yield made


def ask(server: Server, path: str, event: str = "") -> tuple[int, str]:
    """Return status and body of a GET, or of a POST of an event with this id."""
    made = http.client.HTTPConnection("127.0.0.1", server.port, timeout=WAIT_SECONDS)
    try:
        body = json.dumps({"event_type": "a", "event_id": event}) if event else None
        headers = {"Content-Type": "application/json"}
        made.request("POST" if event else "GET", path, body, headers)
        answer = made.getresponse()
        return answer.status, answer.read().decode()
    finally:
        made.close()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_streams_go_on_when_redis_is_back(
    tmp_path: Path, redis: RedisServer, measured: Measured, how: signal.Signals
) -> None:
    with (
        Server(
            tmp_path, {"database": {"url": redis.url}, "sink": {"events_stream": SINK}}
        ) as server,
        server.stream() as stream,
    ):
        server.post({"event_type": "a", "event_id": "1"})
        assert stream.message_id() == 1
        redis.stop(how)
        wait_until(lambda: server.answers("/readyz") == 503, "it isn't ready")
        status, body = ask(server, "/readyz")
        assert json.loads(body)["detail"] == "Redis can't be reached"
        assert str(redis.port) not in body
        assert "can't be reached; start it, or mend host, port or network" in server.log
        for turn in range(5):
            status, body = ask(server, "/ingest", f"lost-{turn}")
            assert status == 503, body
        assert ask(server, "/healthz")[0] == 200
        # The stream is there all the while.
        for _ in range(3):
            assert stream.next(heartbeats=True).event == "heartbeat"
        redis.start()
        began = time.monotonic()
        wait_until(lambda: ask(server, "/ingest", "2")[0] in (200, 201), "it takes events")
        assert stream.message_id() == 2
        seconds = time.monotonic() - began
        measured(
            f"Redis ended with {how.name} is back: until an event is streamed", f"{seconds:.2f} s"
        )
        assert seconds < 10
        wait_until(lambda: server.answers("/readyz") == 200, "it is ready")
    assert "Traceback" not in server.log, server.log


def test_a_server_waits_for_a_redis_that_starts_late(tmp_path: Path) -> None:
    (tmp_path / "redis").mkdir()
    port = free_port()
    url = f"redis://127.0.0.1:{port}/0"
    with Server(
        tmp_path,
        {"database": {"url": url}, "server": {"workers": 1}, "sink": {"events_stream": SINK}},
        ready="/healthz",
    ) as server:
        assert server.answers("/readyz") == 503
        assert server.answers("/events_stream/") == 503
        assert ask(server, "/ingest", "1")[0] == 503
        with RedisServer(tmp_path / "redis", port=port):
            wait_until(lambda: server.answers("/readyz") == 200, "it is ready")
            with server.stream() as stream:
                server.post({"event_type": "a"})
                assert stream.message_id() == 1
            server.terminate()
            wait_until(lambda: server.answers("/healthz") == 0, "it stops")


def cluster(folder: Path, port: int) -> RedisServer:
    """Start a cluster's only node; what it knows of the cluster is in the folder."""
    return RedisServer(folder, "--cluster-enabled", "yes", port=port)


def give_slots(node: RedisServer) -> None:
    node.call("CLUSTER", "ADDSLOTS", *range(16384))
    wait_whole(node)


def wait_whole(node: RedisServer) -> None:
    wait_until(lambda: b"cluster_state:ok" in node.call("CLUSTER", "INFO"), "it is whole")


def test_a_server_waits_for_a_cluster_that_starts_late_and_restarts(
    tmp_path: Path, measured: Measured
) -> None:
    (tmp_path / "redis").mkdir()
    port = free_port()
    while port > 55_535:
        port = free_port()
    url = f"redis+cluster://127.0.0.1:{port}"
    with Server(
        tmp_path,
        {"database": {"url": url}, "server": {"workers": 1}, "sink": {"events_stream": SINK}},
        ready="/healthz",
    ) as server:
        cure = "Redis can't be reached; start it, or mend host, port or network"
        for status, body in (ask(server, "/readyz"), ask(server, "/ingest", "1")):
            assert status == 503 and "Redis can't be reached" in body
            assert "start it" not in body
        assert cure in server.log
        assert ask(server, "/events_stream/")[0] == 503
        with cluster(tmp_path / "redis", port) as node:
            # Its node is there before it has any slots.
            def it_is_told() -> bool:
                return ask(server, "/ingest", "2")[0] == 503 and "slots" in server.log

            wait_until(it_is_told, "it has no slots")
            give_slots(node)
            wait_until(lambda: server.answers("/readyz") == 200, "it is ready")
            with server.stream() as stream:
                server.post({"event_type": "a", "event_id": "3"})
                assert stream.message_id() == 1
                for turn in range(2):
                    node.stop()
                    wait_until(lambda: server.answers("/readyz") == 503, "it isn't ready")
                    assert ask(server, "/ingest", "lost")[0] == 503
                    assert ask(server, "/healthz")[0] == 200
                    assert stream.next(heartbeats=True).event == "heartbeat"
                    node.start()
                    wait_until(
                        lambda: b"cluster_state:ok" in node.call("CLUSTER", "INFO"), "it is whole"
                    )
                    began = time.monotonic()
                    wait_until(lambda: ask(server, "/ingest", f"b{turn}")[0] in (200, 201), "on")  # noqa: B023
                    assert stream.message_id() == turn + 2
                    measured(
                        "Redis Cluster is back: until an event is streamed",
                        f"{time.monotonic() - began:.2f} s",
                    )
    assert "Traceback" not in server.log, server.log


@pytest.mark.once
def test_a_cluster_that_hangs_delays_nothing_else(tmp_path: Path, measured: Measured) -> None:
    (tmp_path / "redis").mkdir()
    with cluster(tmp_path / "redis", 0) as node:
        give_slots(node)
        url = f"redis+cluster://127.0.0.1:{node.port}"
        with (
            Server(
                tmp_path,
                {
                    "database": {"url": url},
                    "server": {"workers": 1},
                    "sink": {"events_stream": SINK},
                },
            ) as server,
            server.stream() as stream,
        ):
            os.kill(node.pid, signal.SIGSTOP)
            try:
                began = time.monotonic()
                assert ask(server, "/ingest", "1")[0] == 503
                first = time.monotonic() - began
                assert ask(server, "/healthz")[0] == 200
                assert stream.next(heartbeats=True).event == "heartbeat"
            finally:
                os.kill(node.pid, signal.SIGCONT)
            measured("Redis Cluster hangs: the first POST is told so", f"503 after {first:.1f} s")
            assert first < 12
            wait_until(lambda: ask(server, "/ingest", "1")[0] in (200, 201), "it is taken")
            assert stream.message_id() == 1


@pytest.mark.once
def test_a_redis_that_hangs_delays_nothing_else(
    tmp_path: Path, redis: RedisServer, measured: Measured
) -> None:
    with (
        Server(
            tmp_path, {"database": {"url": redis.url}, "sink": {"events_stream": SINK}}
        ) as server,
        server.stream() as stream,
    ):
        os.kill(redis.pid, signal.SIGSTOP)
        try:
            began = time.monotonic()
            status, body = ask(server, "/ingest", "1")
            assert status == 503 and "Redis doesn't answer" in body
            assert "no answer for 5 s" in server.log
            first = time.monotonic() - began
            worst = 0.0
            for _ in range(20):
                began = time.monotonic()
                assert ask(server, "/healthz")[0] == 200
                worst = max(worst, time.monotonic() - began)
            assert stream.next(heartbeats=True).event == "heartbeat"
        finally:
            os.kill(redis.pid, signal.SIGCONT)
        measured("Redis hangs: the first POST is told so", f"503 after {first:.1f} s")
        measured("the same: /healthz, worst of 20", f"{worst * 1000:.0f} ms")
        assert worst < 1
        # Each worker finds out for itself.
        for event in ("1", "2"):
            wait_until(lambda: ask(server, "/ingest", event)[0] in (200, 201), "it is taken")  # noqa: B023
        # Whether the first attempt was stored in the end or not: once it is.
        assert [stream.message_id(), stream.message_id()] == [1, 2]


def test_streams_end_when_redis_was_emptied(tmp_path: Path, redis: RedisServer) -> None:
    with Server(
        tmp_path, {"database": {"url": redis.url}, "sink": {"events_stream": SINK}}
    ) as server:
        with server.stream() as stream:
            server.post([{"event_type": "a"} for _ in range(5)])
            assert stream.ids_until(5) == [1, 2, 3, 4, 5]
            redis.call("FLUSHALL")
            while (found := stream.next()).event == "message":
                pass
            assert (found.event, found.data) == ("info", "closing")
        assert server.post({"event_type": "a"}) == [1]
        with server.stream("?last_event_id=5") as stream:
            told = stream.next().data
            assert told.startswith("missed ") and '"reason":"unknown_id"' in told
            assert stream.message_id() == 1


@pytest.mark.once
def test_streams_go_on_when_a_replica_takes_over(tmp_path: Path, measured: Measured) -> None:
    with contextlib.ExitStack() as stack:
        guarded = Guarded(tmp_path, stack)
        server = stack.enter_context(
            Server(tmp_path, {"database": {"url": guarded.url}, "sink": {"events_stream": SINK}})
        )
        stream = stack.enter_context(server.stream())
        assert server.post([{"event_type": "a"}] * 3) == [1, 2, 3]
        assert stream.ids_until(3) == [1, 2, 3]
        wait_until(lambda: guarded.copied(3), "it is copied")
        guarded.master.stop()
        began = time.monotonic()
        wait_until(lambda: ask(server, "/ingest", "4")[0] in (200, 201), "it takes events")
        assert stream.message_id() == 4
        seconds = time.monotonic() - began
        measured(
            "Redis's master is killed, a replica takes over", f"streaming after {seconds:.1f} s"
        )
        assert stream.next(heartbeats=True).event == "heartbeat"


@pytest.mark.parametrize("more", [1, 9])
def test_streams_end_when_redis_lacks_the_newest_events(
    tmp_path: Path, redis: RedisServer, more: int
) -> None:
    kept, older = tmp_path / "redis", tmp_path / "older"
    with (
        Server(
            tmp_path, {"database": {"url": redis.url}, "sink": {"events_stream": SINK}}
        ) as server,
        server.stream() as stream,
    ):
        server.post({"event_type": "a"})
        shutil.copytree(kept, older)
        server.post([{"event_type": "a"}] * 4)
        assert stream.ids_until(5) == [1, 2, 3, 4, 5]
        redis.stop()
        shutil.rmtree(kept)
        shutil.copytree(older, kept)
        redis.start()
        # What another node stores may be ahead of what this one has seen by now.
        log = RedisLog(redis.url)
        assert log.append([new_event("a") for _ in range(more)]).ids[0] == 2
        log.close()
        while (found := stream.next()).event == "message":
            assert int(found.id) > 5
        assert found.data == "closing"
