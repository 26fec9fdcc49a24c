"""Fixtures of all tests: apps, streams, and the check that a test leaves nothing behind."""

from __future__ import annotations

import gc
import itertools
import json
import os
import shutil
import subprocess
import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from gunicorn_server import Server, wait_until
from redis_server import RedisServer, in_memory
from werkzeug.test import TestResponse

from flask_sse_sink import SSESink, events_stored, extension
from flask_sse_sink.event import new_event
from flask_sse_sink.extension import Engine, engine_of
from flask_sse_sink.sinks.sse import Sink

pytest_plugins = ["measured"]

MakeApp = Callable[..., Flask]


class Stream:
    """One open stream, read frame by frame."""

    def __init__(self, response: TestResponse) -> None:
        self.response = response
        self._parts = iter(response.iter_encoded())
        self._buffer = b""

    def frame(self) -> bytes:
        """Return the next frame with the blank line that ends it."""
        while b"\n\n" not in self._buffer:
            self._buffer += next(self._parts)
        found, end, self._buffer = self._buffer.partition(b"\n\n")
        return found + end

    def event(self) -> dict[str, Any]:
        """Return the next frame's envelope, passing over heartbeats."""
        found = self.frame()
        while found.startswith(b"event: heartbeat\n"):
            found = self.frame()
        head, id, data = found.decode().removesuffix("\n\n").split("\n")
        assert head == "event: message"
        envelope: dict[str, Any] = json.loads(data.removeprefix("data: "))
        assert id == f"id: {envelope['id']}"
        return envelope

    def types(self, count: int) -> list[str]:
        """Return the types of the next events."""
        return [self.event()["event_type"] for _ in range(count)]

    def close(self) -> None:
        self.response.close()


Listen = Callable[..., Stream]


def publish(app: Flask, *event_types: str) -> list[int]:
    """Store one event after the other."""
    append = engine_of(app).append
    return [append([new_event(name)]).ids[0] for name in event_types]


def _sockets() -> set[str]:
    found = set()
    for fd in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{fd}")
        except OSError:
            continue
        if target.startswith("socket:"):
            found.add(target)
    return found


def _receivers() -> set[int]:
    # A sink listens as long as its app lives: that is meant to be.
    live = [
        found() if isinstance(found, weakref.ref) else found
        for found in list(events_stored.receivers.values())
    ]
    return {id(found) for found in live if not isinstance(getattr(found, "__self__", None), Sink)}


def _left(threads: set[threading.Thread], sockets: set[str], receivers: set[int]) -> list[str]:
    found = [
        f"thread {thread.name}"
        for thread in threading.enumerate()
        if thread.name.startswith("sse-sink-") and thread not in threads
    ]
    found += [
        f"client of sink {name}"
        for engine in list(extension._engines)
        for name, sink in engine.sinks.items()
        for _ in sink.clients
    ]
    found += ["receiver of events_stored" for _ in _receivers() - receivers]
    found += [f"open {socket}" for socket in _sockets() - sockets]
    return found


@pytest.fixture(scope="session")
def one_redis() -> Iterator[RedisServer]:
    """Run a Redis for all tests that want one."""
    with in_memory() as server:
        yield server


@pytest.fixture
def redis_server(one_redis: RedisServer) -> RedisServer:
    """Return it with nothing in it."""
    one_redis.call("FLUSHALL")
    return one_redis


@pytest.fixture(scope="session")
def one_cluster() -> Iterator[RedisServer]:
    """Run a cluster of one node, which has every slot."""
    with in_memory("--cluster-enabled", "yes") as server:
        server.call("CLUSTER", "ADDSLOTS", *range(16384))
        wait_until(lambda: b"cluster_state:ok" in server.call("CLUSTER", "INFO"), "it is whole")
        yield server


@pytest.fixture
def redis_cluster(one_cluster: RedisServer) -> str:
    """Return the URL of an empty cluster."""
    one_cluster.call("FLUSHALL")
    return f"redis+cluster://127.0.0.1:{one_cluster.port}"


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    """Fail a test that leaves a thread, a client, a receiver or a socket behind."""
    before = set(threading.enumerate()), _sockets(), _receivers()
    yield
    if _left(*before):
        # What nobody can reach any more is only waiting for the collector.
        gc.collect()
    assert not _left(*before)


@pytest.fixture(params=["direct", "queue"])
def both_ways(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run a test twice, with direct send and without; the value says which it is."""
    monkeypatch.setattr(Server, "direct_send", request.param == "direct")
    way: str = request.param
    return way


@pytest.fixture
def make_app(tmp_path: Path, nothing_is_left: None) -> Iterator[MakeApp]:
    """Make apps; closes every engine that the test made, with or without this."""
    before: set[Engine] = set(extension._engines)
    numbers = itertools.count(1)
    made: list[Flask] = []

    def make(**config: Any) -> Flask:
        ingest = config.get("ingest", {})
        if not ingest.keys() & {"auth", "tokens"}:
            ingest = {"auth": "none", **ingest}
        sections = {
            "database": {"url": f"sqlite:///{tmp_path / f'events{next(numbers)}.db'}"},
            "sink": {"events_stream": {"type": "sse"}},
            **config,
            "ingest": ingest,
        }
        app = Flask("app_of_a_test")
        SSESink(app, sections)
        made.append(app)
        return app

    yield make
    for engine in set(extension._engines) - before:
        engine.close()
        app = engine._app()
        for sink in engine.sinks.values():
            if app is not None:
                events_stored.disconnect(sink.on_events_stored, sender=app)


@pytest.fixture
def listen(make_app: MakeApp) -> Iterator[Listen]:
    """Open streams, past their first frame; closes them before the apps."""
    opened: list[Stream] = []

    def open_stream(app: Flask, query: str = "", path: str = "/events_stream/") -> Stream:
        response = app.test_client().get(f"{path}?{query}", buffered=False)
        stream = Stream(response)
        opened.append(stream)
        assert response.status_code == 200
        assert stream.frame() == b"event: info\ndata: connected\nretry: 3000\n\n"
        return stream

    yield open_stream
    for stream in opened:
        stream.close()


@pytest.fixture(scope="session")
def node_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of tests/clients in which npm's packages are installed."""
    without = "node or npm is missing, so that npm's eventsource can't be tried"
    if not (shutil.which("node") and shutil.which("npm")):
        assert os.environ.get("CI") != "true", without
        pytest.skip(without)
    folder = tmp_path_factory.mktemp("node")
    for name in ("package.json", "read.mjs"):
        shutil.copy(Path(__file__).with_name("clients") / name, folder)
    subprocess.run(
        ["npm", "install", "--no-audit", "--no-fund", "--no-package-lock"],
        cwd=folder,
        check=True,
        capture_output=True,
        timeout=100,
    )
    return folder


@pytest.fixture
def needs_chromium() -> None:
    if not shutil.which("chromium"):
        assert "chromium" not in os.environ.get("SSE_SINK_NEEDS", ""), "chromium is missing"
        pytest.skip("chromium is missing, so that a browser's EventSource can't be tried")
