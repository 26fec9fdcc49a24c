"""Counts of several processes, and what is left of those that ended."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Listen, MakeApp
from gunicorn_server import ROOT, Server, environment, gunicorn_command, wait_until

from flask_sse_sink import ConfigError, create_app, metrics
from flask_sse_sink.extension import engine_of

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
        done = subprocess.run(
            [sys.executable, "-c", counting], env=environment, check=True, capture_output=True
        )
        metrics.fold(int(done.stdout))
        told = metrics.expose("")[0].decode()
        assert f"sse_sink_events_stored_total {5 * number}.0" in told
        assert f'sse_sink_delivery_seconds_bucket{{le="0.02",sink="live"}} {number}.0' in told
    monkeypatch.delenv(metrics.FOLDER_VARIABLE)
    metrics.fold(int(done.stdout))


def test_files_are_made_while_nobody_adds_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(metrics.FOLDER_VARIABLE, str(tmp_path))
    made = "from flask_sse_sink import metrics; metrics.get().sink('live')"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with metrics._locked(str(tmp_path), fcntl.LOCK_SH):
        other = subprocess.Popen([sys.executable, "-c", made], env=environment)
        with pytest.raises(subprocess.TimeoutExpired):
            other.wait(1.5)
        assert list(tmp_path.glob("*.db")) == []
    assert other.wait(20) == 0
    assert list(tmp_path.glob("*.db")) != []


def test_a_folder_is_made_for_a_server_and_goes_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(metrics.FOLDER_VARIABLE, raising=False)
    metrics.prepare()
    folder = Path(os.environ[metrics.FOLDER_VARIABLE])
    metrics.prepare()
    assert folder.stat().st_mode & 0o777 == 0o700
    metrics.discard()
    metrics.discard()
    assert not folder.exists()
    assert metrics.FOLDER_VARIABLE not in os.environ


def test_the_server_tells_its_metrics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("server: {proxies: 1}\ningest: {auth: none}\nsink: {sse: }\n")
    app = create_app(file)
    client = app.test_client()
    answer = client.get("/metrics")
    assert b"# TYPE sse_sink_clients gauge" in answer.data
    assert answer.headers["Cache-Control"] == "no-store"
    assert client.get("/readyz").status_code == 200
    engine = engine_of(app)
    engine.draining = True
    assert b"the server is stopping" in client.get("/readyz").data
    refused = client.get("/sse/", headers={"X-Forwarded-For": "9.8.7.6"})
    assert b"the server is stopping" in refused.data
    # EventSource would give up for good at an error.
    told = client.get("/sse/", headers={"Accept": "text/event-stream"})
    assert told.status_code == 200
    assert told.data.startswith(b"event: info\ndata: busy\nretry: ")
    engine.draining = False
    engine.watcher.loop.failure = "no"
    assert b"the watcher doesn't run" in client.get("/readyz").data
    engine.close()


@pytest.mark.parametrize(
    "accept",
    ["application/openmetrics-text;version=x", "text/plain;version=x", ";;=,", "\xff", ""]
    + ["application/openmetrics-text;version=", "text/plain;version=\xb2;escaping=q"],
)
def test_any_accept_header_gets_the_metrics(accept: str) -> None:
    body, content_type = metrics.expose(accept)
    assert b"sse_sink_events_stored" in body
    assert content_type.startswith(("text/plain;", "application/openmetrics-text;"))


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
    done = subprocess.run(
        [sys.executable, "-c", _WITHOUT_A_FOLDER, how],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 7, done.stderr
    (said,) = done.stdout.splitlines()
    assert said.startswith(f"metrics can't be counted in the folder {folder} (")


def test_a_folder_that_is_missing_is_made_for_the_server(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "metrics"

    def command(port: int) -> list[str]:
        variable = f"{metrics.FOLDER_VARIABLE}={folder}"
        return ["env", variable, *gunicorn_command(tmp_path)]

    with Server(tmp_path, command=command) as server:
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


@pytest.mark.parametrize("kind", ["an extension", "a server"])
def test_a_folder_that_can_not_be_used_is_refused_at_start(
    make_app: MakeApp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    (tmp_path / "file").write_text("")
    folder = tmp_path / "file" / "metrics"
    if kind == "an extension":
        monkeypatch.setenv(metrics.FOLDER_VARIABLE, str(folder))
        with pytest.raises(ConfigError, match="name a folder that this user may write to"):
            make_app()
        return
    config = tmp_path / "config.yaml"
    config.write_text("server: {port: 0}\ningest: {auth: none}\nsink: {sse: }\n")
    done = subprocess.run(
        gunicorn_command(tmp_path),
        cwd=tmp_path,
        env=environment(config, **{metrics.FOLDER_VARIABLE: str(folder)}),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode != 0
    assert f"{metrics.FOLDER_VARIABLE}: metrics can't be counted in {folder}" in done.stderr
    assert "Traceback" not in done.stderr, done.stderr
