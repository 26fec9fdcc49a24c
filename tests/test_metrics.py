"""Counts of several processes, and what is left of those that ended."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Listen, MakeApp
from gunicorn_server import ROOT

from flask_sse_sink import metrics
from flask_sse_sink.extension import engine_of

SCRIPT = """
import os, re, signal, sys
from flask_sse_sink import metrics
os.environ.pop(metrics.FOLDER_VARIABLE, None)
metrics.prepare()
folder = os.environ[metrics.FOLDER_VARIABLE]
metrics.prepare()
assert os.environ[metrics.FOLDER_VARIABLE] == folder

def sums():
    lines = metrics.expose("")[0].decode().splitlines()
    return {n: float(v) for n, _, v in (l.rpartition(" ") for l in lines if l[0] != "#")}

def child(kill):
    pid = os.fork()
    if not pid:
        counts = metrics.get().sink("live")
        counts.connected()
        counts.delivered(3, 0.001)
        counts.ended("a word of the app's own")
        counts.connected()
        metrics.get().stored(2, 1)
        os.kill(os.getpid(), signal.SIGKILL) if kill else os._exit(0)
    os.waitpid(pid, 0)
    return pid

for number in range(1, 31):
    pid = child(number % 2)
    before = sums()
    assert before['sse_sink_clients{sink="live"}'] == 1
    metrics.fold(pid)
    metrics.fold(pid)
    after = sums()
    for name, value in after.items():
        assert value == before[name] or name.startswith(("sse_sink_clients{", "sse_sink_queue"))
    assert after["sse_sink_events_stored_total"] == 2 * number
    assert after["sse_sink_events_duplicate_total"] == number
    assert after['sse_sink_deliveries_total{sink="live"}'] == 3 * number
    assert after['sse_sink_clients_ended_total{reason="ended",sink="live"}'] == number
    assert after['sse_sink_delivery_seconds_count{sink="live"}'] == number
    assert len(os.listdir(folder)) <= 9, os.listdir(folder)
if not os.fork():
    metrics.discard()
    os._exit(0)
os.wait()
assert os.path.isdir(folder)
metrics.discard()
assert not os.path.exists(folder)
"""


def test_counts_outlive_their_processes_and_their_files_do_not() -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", SCRIPT], env=environment, check=True, timeout=60)


def test_folders_of_servers_that_were_killed_are_removed(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    for name in (str(ended.pid), str(os.getppid()), "other"):
        (tmp_path / f"sse-sink-metrics-{name}").mkdir()
    metrics._remove_orphans(tmp_path)
    left = {path.name.rpartition("-")[2] for path in tmp_path.iterdir()}
    assert left == {str(os.getppid()), "other"}


def test_a_start_goes_on_without_a_folder(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(metrics.FOLDER_VARIABLE, "")

    def refuse(base: Path) -> None:
        raise OSError("read-only")

    monkeypatch.setattr(metrics, "_remove_orphans", refuse)
    metrics.prepare()
    assert "one worker only: read-only" in caplog.text


def test_a_process_counts_what_its_streams_do(make_app: MakeApp, listen: Listen) -> None:
    app = make_app(sink={"counted": {"type": "sse", "max_clients": 1}})
    stream = listen(app, path="/counted/")
    refused = app.test_client().get("/counted/")
    assert (refused.status_code, engine_of(app).slots.taken) == (503, 1)
    stream.close()
    lines = metrics.expose("")[0].decode().splitlines()
    assert 'sse_sink_clients{sink="counted"} 0.0' in lines
    assert 'sse_sink_clients_refused_total{sink="counted"} 1.0' in lines
    ended = 'sse_sink_clients_ended_total{reason="closed",sink="counted"} 1.0'
    assert ended in lines
