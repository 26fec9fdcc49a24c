"""Counts of several processes, and what is left of those that ended."""

from __future__ import annotations

import fcntl
import os
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from flask_sse_sink import __version__, create_app, metrics
from flask_sse_sink.extension import runtime_of
from flask_sse_sink.metrics import multiprocess
from support.processes import ROOT, gunicorn_command
from support.redis_server import in_memory
from support.server import Server
from support.waiting import wait_until

# Where it counts is chosen once: before any test names a folder.
metrics.get()

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
    assert after['sse_sink_deliveries_total{sink="live",way="queue"}'] == 3 * number
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
    multiprocess.remove_orphans(tmp_path)
    left = {path.name.rpartition("-")[2] for path in tmp_path.iterdir()}
    assert left == {str(os.getppid()), "other"}


def test_what_an_ended_process_counted_is_told_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counting = (
        "import os\n"
        "from flask_sse_sink import metrics\n"
        "metrics.get().stored(5, 2)\n"
        "metrics.get().sink('live').delivered(3, 0.01)\n"
        "print(os.getpid())\n"
    )
    monkeypatch.setenv(metrics.FOLDER_VARIABLE, str(tmp_path))
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    for number in (1, 2):
        process = subprocess.run(
            [sys.executable, "-c", counting], env=environment, check=True, capture_output=True
        )
        metrics.fold(int(process.stdout))
        text = metrics.expose("")[0].decode()
        assert f"sse_sink_events_stored_total {5 * number}.0" in text
        assert f'sse_sink_delivery_seconds_bucket{{le="0.02",sink="live"}} {number}.0' in text
    monkeypatch.delenv(metrics.FOLDER_VARIABLE)
    metrics.fold(int(process.stdout))


def test_files_are_made_while_nobody_adds_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(metrics.FOLDER_VARIABLE, str(tmp_path))
    count = "from flask_sse_sink import metrics; metrics.get().sink('live')"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with multiprocess.locked(str(tmp_path), fcntl.LOCK_SH):
        other = subprocess.Popen([sys.executable, "-c", count], env=environment)
        with pytest.raises(subprocess.TimeoutExpired):
            other.wait(1.5)
        assert list(tmp_path.glob("*.db")) == []
    assert other.wait(20) == 0
    assert list(tmp_path.glob("*.db")) != []


def test_the_server_tells_its_metrics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("server: {proxies: 1}\ningest: {auth: none}\nsink: {sse: }\n")
    app = create_app(file)
    client = app.test_client()
    answer = client.get("/metrics")
    assert b"# TYPE sse_sink_clients gauge" in answer.data
    assert answer.headers["Cache-Control"] == "no-store"
    assert client.get("/readyz").status_code == 200
    runtime = runtime_of(app)
    runtime.admission.draining = True
    assert b"the server is stopping" in client.get("/readyz").data
    refused = client.get("/sse/", headers={"X-Forwarded-For": "9.8.7.6"})
    assert b"the server is stopping" in refused.data
    # EventSource would give up for good at an error.
    answer = client.get("/sse/", headers={"Accept": "text/event-stream"})
    assert answer.status_code == 200
    assert answer.data.startswith(b"event: info\ndata: busy\nretry: ")
    runtime.admission.draining = False
    runtime.started().watcher.thread.failure = "no"
    assert b"the watcher doesn't run" in client.get("/readyz").data
    runtime.close()


_WITHOUT_A_FOLDER = """
import logging, os, shutil, sys
from flask_sse_sink import metrics

logging.basicConfig(format="%(message)s", stream=sys.stdout)
folder = os.environ[metrics.FOLDER_VARIABLE]

def count():
    for _ in range(3):
        counts = metrics.get().sink("live")
        metrics.get().stored(2, 1)
        counts.connected()
        counts.delivered(3, 0.001)
        counts.missed(1)
        counts.queued(1, 1)
        counts.refused()
        counts.ended("closed")

if sys.argv[1] == "gone later":
    count()
    shutil.rmtree(folder)
    # A child counts in files of its own.
    pid = os.fork()
    if pid:
        sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
count()
metrics.fold(1)
sys.stdout.flush()
os._exit(7)
"""


@pytest.mark.parametrize("how", ["never there", "gone later"])
def test_what_can_not_be_counted_is_said_once_and_fails_nobody(tmp_path: Path, how: str) -> None:
    folder = tmp_path / "metrics"
    if how == "gone later":
        folder.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), metrics.FOLDER_VARIABLE: str(folder)}
    process = subprocess.run(
        [sys.executable, "-c", _WITHOUT_A_FOLDER, how],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert process.returncode == 7, process.stderr
    (line,) = process.stdout.splitlines()
    assert line.startswith(f"metrics can't be counted in the folder {folder} (")


def test_a_folder_that_is_missing_is_made_for_the_server(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "metrics"

    def command(port: int) -> list[str]:
        variable = f"{metrics.FOLDER_VARIABLE}={folder}"
        return ["env", variable, *gunicorn_command(tmp_path)]

    with Server(tmp_path, {"server": {"workers": 1}}, command=command) as server:
        assert server.post({"event_type": "a"}) == [1]
        assert server.metrics()["sse_sink_events_stored_total"] == 1
        # It is gone while the server runs: what was stored is answered so.
        shutil.rmtree(folder)
        assert server.post({"event_type": "a"}) == [2]
        assert server.answers("/metrics") == 503
        for pid in server.workers():
            server.kill(pid)
        wait_until(lambda: server.answers("/readyz") == 200, "a new worker is there")
        assert server.post({"event_type": "a"}) == [3]
    assert "metrics can't be read: " in server.log
    assert "Traceback" not in server.log, server.log


def test_the_metrics_tell_of_the_log_and_of_what_the_workers_can_carry(tmp_path: Path) -> None:
    with Server(tmp_path, {"database": {"retention": 0}}) as server:
        server.wait_for_metrics({"sse_sink_max_clients": 200, "sse_sink_log_head_id": 0})
        began = time.time()
        server.post([{"event_type": "a.b"}] * 3)
        with server.connection() as producer:
            producer.post({"event_type": "a.b"})
        found = server.metrics()
        assert found['sse_sink_ingest_seconds_count{status="201"}'] == 2
        assert found["sse_sink_log_available"] == 1
        assert (found["sse_sink_log_head_id"], found["sse_sink_log_events"]) == (4, 4)
        assert found["sse_sink_log_bytes"] > 4096
        assert began - 1 < found["sse_sink_log_oldest_timestamp_seconds"] < time.time() + 1
        python = platform.python_version()
        labels = f'log="sqlite",python="{python}",version="{__version__}"'
        assert found[f"sse_sink_build_info{{{labels}}}"] == 1
        # Whichever worker is asked, and however many ended before.
        for pid in server.workers():
            server.kill(pid)
        wait_until(lambda: server.answers("/readyz") == 200, "a new worker is there")
        server.wait_for_metrics({"sse_sink_max_clients": 200, "sse_sink_log_head_id": 4})
        (folder,) = Path("/dev/shm").glob(f"sse-sink-metrics-{server.pid}")
        pids = {path.stem.rpartition("_")[2] for path in folder.glob("*_*.db")} - {"0"}
        assert pids <= set(map(str, server.workers()))


def test_a_log_that_is_away_is_told_with_what_was_known_of_it(tmp_path: Path) -> None:
    with in_memory() as redis, Server(tmp_path, {"database": {"url": redis.url}}) as server:
        server.post([{"event_type": "a.b"}] * 3)
        server.wait_for_metrics({"sse_sink_log_available": 1, "sse_sink_log_head_id": 3})
        redis.stop()
        server.wait_for_metrics({"sse_sink_log_available": 0, "sse_sink_log_head_id": 3})
