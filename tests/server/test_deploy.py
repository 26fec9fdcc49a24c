"""The files to deploy with: nginx before two nodes and a Redis, and what Compose starts."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
from pathlib import Path

import pytest

from support.measured import Measured
from support.nginx import behind_nginx, curl, nginx
from support.readers import npm_eventsource
from support.reading import restart
from support.redis_server import RedisServer
from support.server import Server
from support.sse import Parser, ServerEvent
from support.waiting import wait_until

pytestmark = pytest.mark.once


@pytest.mark.usefixtures("needs_nginx")
def test_two_nodes_behind_nginx_are_one(tmp_path: Path, redis_server: RedisServer) -> None:
    with contextlib.ExitStack() as stack:
        nodes = []
        for name in ("node1", "node2", "nginx"):
            (tmp_path / name).mkdir()
            if name != "nginx":
                sink = {"replay": True, "heartbeat_timeout": 1}
                node = Server(
                    tmp_path / name,
                    {
                        "database": {"url": redis_server.url},
                        "server": {"workers": 1},
                        "sink": {"events_stream": sink},
                    },
                )
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
        curl(port, "/healthz?ticket=abc", "-H", "Referer: https://localhost/?ticket=abc")
        nginx_log = tmp_path / "nginx" / "nginx.log"
        wait_until(lambda: '"GET /healthz HTTP/2.0" 200' in nginx_log.read_text(), "it is logged")
        assert "abc" not in nginx_log.read_text()
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
        server = stack.enter_context(
            Server(tmp_path, {"server": {"workers": 1, "max_clients": 1}})
        )
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


@pytest.mark.usefixtures("needs_nginx")
def test_npms_eventsource_behind_nginx_misses_nothing_through_a_restart(
    node_folder: Path, tmp_path: Path, measured: Measured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NODE_TLS_REJECT_UNAUTHORIZED", "0")
    read = restart(npm_eventsource, node_folder, tmp_path, behind_nginx(tmp_path / "nginx"))
    read.check_ids()
    read.check_words_behind_a_proxy()
    measured("restart behind nginx, npm_eventsource: has all again", f"{read.seconds:.1f} s")
