"""The clients that people use read from the real server exactly what was published."""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import queue
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
import httpx_sse
import ld_eventsource
import pytest
import requests
import requests_sse
import sseclient
from gunicorn_server import WAIT_SECONDS, Server, free_port
from sse import Parser

from flask_sse_sink.event import new_event
from flask_sse_sink.log.sqlite.log import SQLiteLog

pytestmark = pytest.mark.usefixtures("both_ways")

# An event as a client has it: event, data, id.
Read = tuple[str, str, str]
# Opens the stream at a URL; the folder is the client's own.
Client = Callable[[str, Path], contextlib.AbstractContextManager[Iterator[Read]]]

CLIENTS = Path(__file__).with_name("clients")
DATA: list[Any] = [
    {},
    None,
    "Grüße, 世界, Привет, שלום",
    "\U0001f600 \U0001f468\u200d\U0001f469\u200d\U0001f467 \U0001f1e9\U0001f1ea",
    "line\u2028paragraph\u2029next\x85end\x0b\x0c\x1c\x1d\x1e.",
    "a\nb\r\nc\rd\n\ndata: x\nid: 7\n\nevent: y",
    ": a comment? data: no\ttab \\ \" ' </script> \x00 \ufeff",
    [1, -0.5, 1e300, True, {"deep": [[["x"]]]}],
    "long " + "0123456789abcdefghi\u00e4" * 5_000,
    "the end",
]


@contextlib.contextmanager
def lines_of(*command: str, folder: Path) -> Iterator[Iterator[bytes]]:
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            yield iter(process.stdout.readline, b"")
        finally:
            process.kill()


@contextlib.contextmanager
def curl(url: str, folder: Path) -> Iterator[Iterator[Read]]:
    parser = Parser()
    with lines_of("curl", "-sSN", url, folder=folder) as lines:
        yield ((e.event, e.data, e.id) for line in lines for e in parser.feed(line))


@contextlib.contextmanager
def httpx_sse_(url: str, folder: Path) -> Iterator[Iterator[Read]]:
    with (
        httpx.Client(timeout=WAIT_SECONDS) as client,
        httpx_sse.connect_sse(client, "GET", url) as source,
    ):
        yield ((e.event, e.data, e.id) for e in source.iter_sse())


@contextlib.contextmanager
def sseclient_py(url: str, folder: Path) -> Iterator[Iterator[Read]]:
    with requests.get(url, stream=True, timeout=WAIT_SECONDS) as response:
        client = sseclient.SSEClient(iter(response.iter_content(None)))
        yield ((e.event, e.data, e.id or "") for e in client.events())


@contextlib.contextmanager
def launchdarkly(url: str, folder: Path) -> Iterator[Iterator[Read]]:
    with ld_eventsource.SSEClient(url) as client:
        yield ((e.event, e.data, e.id or "") for e in client.events)


@contextlib.contextmanager
def requests_sse_(url: str, folder: Path) -> Iterator[Iterator[Read]]:
    with requests_sse.EventSource(url, timeout=WAIT_SECONDS) as source:
        yield ((str(e.type), e.data or "", e.last_event_id or "") for e in source)


@contextlib.contextmanager
def npm_eventsource(url: str, folder: Path) -> Iterator[Iterator[Read]]:
    with lines_of("node", "read.mjs", url, folder=folder) as lines:
        yield (tuple(json.loads(line)) for line in lines)


_PAGE = b"""<!doctype html><meta charset="utf-8"><script>
const source = new EventSource(new URLSearchParams(location.search).get("url"));
let last = Promise.resolve();
const show = (e) => {
  const body = JSON.stringify([e.type, e.data, e.lastEventId]);
  last = last.then(() => fetch("/", { method: "POST", body }));
};
for (const type of ["info", "message"]) source.addEventListener(type, show);
</script>
"""


class _Page(http.server.BaseHTTPRequestHandler):
    """Serves the page with the EventSource, and takes what that tells."""

    server: _PageServer

    def do_GET(self) -> None:
        self._answer(_PAGE)

    def do_POST(self) -> None:
        length = int(self.headers["Content-Length"])
        self.server.told.put(tuple(json.loads(self.rfile.read(length))))
        self._answer(b"")

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


class _PageServer(http.server.ThreadingHTTPServer):
    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Page)
        self.told: queue.Queue[Read] = queue.Queue()


@contextlib.contextmanager
def chromium(url: str, folder: Path) -> Iterator[Iterator[Read]]:
    with _PageServer() as pages:
        serving = threading.Thread(target=pages.serve_forever)
        serving.start()
        page = f"http://127.0.0.1:{pages.server_port}/?{urlencode({'url': url})}"
        # nginx has a certificate of its own making; the rest keeps it from calling home.
        command = [
            *("chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic"),
            "--ignore-certificate-errors",
            *("--no-first-run", "--disable-background-networking", "--disable-component-update"),
            *("--disable-sync", f"--user-data-dir={folder / 'profile'}", page),
        ]
        with (folder / "chromium.log").open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        try:
            yield iter(lambda: pages.told.get(timeout=2 * WAIT_SECONDS), None)
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            pages.shutdown()
            serving.join()


def check_reads_all(server: Server, client: Client, folder: Path) -> None:
    with client(server.url(), folder) as events:
        name, data, _ = next(events)
        assert (name, data) == ("info", "connected")
        ids = server.post([{"event_type": "a.b", "data": each} for each in DATA[:4]])
        for each in DATA[4:]:
            ids += server.post({"event_type": "a.b", "data": each})
        for id, expected in zip(ids, DATA, strict=True):
            name, data, last_event_id = next(events)
            assert (name, last_event_id) == ("message", str(id))
            envelope = json.loads(data)
            assert envelope["id"] == id
            assert envelope["data"] == expected


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("server"), sink="cors_origins: ['*']") as made:
        yield made
    assert "Traceback" not in made.log, made.log


@pytest.mark.parametrize("client", [curl, httpx_sse_, sseclient_py, launchdarkly, requests_sse_])
def test_a_client_reads_what_was_published(server: Server, client: Client, tmp_path: Path) -> None:
    if client is curl and not shutil.which("curl"):
        assert os.environ.get("CI") != "true", "curl is missing"
        pytest.skip("curl is missing")
    check_reads_all(server, client, tmp_path)


def test_npms_eventsource_reads_what_was_published(server: Server, node_folder: Path) -> None:
    check_reads_all(server, npm_eventsource, node_folder)


@pytest.mark.usefixtures("needs_chromium")
def test_a_browser_reads_what_was_published(server: Server, tmp_path: Path) -> None:
    check_reads_all(server, chromium, tmp_path)


def check_goes_on(client: Client, folder: Path, tmp_path: Path) -> None:
    """Fail unless the client has all events, once each, through a restart of the server."""
    sink = "replay: true, retry: 0.2, cors_origins: ['*']"
    port = free_port()
    with contextlib.ExitStack() as reading:
        ids: list[int] = []
        with Server(tmp_path, sink=sink, port=port) as server:
            events = reading.enter_context(client(server.url(), folder))
            assert next(events)[:2] == ("info", "connected")
            server.post([{"event_type": "a"} for _ in range(3)])
            while len(ids) < 3:
                name, _, last_event_id = next(events)
                assert name == "message"
                ids.append(int(last_event_id))
        # What is stored while there is no server can't be streamed, only replayed.
        log = SQLiteLog(tmp_path / "events.db")
        log.append([new_event("a") for _ in range(700)])
        log.close()
        with Server(tmp_path, sink=sink, port=port) as server:
            server.post([{"event_type": "a"} for _ in range(3)])
            words = []
            while len(ids) < 706:
                name, data, last_event_id = next(events)
                if name == "message":
                    ids.append(int(last_event_id))
                else:
                    words.append(data)
    assert ids == list(range(1, 707))
    assert words == ["closing", "connected"]


@pytest.mark.usefixtures("needs_chromium")
def test_a_browser_misses_nothing_through_a_restart(tmp_path: Path) -> None:
    (tmp_path / "client").mkdir()
    check_goes_on(chromium, tmp_path / "client", tmp_path)


def test_npms_eventsource_misses_nothing_through_a_restart(
    node_folder: Path, tmp_path: Path
) -> None:
    check_goes_on(npm_eventsource, node_folder, tmp_path)
