"""A server that is told to stop, or loses its master, ends every stream with a whole frame."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from support.crowd import Crowd, Heard
from support.measured import Measured
from support.processes import ROOT, flask_command
from support.server import Server
from support.waiting import wait_until

pytestmark = pytest.mark.usefixtures("both_ways")


def check_closing(heard: list[Heard], last: int = 0, retry_ms: int = 3000) -> None:
    """Fail unless every stream got events up to ``last``, then `closing`, then a proper end."""
    waits = set()
    for each in heard:
        events = each.events()
        assert (events[-1].event, events[-1].data) == ("info", "closing")
        ids = [int(event.id) for event in events if event.event == "message"]
        assert ids == list(range(ids[0], ids[-1] + 1)) if ids else not last
        assert not last or ids[-1] == last
        body, _ = each.body()
        waits.add(int(re.findall(rb"retry: (\d+)\n", body)[-1]))
    assert min(waits) >= retry_ms and max(waits) <= 2 * retry_ms
    assert len(waits) > len(heard) / 4, "they would all come back at once"


def wait_gone(pids: list[int], seconds: float = 20) -> None:
    wait_until(lambda: not any(is_running(pid) for pid in pids), "the workers ended", seconds)


def is_running(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize("name", ["TERM", "INT", "QUIT"])
def test_a_worker_with_a_thousand_streams_is_gone_in_two_seconds(
    tmp_path: Path, measured: Measured, name: str
) -> None:
    with (
        Server(tmp_path, {"server": {"workers": 1, "max_clients": 1000}}) as server,
        Crowd(server.port, 1000) as crowd,
    ):
        last = server.post([{"event_type": "a"}] * 3)[-1]
        crowd.read_until(lambda: all(f"id: {last}\n".encode() in h.raw for h in crowd.heard))
        workers = server.workers()
        began = time.monotonic()
        os.kill(server.pid, getattr(signal, f"SIG{name}"))
        crowd.read_to_the_end()
        ended = time.monotonic() - began
        wait_gone(workers)
        gone = time.monotonic() - began
        check_closing(crowd.heard, last)
        measured(
            f"SIG{name}, 1,000 streams, peers don't close: last stream ended", f"{ended:.2f} s"
        )
        measured(f"SIG{name}, 1,000 streams, peers don't close: worker gone", f"{gone:.2f} s")
        assert gone < 4
    assert "Traceback" not in server.log, server.log


def test_a_reload_ends_the_old_streams_and_serves_on(tmp_path: Path, measured: Measured) -> None:
    with (
        Server(tmp_path, {"server": {"max_clients": 500}}) as server,
        Crowd(server.port, 500) as crowd,
    ):
        old = server.workers()
        stop = threading.Event()
        statuses: list[int] = []

        def look() -> None:
            while not stop.is_set():
                statuses.append(server.answers("/healthz"))
                stop.wait(0.01)

        looking = threading.Thread(target=look)
        looking.start()
        try:
            began = time.monotonic()
            os.kill(server.pid, signal.SIGHUP)
            crowd.read_to_the_end()
            wait_gone(old)
            measured("SIGHUP, 500 streams: old workers gone", f"{time.monotonic() - began:.2f} s")
            wait_until(lambda: len(server.workers()) == 2, "the new workers are there")
        finally:
            stop.set()
            looking.join()
        check_closing(crowd.heard)
        failed = sum(status != 200 for status in statuses)
        measured("SIGHUP, 500 streams: /healthz not answered", f"{failed} of {len(statuses)}")
        assert failed <= 2
        with server.one_of_each_worker(server.stream) as streams:
            ids = server.post([{"event_type": "after"}])
            for stream in streams.values():
                assert stream.ids_until(ids[-1]) == ids
    assert "Traceback" not in server.log, server.log


def test_a_recycled_worker_ends_its_streams(tmp_path: Path, measured: Measured) -> None:
    arguments = ["--max-requests", "150"]
    with Server(
        tmp_path, {"server": {"workers": 1, "max_clients": 200}}, arguments=arguments
    ) as server:
        with Crowd(server.port, 100) as crowd:
            old = server.workers()
            began = time.monotonic()
            while is_running(old[0]) and not all(heard.ended for heard in crowd.heard):
                with contextlib.suppress(OSError):
                    server.answers("/healthz")
                crowd.read()
                assert time.monotonic() - began < 20
            began = time.monotonic()
            crowd.read_to_the_end()
            wait_gone(old)
            measured(
                "--max-requests, 100 streams: worker gone", f"{time.monotonic() - began:.2f} s"
            )
            check_closing(crowd.heard)
    assert "Traceback" not in server.log, server.log


def test_workers_whose_master_was_killed_end_too(tmp_path: Path, measured: Measured) -> None:
    server = Server(tmp_path, {"server": {"max_clients": 400}})
    with contextlib.closing(server), Crowd(server.port, 200) as crowd:
        workers = server.workers()
        began = time.monotonic()
        os.kill(server.pid, signal.SIGKILL)
        crowd.read_to_the_end()
        wait_gone(workers)
        gone = time.monotonic() - began
        measured("kill -9 of the master, 200 streams: workers gone", f"{gone:.2f} s")
        assert gone < 4
        check_closing(crowd.heard)


def test_the_streams_of_the_worker_that_stays_miss_nothing(tmp_path: Path) -> None:
    with Server(tmp_path) as server, server.one_of_each_worker(server.stream) as streams:
        (ending, ended), (_, kept) = streams.items()
        ids: list[int] = []
        stop = threading.Event()

        def pour() -> None:
            while not stop.is_set():
                with contextlib.suppress(OSError, AssertionError):
                    ids.append(server.post({"event_type": "a"})[0])

        pouring = threading.Thread(target=pour)
        pouring.start()
        try:
            wait_until(lambda: len(ids) > 20, "events pour")
            os.kill(ending, signal.SIGTERM)
            wait_gone([ending])
            already = len(ids)
            wait_until(lambda: len(ids) > already + 20, "events pour on")
        finally:
            stop.set()
            pouring.join()
        (last,) = server.post({"event_type": "the.end"})
        assert kept.ids_until(last) == list(range(ids[0], last + 1))
        assert set(ids) <= set(range(ids[0], last + 1))
        with pytest.raises(EOFError):
            while (found := ended.next()).data != "closing":
                assert found.event == "message"
            ended.next()
    assert "Traceback" not in server.log, server.log


def test_a_stopping_worker_cuts_those_that_take_nothing(
    tmp_path: Path, measured: Measured
) -> None:
    with Server(tmp_path, {"server": {"workers": 1, "max_clients": 50}}) as server:
        with Crowd(server.port, 10, receive_buffer=4096), Crowd(server.port, 10) as quick:
            for _ in range(12):
                last = server.post([{"event_type": "big", "data": "x" * 90_000}] * 10)[-1]
            quick.read_until(lambda: all(b"id: %d\n" % last in h.raw for h in quick.heard))
            workers = server.workers()
            began = time.monotonic()
            os.kill(server.pid, signal.SIGTERM)
            quick.read_to_the_end()
            wait_gone(workers)
            gone = time.monotonic() - began
            check_closing(quick.heard, last)
            measured("SIGTERM with 10 stalled of 20 streams: worker gone", f"{gone:.2f} s")
            assert gone < 4
    assert "Traceback" not in server.log, server.log


@pytest.mark.parametrize("reload", ["--no-reload", "--reload"])
def test_ctrl_c_under_flask_run_ends_streams_well(
    tmp_path: Path, measured: Measured, reload: str
) -> None:
    server = Server(
        tmp_path,
        {"ingest": {"tokens": ["a-token-of-tests"]}},
        command=lambda p: flask_command(p, reload),
    )
    with contextlib.closing(server), Crowd(server.port, 20) as crowd:
        # The development server cuts a connection that it was still handing to its thread as it
        # is interrupted: this one is served after all of the crowd were handed over.
        assert server.answers("/healthz") == 200
        began = time.monotonic()
        # As a terminal does it: every process of the group gets the signal.
        os.killpg(server.pid, signal.SIGINT)
        crowd.read_to_the_end()
        wait_gone([server.pid])
        check_closing(crowd.heard)
        measured(f"Ctrl-C, flask run {reload}: gone", f"{time.monotonic() - began:.2f} s")
    assert "Traceback" not in server.log, server.log


def test_the_reloader_ends_streams_well(tmp_path: Path) -> None:
    watched = tmp_path / "watched.py"
    watched.write_text("")

    def command(port: int) -> list[str]:
        return flask_command(port, "--reload", "--extra-files", str(watched))

    with Server(tmp_path, {"ingest": {"tokens": ["a-token-of-tests"]}}, command=command) as server:
        with Crowd(server.port, 10) as crowd:
            watched.write_text("# changed")
            crowd.read_to_the_end()
            check_closing(crowd.heard)
        wait_until(lambda: server.answers("/readyz") == 200, "it serves again")
    assert "Traceback" not in server.log, server.log


def test_a_stopping_server_is_not_ready_before_its_streams_end(tmp_path: Path) -> None:
    """Seen on one connection that is kept open, as the listener is closed by then."""
    script = (
        "import signal, sys, threading\n"
        "from flask_sse_sink import create_app\n"
        "from flask_sse_sink.extension import runtime_of\n"
        "app = create_app()\n"
        "client = app.test_client()\n"
        "assert client.get('/readyz').status_code == 200\n"
        "stream = client.get('/events_stream/', buffered=False).iter_encoded()\n"
        "next(stream)\n"
        "runtime = runtime_of(app)\n"
        "seen = []\n"
        "end = runtime.end_streams\n"
        "ready = lambda: seen.append(client.get('/readyz').status_code)\n"
        "runtime.end_streams = lambda: (ready(), end())[1]\n"
        "assert runtime.drain() == 1\n"
        "refused = client.get('/events_stream/')\n"
        "assert seen == [503] and refused.status_code == 503, (seen, refused)\n"
        "assert b'closing' in b''.join(stream)\n"
        "assert runtime.drain() == 0\n"
    )
    config = tmp_path / "config.yaml"
    config.write_text("sink: {events_stream: {type: sse}}\ningest: {auth: none}\n")
    environment = {**os.environ, "SSE_SINK_CONFIG": str(config), "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", script], env=environment, check=True, timeout=30)
