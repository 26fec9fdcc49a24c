"""How many streams a server's threads can carry, whichever server it is."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import gunicorn
import pytest
from gunicorn_server import Server, Stream, gunicorn_command, wait_until
from their_app import TheirGunicorn, write_app

from flask_sse_sink.stream import capacity

REFUSED = "at most {} streams are admitted instead of server.max_clients: 1000"
QUEUED = "events aren't sent directly: "


def check_refuses_and_ingests(server: Server) -> None:
    for _ in range(3):
        with Stream(server.port) as refused:
            assert refused.status == 503, refused.head
            assert b"its log says" in refused.rest()
    first, second = server.post([{"event_type": "a"}, {"event_type": "b"}])
    assert second == first + 1
    assert server.answers("/readyz") == 200
    assert server.log.count(REFUSED.format(0)) == 1
    assert "Traceback" not in server.log, server.log


def test_gevents_workers_refuse_streams_with_the_cure_and_take_events(tmp_path: Path) -> None:
    with TheirGunicorn(tmp_path, "-k", "gevent") as server:
        check_refuses_and_ingests(server)
        assert "gevent, which replaces threads by greenlets" in server.log
        assert "use e.g. gunicorn --worker-class gthread" in server.log


@pytest.mark.parametrize("preload", [[], ["--preload"]])
def test_so_do_those_of_the_ready_server(tmp_path: Path, preload: list[str]) -> None:
    """There the package is imported before gevent replaces anything."""

    def command(port: int) -> list[str]:
        return gunicorn_command(tmp_path, "--worker-class", "gevent", *preload)

    with Server(tmp_path, workers=1, max_clients=1000, command=command) as server:
        check_refuses_and_ingests(server)


def test_a_sync_worker_refuses_streams_with_the_cure_and_takes_events(tmp_path: Path) -> None:
    with TheirGunicorn(tmp_path) as server:
        check_refuses_and_ingests(server)
        assert "--threads 1 (use --worker-class gthread and more --threads)" in server.log


def waitress(folder: Path, *arguments: str) -> Server:
    write_app(folder)

    def command(port: int) -> list[str]:
        made = [sys.executable, "-m", "waitress", "--listen", f"127.0.0.1:{port}"]
        return [*made, *arguments, "theirs:app"]

    return Server(folder, command=command)


@pytest.mark.parametrize(("arguments", "streams"), [([], 2), (["--threads=20"], 12)])
def test_waitress_keeps_room_for_the_rest(
    tmp_path: Path, arguments: list[str], streams: int
) -> None:
    with waitress(tmp_path, *arguments) as server:
        opened: list[Stream] = []
        try:
            while len(opened) < streams:
                opened.append(server.stream())
            for _ in range(3):
                with Stream(server.port) as refused:
                    assert refused.status == 503
            ids = server.post([{"event_type": "a"}] * 3)
            for stream in opened:
                assert stream.ids_until(ids[-1]) == ids
            assert server.answers("/readyz") == 200
        finally:
            for stream in opened:
                stream.close()
        assert REFUSED.format(streams) in server.log
        assert f"waitress's threads={20 if arguments else 4} (serve with more)" in server.log
        assert server.log.count(f"{QUEUED}it is known for gunicorn alone") == 1


@pytest.mark.parametrize(("workers", "streams"), [(1, 0), (2, 1), (10, 5), (110, 100)])
def test_a_servers_pool_bounds_the_streams(workers: int, streams: int) -> None:
    """So it is with asgiref's WsgiToAsgi, whose pool has one thread, and with a2wsgi."""

    async def ask() -> capacity.Capacity:
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(workers) as pool:
            return await loop.run_in_executor(pool, capacity.capacity, {"wsgi.multithread": True})

    found = asyncio.run(ask())
    assert found.streams == streams
    assert f"pool of threads, which has {workers}" in found.bound


def test_a_server_of_one_thread_carries_none() -> None:
    environ = {"SERVER_SOFTWARE": "WSGIServer/0.2", "wsgi.multithread": False}
    found = capacity.capacity(environ)
    assert found.streams == 0 and "WSGIServer/0.2, which has one thread" in found.bound
    # A test client says the same of its threads, but names no server.
    assert capacity.capacity({"wsgi.multithread": False}).streams > 8


def test_greenlets_of_eventlet_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    patcher = ModuleType("eventlet.patcher")
    patcher.__dict__["is_monkey_patched"] = lambda name: name == "thread"
    monkeypatch.setitem(sys.modules, "eventlet.patcher", patcher)
    assert capacity.greenlets() == "eventlet"
    assert capacity.capacity().streams == 0


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    class ThreadWorker:
        alive = True
        cfg = SimpleNamespace(threads=4, worker_connections=1000)
        pid = os.getpid()

    class OneMadeFromIt(ThreadWorker):
        def stop(self) -> None: ...

    made = OneMadeFromIt()
    monkeypatch.setattr(signal, "getsignal", lambda number: made.stop)
    yield made


def test_a_worker_class_that_is_made_from_gunicorns_counts_as_it(worker: Any) -> None:
    assert capacity.gunicorn_worker() is worker
    assert capacity.capacity().streams == 2


def test_a_process_that_a_worker_forked_is_no_worker(worker: Any) -> None:
    worker.pid = os.getpid() + 1
    assert capacity.gunicorn_worker() is None


def test_direct_send_that_is_off_is_told_once_with_its_reason(tmp_path: Path) -> None:
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=a"),
            *("-keyout", str(tmp_path / "key.pem"), "-out", str(tmp_path / "cert.pem")),
        ],
        check=True,
        capture_output=True,
    )
    files = ("--keyfile", str(tmp_path / "key.pem"), "--certfile", str(tmp_path / "cert.pem"))

    context = ssl._create_unverified_context()
    with Server(tmp_path, workers=1, arguments=files, tls=True) as server:
        for _ in range(3):
            with socket.create_connection(("127.0.0.1", server.port)) as plain:
                with context.wrap_socket(plain) as connection:
                    connection.sendall(b"GET /events_stream/ HTTP/1.1\r\nHost: a\r\n\r\n")
                    got = b""
                    while b"data: connected" not in got:
                        got += connection.recv(4096)
        assert server.log.count(QUEUED) == 1
        assert "gunicorn itself speaks TLS; leave that to a proxy before it" in server.log


# The worker class that finds the response by them.
PLAIN = ["-w1", "-kgthread"]


def test_an_old_gunicorn_is_told(tmp_path: Path) -> None:
    """Before 25 it has no early hints, through which its response is found."""
    own = tmp_path / "old.py"
    own.write_text("import gunicorn.http.wsgi as w\nmade = w.create\n"
        "def create(*args, **named):\n"
        "    resp, environ = made(*args, **named)\n"
        "    del environ['wsgi.early_hints']\n"
        "    return resp, environ\n"
        "w.create = create\nfrom wsgi import app\n")  # fmt: skip

    def command(port: int) -> list[str]:
        return [*gunicorn_command(tmp_path)[:-1], "--pythonpath", str(tmp_path), *PLAIN, "old:app"]

    with Server(tmp_path, workers=1, command=command) as server:
        with server.stream(), server.stream(), server.stream():
            pass
        wait_until(lambda: QUEUED in server.log, "it is told")
        told = f"{QUEUED}gunicorn {gunicorn.__version__} doesn't hand out its response; use 25.0"
        assert server.log.count(told) == server.log.count(QUEUED) == 1


def test_what_is_one_clients_own_is_not_told(tmp_path: Path) -> None:
    with Server(tmp_path, workers=1) as server, server.stream():
        with socket.create_connection(("127.0.0.1", server.port)) as plain:
            plain.sendall(b"GET /events_stream/ HTTP/1.0\r\n\r\n")
            got = b""
            while b"data: connected" not in got:
                got += plain.recv(4096)
        assert QUEUED not in server.log
