"""Fixtures of all tests: apps, streams, and the check that a test leaves nothing behind."""

from __future__ import annotations

import gc
import itertools
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from flask import Flask

from flask_sse_sink import SSESink, events_stored
from flask_sse_sink.processes import registered
from flask_sse_sink.runtime import Runtime
from support.apps import Listen, MakeApp
from support.leaks import Leaks
from support.redis_server import RedisServer, in_memory
from support.server import Server
from support.settings import with_ingest
from support.stream import AppStream
from support.waiting import wait_until

pytest_plugins = ["pytester", "support.measured"]

# For `make quick` and for other environments: the properties are tried with fewer examples.
# No deadline: beside other tests an example may take as long as the machine likes.
hypothesis.settings.register_profile("whole", deadline=None)
hypothesis.settings.register_profile("quick", deadline=None, max_examples=10)
hypothesis.settings.load_profile("whole")


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
    leaks = Leaks()
    yield
    if leaks.names():
        # What nobody can reach any more is only waiting for the collector.
        gc.collect()
    assert not leaks.names()


@pytest.fixture(params=["direct", "queue"])
def both_ways(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run a test twice, with direct send and without; the value says which it is."""
    monkeypatch.setattr(Server, "direct_send", request.param == "direct")
    way: str = request.param
    return way


@pytest.fixture(autouse=True)
def runtimes_are_closed(nothing_is_left: None) -> Iterator[None]:
    """Close every runtime that the test made."""
    before = set(registered())
    yield
    for runtime in set(registered()) - before:
        assert isinstance(runtime, Runtime)
        runtime.close()
        app = runtime.app
        for sink in runtime.sinks.values():
            if app is not None:
                events_stored.disconnect(sink.on_events_stored, sender=app)


@pytest.fixture
def make_app(tmp_path: Path) -> MakeApp:
    """Return what makes an app. The app exists until the end of the test."""
    numbers = itertools.count(1)
    made: list[Flask] = []

    def make(**config: Any) -> Flask:
        sections = {
            "database": {"url": f"sqlite:///{tmp_path / f'events{next(numbers)}.db'}"},
            "sink": {"events_stream": {"type": "sse"}},
            **config,
        }
        app = Flask("app_of_a_test")
        SSESink(app, with_ingest(sections))
        made.append(app)
        return app

    return make


@pytest.fixture
def listen(make_app: MakeApp) -> Iterator[Listen]:
    """Open streams, past their first frame; closes them before the apps."""
    opened: list[AppStream] = []

    def open_stream(app: Flask, query: str = "", path: str = "/events_stream/") -> AppStream:
        response = app.test_client().get(f"{path}?{query}", buffered=False)
        stream = AppStream(response)
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
    without = "node or npm is missing, so that npm's clients can't be tried"
    if not (shutil.which("node") and shutil.which("npm")):
        assert os.environ.get("CI") != "true", without
        pytest.skip(without)
    folder = tmp_path_factory.mktemp("node")
    for name in ("package.json", "read.mjs", "cloudevents.mjs"):
        shutil.copy(Path(__file__).parent / "support" / "clients" / name, folder)
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


@pytest.fixture(scope="session")
def needs_nginx() -> None:
    missing = [name for name in ("nginx", "openssl", "curl") if not shutil.which(name)]
    if missing:
        assert "nginx" not in os.environ.get("SSE_SINK_NEEDS", ""), missing
        pytest.skip(f"{', '.join(missing)} missing, so that the files to deploy can't be tried")
