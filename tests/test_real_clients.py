"""The clients that people use read from the real server exactly what was published."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import httpx_sse
import ld_eventsource
import pytest
import requests
import requests_sse
import sseclient
from gunicorn_server import WAIT_SECONDS, Server
from sse import Parser

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
    with Server(tmp_path_factory.mktemp("server")) as made:
        yield made
    assert "Traceback" not in made.log, made.log


@pytest.fixture(scope="session")
def node_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of tests/clients in which npm's packages are installed."""
    without = "node or npm is missing, so that npm's eventsource can't be tried"
    if not (shutil.which("node") and shutil.which("npm")):
        assert os.environ.get("CI") != "true", without
        pytest.skip(without)
    folder = tmp_path_factory.mktemp("node")
    for name in ("package.json", "read.mjs"):
        shutil.copy(CLIENTS / name, folder)
    subprocess.run(
        ["npm", "install", "--no-audit", "--no-fund", "--no-package-lock"],
        cwd=folder,
        check=True,
        capture_output=True,
        timeout=100,
    )
    return folder


@pytest.mark.parametrize("client", [curl, httpx_sse_, sseclient_py, launchdarkly, requests_sse_])
def test_a_client_reads_what_was_published(server: Server, client: Client, tmp_path: Path) -> None:
    if client is curl and not shutil.which("curl"):
        assert os.environ.get("CI") != "true", "curl is missing"
        pytest.skip("curl is missing")
    check_reads_all(server, client, tmp_path)


def test_npms_eventsource_reads_what_was_published(server: Server, node_folder: Path) -> None:
    check_reads_all(server, npm_eventsource, node_folder)
