"""What dies is replaced: workers that are killed, threads that end for no reason."""

from __future__ import annotations

import contextlib
import http.client
import sys
import threading
import time
from pathlib import Path

import pytest

from support.measured import Measured
from support.processes import ROOT
from support.server import Server
from support.waiting import wait_until

pytestmark = pytest.mark.usefixtures("both_ways")


def test_workers_killed_in_a_loop_under_load(tmp_path: Path, measured: Measured) -> None:
    with Server(tmp_path) as server:
        stop = threading.Event()
        ids: list[int] = []

        def pour() -> None:
            while not stop.is_set():
                with contextlib.suppress(OSError, AssertionError, http.client.HTTPException):
                    ids.append(server.post({"event_type": "a"})[0])

        pouring = [threading.Thread(target=pour) for _ in range(3)]
        for thread in pouring:
            thread.start()
        times = []
        try:
            for _ in range(5):
                with server.one_of_each_worker(server.stream) as streams:
                    (killed, _), (_, kept) = streams.items()
                    first = kept.message_id()
                    began = time.monotonic()
                    server.kill(killed)
                    wait_until(lambda: len(server.workers()) == 2, "it is replaced")
                    with server.one_of_each_worker(server.stream) as after:
                        times.append(time.monotonic() - began)
                        assert killed not in after
                        for stream in after.values():
                            start = stream.message_id()
                            found = stream.ids_until(start + 20)
                            assert found == list(range(start + 1, start + 21))
                    last = ids[-1]
                    assert kept.ids_until(last) == list(range(first + 1, kept.last_id + 1))
        finally:
            stop.set()
            for thread in pouring:
                thread.join()
        measured("kill -9 under load: both workers stream again", f"{max(times):.2f} s at most")
        stored = [id for id, _ in server.stored()]
        assert stored == list(range(1, len(stored) + 1))
        assert set(ids) <= set(stored)
    assert "Traceback" not in server.log, server.log


KILLER = """
import ctypes, threading
from wsgi import app

@app.get("/kill/<name>")
def kill(name):
    found = [t.ident for t in threading.enumerate() if t.name == name]
    for ident in found:
        raised = ctypes.py_object(SystemExit)
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(ident), raised)
    return str(len(found))

@app.get("/end/<name>")
def end(name):
    "The thread's loop is left as if it had never been written."
    from flask_sse_sink.extension import runtime_of
    parts = runtime_of(app).started()
    loop = {"sse-sink-relay": parts.relay, "sse-sink-watch": parts.watcher}[name].thread
    (thread,) = [t for t in threading.enumerate() if t.name == name]
    class Over(BaseException): pass
    def over(*_): raise Over
    backoff, loop.stopping.wait = loop.stopping.wait, over
    threading.excepthook = lambda args: None
    kill(name)
    thread.join()
    loop.stopping.wait = backoff
    return "1"
"""


@pytest.mark.parametrize("how", ["kill", "end"])
@pytest.mark.parametrize("name", ["sse-sink-relay", "sse-sink-watch"])
def test_a_thread_that_dies_is_replaced_and_said(
    tmp_path: Path, measured: Measured, how: str, name: str
) -> None:
    (tmp_path / "killer.py").write_text(KILLER)
    config = str(ROOT / "gunicorn.conf.py")

    def command(port: int) -> list[str]:
        made = [sys.executable, "-m", "gunicorn", "-c", config, "--chdir", str(tmp_path)]
        return [*made, "--workers", "1", "killer:app"]

    with (
        Server(tmp_path, {"server": {"max_clients": 20}}, command=command) as server,
        server.stream() as stream,
    ):
        began = time.monotonic()
        assert server.answers(f"/{how}/{name}") == 200
        said = threading.Event()
        while time.monotonic() - began < 20 and not said.is_set():
            if server.answers("/readyz") == 503:
                said.set()
        assert said.is_set(), "readyz never said it"
        wait_until(lambda: server.answers("/readyz") == 200, "it is ready again")
        measured(f"{name} {how}ed: ready again", f"{time.monotonic() - began:.2f} s")
        ids = server.post([{"event_type": "a"}] * 3)
        assert stream.ids_until(ids[-1]) == ids
        stream.close()
        server.wait_for_metrics({'sse_sink_clients{sink="events_stream"}': 0}, seconds=3)
        assert name in server.log
