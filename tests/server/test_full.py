"""A log without room for another event: the server isn't ready until there is some."""

from __future__ import annotations

import http.client
import json
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support.measured import Measured
from support.redis_server import in_memory
from support.server import Server
from support.waiting import WAIT_SECONDS, wait_until

pytestmark = pytest.mark.once


def post(server: Server, size: int) -> int:
    """Post an event with so much data, and return the status."""
    made = http.client.HTTPConnection("127.0.0.1", server.port, timeout=WAIT_SECONDS)
    try:
        body = json.dumps({"event_type": "a", "data": "x" * size})
        made.request("POST", "/ingest", body, {"Content-Type": "application/json"})
        return made.getresponse().status
    finally:
        made.close()


def pulled(server: Server, method: str, target: str) -> tuple[int, Any]:
    """Send a request to the pulled sink; return the status and the JSON of the answer."""
    made = http.client.HTTPConnection("127.0.0.1", server.port, timeout=WAIT_SECONDS)
    try:
        made.request(method, f"/warehouse/{target}")
        answer = made.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        made.close()


def extract(server: Server) -> tuple[int, list[int]]:
    """Extract one event; return the batch's id and the ids in it."""
    status, batch = pulled(server, "GET", "extract?batch_size=1")
    assert status == 200, batch
    return batch["batch_id"], [event["id"] for event in batch["events"]]


def confirm(server: Server, batch: int) -> tuple[int, Any]:
    status, answer = pulled(server, "POST", f"mark-processed?batch_id={batch}")
    return status, answer.get("marked_count")


def nothing_is_confirmed_while_it_is_full(
    server: Server, fill_up: Callable[[], None], make_room: Callable[[], object]
) -> None:
    assert [post(server, 10) for _ in range(3)] == [201, 201, 201]
    first, ids = extract(server)
    assert ids == [1]
    assert confirm(server, first) == (200, 1)
    second, ids = extract(server)
    assert ids == [2]
    fill_up()
    assert confirm(server, second) == (503, None)
    status, problem = pulled(server, "GET", "extract?batch_size=1")
    assert status == 503 and problem["title"], problem
    make_room()
    wait_until(lambda: server.answers("/readyz") == 200, "it is ready", 3)
    # What was confirmed stays so; what was refused comes again, and its batch is still known.
    third, ids = extract(server)
    assert ids == [2]
    assert confirm(server, second) == (200, 1)
    assert confirm(server, third) == (200, 0)
    assert extract(server)[1] == [3]
    assert "Traceback" not in server.log, server.log


PULLED = {
    "server": {"workers": 1, "max_clients": 10},
    "sink": {"warehouse": {"type": "http_pull", "access": "none"}},
}


def fill(server: Server) -> int:
    """Post events of 4 kB until one is refused, and return how many were taken."""
    taken = 0
    while (status := post(server, 4_000)) == 201:
        taken += 1
    assert status == 503
    return taken


def not_ready(server: Server) -> bool:
    """Return whether events are refused and the server says that it isn't ready."""
    # Buffers of Redis's come and go: there may be room again.
    fill(server)
    return server.answers("/readyz") == 503 and post(server, 4_000) == 503


def test_a_server_whose_disk_is_full_is_not_ready(tmp_path: Path, measured: Measured) -> None:
    with Server(tmp_path, {"server": {"workers": 1, "max_clients": 10}}) as server:
        (worker,) = server.workers()
        _, hard = resource.prlimit(worker, resource.RLIMIT_FSIZE)
        refused = 0
        for room in (3_000, 30_000):
            assert server.answers("/readyz") == 200
            size = (tmp_path / "events.db-wal").stat().st_size
            resource.prlimit(worker, resource.RLIMIT_FSIZE, (size + room, hard))
            wait_until(lambda: not_ready(server), "it isn't ready", 3)
            refused += 1
            resource.prlimit(worker, resource.RLIMIT_FSIZE, (hard, hard))
            wait_until(lambda: server.answers("/readyz") == 200, "it is ready", 3)
            assert post(server, 4_000) == 201
        measured("a full disk: `/readyz` while events get 503", f"503, {refused} of {refused}")
    assert "Traceback" not in server.log, server.log


def test_a_server_whose_redis_is_full_is_not_ready(tmp_path: Path) -> None:
    with (
        in_memory() as redis,
        Server(tmp_path, {"server": {"workers": 1}, "database": {"url": redis.url}}) as server,
    ):
        for room in (3_000, 100_000):
            assert server.answers("/readyz") == 200
            with redis.client() as client:
                used = client.info("memory")["used_memory"]
            redis.call("CONFIG", "SET", "maxmemory", used + room)
            wait_until(lambda: not_ready(server), "it isn't ready", 3)
            redis.call("CONFIG", "SET", "maxmemory", 0)
            wait_until(lambda: server.answers("/readyz") == 200, "it is ready", 3)
            assert post(server, 4_000) == 201
    assert "Traceback" not in server.log, server.log


def test_nothing_is_confirmed_while_the_disk_is_full(tmp_path: Path) -> None:
    with Server(tmp_path, PULLED) as server:
        (worker,) = server.workers()
        _, hard = resource.prlimit(worker, resource.RLIMIT_FSIZE)

        def fill_up() -> None:
            size = (tmp_path / "events.db-wal").stat().st_size
            resource.prlimit(worker, resource.RLIMIT_FSIZE, (size + 100, hard))
            wait_until(lambda: not_ready(server), "it isn't ready", 3)

        nothing_is_confirmed_while_it_is_full(
            server,
            fill_up,
            lambda: resource.prlimit(worker, resource.RLIMIT_FSIZE, (hard, hard)),
        )


def test_nothing_is_confirmed_while_redis_is_full(tmp_path: Path) -> None:
    with (
        in_memory() as redis,
        Server(tmp_path, {**PULLED, "database": {"url": redis.url}}) as server,
    ):

        def fill_up() -> None:
            redis.call("CONFIG", "SET", "maxmemory", 1)
            wait_until(lambda: not_ready(server), "it isn't ready", 3)

        nothing_is_confirmed_while_it_is_full(
            server, fill_up, lambda: redis.call("CONFIG", "SET", "maxmemory", 0)
        )
