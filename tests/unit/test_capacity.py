"""How many streams the process can carry, by the server that it recognizes."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_sse_sink.stream import capacity, wsgi_server


@given(st.integers(1, 100_000))
def test_the_threads_that_are_made_for_streams_carry_them(streams: int) -> None:
    assert capacity.streams_in(streams + capacity.reserve(streams)) >= streams


@pytest.mark.parametrize(("threads", "streams"), [(1, 0), (2, 1), (4, 2), (16, 8), (110, 100)])
def test_streams_leave_threads_for_the_rest(threads: int, streams: int) -> None:
    assert capacity.streams_in(threads) == streams


@pytest.mark.parametrize(("kind", "streams"), [("ThreadWorker", 2), ("SyncWorker", 0)])
def test_gunicorns_threads_bound_the_streams(
    monkeypatch: pytest.MonkeyPatch, kind: str, streams: int
) -> None:
    worker = type(kind, (), {"alive": True})()
    worker.cfg = SimpleNamespace(threads=4, worker_connections=1000)
    handler = SimpleNamespace(__self__=worker)
    monkeypatch.setattr("signal.getsignal", lambda number: handler)
    measured = capacity.measure()
    assert measured.streams == streams
    assert "--worker-class gthread" in measured.bound


def test_a_development_server_without_threads_carries_no_stream() -> None:
    assert capacity.measure({"werkzeug.socket": None, "wsgi.multithread": False}).streams == 0
    assert capacity.measure({"werkzeug.socket": None, "wsgi.multithread": True}).streams > 8


def test_the_limit_of_open_files_is_raised_as_far_as_it_goes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    limits_set: list[tuple[int, int]] = []
    monkeypatch.setattr("resource.setrlimit", lambda kind, limits: limits_set.append(limits))
    monkeypatch.setattr("resource.getrlimit", lambda kind: (1024, 4096))
    capacity.raise_descriptors(100)
    assert limits_set == []
    capacity.raise_descriptors(1000)
    capacity.raise_descriptors(100_000)
    assert limits_set == [(2 * 1100 + 256, 4096), (4096, 4096)]
    assert capacity.streams_in_descriptors() == 768


@pytest.mark.parametrize(("workers", "streams"), [(1, 0), (2, 1), (10, 5), (110, 100)])
def test_a_servers_pool_bounds_the_streams(workers: int, streams: int) -> None:
    """So it is with asgiref's WsgiToAsgi, whose pool has one thread, and with a2wsgi."""

    async def ask() -> capacity.Capacity:
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(workers) as pool:
            return await loop.run_in_executor(pool, capacity.measure, {"wsgi.multithread": True})

    measured = asyncio.run(ask())
    assert measured.streams == streams
    assert f"pool of threads, which has {workers}" in measured.bound


def test_a_server_of_one_thread_carries_none() -> None:
    environ = {"SERVER_SOFTWARE": "WSGIServer/0.2", "wsgi.multithread": False}
    measured = capacity.measure(environ)
    assert measured.streams == 0
    assert "WSGIServer/0.2, which has one thread" in measured.bound
    # A test client says the same of its threads, but names no server.
    assert capacity.measure({"wsgi.multithread": False}).streams > 8


def test_the_package_needs_no_gunicorn() -> None:
    command = "import sys; sys.modules['gunicorn'] = None; import flask_sse_sink.stream.capacity"
    subprocess.run([sys.executable, "-c", command], check=True)


def test_greenlets_of_eventlet_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    patcher = ModuleType("eventlet.patcher")
    patcher.__dict__["is_monkey_patched"] = lambda name: name == "thread"
    monkeypatch.setitem(sys.modules, "eventlet.patcher", patcher)
    assert wsgi_server.greenlet_library() == "eventlet"
    assert capacity.measure().streams == 0


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    class ThreadWorker:
        alive = True
        cfg = SimpleNamespace(threads=4, worker_connections=1000)
        pid = os.getpid()

    class Subclass(ThreadWorker):
        def stop(self) -> None: ...

    instance = Subclass()
    monkeypatch.setattr(signal, "getsignal", lambda number: instance.stop)
    yield instance


def test_a_subclass_of_gunicorns_worker_counts_as_it(worker: Any) -> None:
    assert wsgi_server.gunicorn_worker() is worker
    assert capacity.measure().streams == 2


def test_a_process_that_a_worker_forked_is_no_worker(worker: Any) -> None:
    worker.pid = os.getpid() + 1
    assert wsgi_server.gunicorn_worker() is None
