"""The files to deploy with: nginx before two nodes and a Redis, and what Compose starts."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from gunicorn_server import ROOT, WAIT_SECONDS, Server, free_port, wait_until
from measured import Measured
from redis_server import RedisServer
from sse import Parser, ServerEvent
from test_real_clients import Client, chromium, npm_eventsource

from flask_sse_sink.config import loading
from flask_sse_sink.event import new_event
from flask_sse_sink.log.sqlite.log import SQLiteLog

DEPLOY = ROOT / "deploy"


@contextlib.contextmanager
def nginx(folder: Path, nodes: list[Server]) -> Iterator[int]:
    """Run nginx with the file that is shipped, before these nodes; yield its port."""
    port = free_port()
    text = (DEPLOY / "nginx.conf").read_text()
    for number, node in enumerate(nodes, 1):
        text = text.replace(f"node{number}:8000", f"127.0.0.1:{node.port}")
    text = text.replace("listen 443", f"listen 127.0.0.1:{port}")
    # As many as this machine allows.
    text = re.sub(r"worker_rlimit_nofile.*|(?<=worker_connections )\d+", "", text, count=1)
    text = text.replace("worker_connections 32768", "worker_connections 512")
    (folder / "nginx.conf").write_text(text)
    (folder / "tls").mkdir()
    subprocess.run(
        [
            *(
                "openssl",
                "req",
                "-x509",
                "-newkey",
                "rsa:2048",
                "-nodes",
                "-subj",
                "/CN=localhost",
            ),
            *("-keyout", "tls/privkey.pem", "-out", "tls/fullchain.pem"),
        ],
        cwd=folder,
        check=True,
        capture_output=True,
    )
    command = ["nginx", "-p", str(folder), "-c", "nginx.conf", "-e", "error.log"]
    command += ["-g", "daemon off;"]
    with (folder / "nginx.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:

        def answers() -> bool:
            assert process.poll() is None, (folder / "nginx.log").read_text()
            return curl(port, "/healthz").returncode == 0

        wait_until(answers, "nginx answers")
        yield port
    finally:
        process.terminate()
        process.wait(WAIT_SECONDS)


def curl(port: int, path: str, *more: str) -> subprocess.CompletedProcess[bytes]:
    command = ["curl", "-sSk", "--http2", "--fail", *more, f"https://127.0.0.1:{port}{path}"]
    return subprocess.run(command, capture_output=True, timeout=WAIT_SECONDS, check=False)


@pytest.fixture
def needs_nginx() -> None:
    missing = [name for name in ("nginx", "openssl", "curl") if not shutil.which(name)]
    if missing:
        assert "nginx" not in os.environ.get("SSE_SINK_NEEDS", ""), missing
        pytest.skip(f"{', '.join(missing)} missing, so that the files to deploy can't be tried")


@pytest.mark.usefixtures("needs_nginx")
def test_two_nodes_behind_nginx_are_one(tmp_path: Path, redis_server: RedisServer) -> None:
    with contextlib.ExitStack() as stack:
        nodes = []
        for name in ("node1", "node2", "nginx"):
            (tmp_path / name).mkdir()
            if name != "nginx":
                sink = "replay: true, heartbeat_timeout: 1"
                node = Server(tmp_path / name, url=redis_server.url, workers=1, sink=sink)
                nodes.append(stack.enter_context(node))
        port = stack.enter_context(nginx(tmp_path / "nginx", nodes))
        # One connection of HTTP/2, more streams than a browser has connections.
        urls = [f"https://127.0.0.1:{port}/events_stream/"] * 12
        command = ["curl", "-sSkN", "--http2", "--parallel", "--parallel-immediate"]
        command += ["--parallel-max", "50"]
        outputs = []
        for number, url in enumerate(urls):
            outputs.append(tmp_path / f"stream{number}")
            command += ["-o", str(outputs[-1]), url]
        reading = subprocess.Popen(command)
        stack.callback(reading.wait)
        stack.callback(reading.kill)

        def all_have(text: bytes) -> bool:
            return all(out.exists() and text in out.read_bytes() for out in outputs)

        wait_until(lambda: all_have(b"data: connected\n"), "all are connected")
        event = ["-H", "Content-Type: application/json", "-d", '{"event_type":"a.b"}']
        ids = [json.loads(curl(port, "/ingest", *event).stdout)["ids"][0] for _ in range(6)]
        assert ids == [1, 2, 3, 4, 5, 6]
        wait_until(lambda: all_have(b"id: 6\ndata: {"), "all have all")
        for out in outputs:
            events: list[ServerEvent] = Parser().feed(out.read_bytes())
            assert [int(e.id) for e in events if e.event == "message"] == ids
        # Both nodes stream, whichever took the events in.
        found = [node.metrics() for node in nodes]
        assert all(each['sse_sink_clients{sink="events_stream"}'] >= 4 for each in found)
        assert sum(each["sse_sink_events_stored_total"] for each in found) == 6
        assert curl(port, "/metrics").returncode == 22
        # A node that stops leaves all to the other, for those who come back.
        nodes[0].terminate()
        wait_until(lambda: nodes[0].answers("/healthz") == 0, "it is gone")
        again = curl(port, "/events_stream/?last_event_id=4", "-N", "--max-time", "2")
        assert [int(e.id) for e in Parser().feed(again.stdout) if e.event == "message"] == [5, 6]


def status(port: int, path: str, *more: str) -> tuple[int, str]:
    """Return the status of an answer, and its head and body."""
    with_head = ["--no-fail", "-i", "-w", "%{stderr}%{http_code}"]
    done = curl(port, path, *with_head, *more)
    return int(done.stderr), done.stdout.decode()


AS_A_BROWSER = ("-H", "Accept: text/event-stream", "-H", "Origin: https://app.example")
BUSY = r"event: info\ndata: busy\nretry: [3456]000\n\n"


@pytest.mark.usefixtures("needs_nginx")
def test_a_browser_is_told_to_come_back_and_nobody_else_is(tmp_path: Path) -> None:
    (tmp_path / "nginx").mkdir()
    event = ("-H", "Content-Type: application/json", "-d", '{"event_type":"a.b"}')
    others = [
        ("/events_stream/", ()),
        ("/healthz", ()),
        ("/ingest", event),
        ("/ingest", (*event, "-H", "Accept: text/event-stream")),
        ("/events_stream/", ("-I", "-H", "Accept: text/event-stream")),
        ("/events_stream/", ("-H", "Accept: text/event-stream, */*")),
    ]
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(Server(tmp_path, workers=1, max_clients=1))
        port = stack.enter_context(nginx(tmp_path / "nginx", [server, server]))
        # What else a node says, it says to a browser as well.
        assert status(port, "/nothing", *AS_A_BROWSER)[0] == 404
        assert status(port, "/events_stream/?event_type=*.x", *AS_A_BROWSER)[0] == 400
        with server.stream():
            found, text = status(port, "/events_stream/")
            assert found == 503 and "retry-after:" in text and "all 1 streams" in text
            found, text = status(port, "/events_stream/", *AS_A_BROWSER)
            assert found == 200 and re.search(BUSY, text)
        server.stop()
        for path, more in others:
            assert status(port, path, *more)[0] == 502, (path, more)
        retries = set()
        for _ in range(20):
            found, text = status(port, "/events_stream/", *AS_A_BROWSER)
            head, _, body = text.replace("\r", "").partition("\n\n")
            assert found == 200 and re.fullmatch(BUSY, body), text
            retries.add(body)
        assert len(retries) > 1, "they would all come back at once"
        for line in (
            "content-type: text/event-stream; charset=utf-8",
            "cache-control: no-cache, no-transform",
            "access-control-allow-origin: https://app.example",
            "access-control-allow-credentials: true",
            "vary: Origin",
        ):
            assert line in head.split("\n")
        plain = status(port, "/events_stream/", "-H", "Accept: text/event-stream")[1]
        assert "access-control" not in plain


def check_goes_on_behind_nginx(
    client: Client, client_folder: Path, tmp_path: Path, measured: Measured
) -> None:
    """Fail unless the client has all events, once each, though nginx found no node meanwhile."""
    (tmp_path / "nginx").mkdir()
    sink = "replay: true, retry: 0.2, cors_origins: ['*']"
    node_port = free_port()
    with contextlib.ExitStack() as stack:
        ids: list[int] = []
        words: list[str] = []
        with Server(tmp_path, sink=sink, port=node_port) as server:
            port = stack.enter_context(nginx(tmp_path / "nginx", [server, server]))
            url = f"https://localhost:{port}/events_stream/"
            events = stack.enter_context(client(url, client_folder))
            assert next(events)[:2] == ("info", "connected")
            server.post([{"event_type": "a"} for _ in range(3)])
            while len(ids) < 3:
                ids.append(int(next(events)[2]))
        while words[-1:] != ["busy"]:
            name, data, _ = next(events)
            assert name == "info"
            words.append(data)
        log = SQLiteLog(tmp_path / "events.db")
        log.append([new_event("a") for _ in range(700)])
        log.close()
        with Server(tmp_path, sink=sink, port=node_port) as server:
            began = time.monotonic()
            server.post([{"event_type": "a"} for _ in range(3)])
            while len(ids) < 706:
                name, data, last_event_id = next(events)
                if name == "message":
                    ids.append(int(last_event_id))
                else:
                    words.append(data)
            seconds = time.monotonic() - began
    assert ids == list(range(1, 707))
    assert words[0] == "closing" and words[-1] == "connected"
    assert set(words[1:-1]) == {"busy"}
    measured(f"restart behind nginx, {client.__name__}: has all again", f"{seconds:.1f} s")


@pytest.mark.usefixtures("needs_nginx", "needs_chromium")
def test_a_browser_behind_nginx_misses_nothing_through_a_restart(
    tmp_path: Path, measured: Measured
) -> None:
    """Its EventSource is made once: it lives on."""
    (tmp_path / "client").mkdir()
    check_goes_on_behind_nginx(chromium, tmp_path / "client", tmp_path, measured)


@pytest.mark.usefixtures("needs_nginx")
def test_npms_eventsource_behind_nginx_misses_nothing_through_a_restart(
    node_folder: Path, tmp_path: Path, measured: Measured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NODE_TLS_REJECT_UNAUTHORIZED", "0")
    check_goes_on_behind_nginx(npm_eventsource, node_folder, tmp_path, measured)


def test_the_nodes_configuration_is_right(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INGEST_TOKEN", "a-token-of-the-tests")
    settings = loading.load(DEPLOY / "config.yaml")
    assert settings.database.url == "redis://redis:6379/0"
    assert settings.server.proxies == 1


def test_compose_starts_what_nginx_expects() -> None:
    composed = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    named = re.findall(r"server (\w+):8000", (DEPLOY / "nginx.conf").read_text())
    assert set(named) == {"node1", "node2"} <= set(composed["services"])
    assert "redis" in composed["services"]
    for line in (DEPLOY / "Dockerfile").read_text().splitlines():
        if line.startswith("COPY"):
            for name in line.split()[1:-1]:
                assert (ROOT / name).exists(), name
