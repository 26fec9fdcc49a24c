"""SSE clients written by others, each from its registry, read the same events."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import httpx_sse
import pytest
import requests
import requests_sse
import sseclient
from ld_eventsource import SSEClient
from ld_eventsource.actions import Event as LaunchDarklyEvent
from ld_eventsource.config import ConnectStrategy
from running import Server, wait_for

CLIENTS = Path(__file__).parent / "clients"
EVENTS: list[dict[str, Any]] = [
    {"event_type": "user.login", "data": {"name": "Zoë 🐝", "line": "one\ntwo\r\nthree"}},
    {"event_type": "odd.text", "data": "a\u2028b\u2029c\u0085d\x0be\x0cf"},
    {"event_type": "a.long.one", "data": "x" * 100_000},
    {"event_type": "numbers", "data": [1.5, -0, None, True, {"": []}], "meta": {"m": 1}},
    {"event_type": "the.end", "entity_id": "last", "source": "elsewhere"},
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    running = Server(tmp_path_factory.mktemp("server"))
    yield running
    running.stop()


def curl(url: str) -> Iterator[str]:
    with subprocess.Popen(["curl", "-sN", url], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        event = ""
        try:
            for line in process.stdout:
                text = line.decode().rstrip("\n")
                if text.startswith("event: "):
                    event = text.removeprefix("event: ")
                if text.startswith("data: ") and event == "message":
                    yield text.removeprefix("data: ")
        finally:
            process.kill()


def httpx_sse_client(url: str) -> Iterator[str]:
    with httpx.Client() as client, httpx_sse.connect_sse(client, "GET", url) as source:
        for event in source.iter_sse():
            if event.event == "message":
                yield event.data


def sseclient_py(url: str) -> Iterator[str]:
    with requests.get(url, stream=True, timeout=20) as answer:
        # By chunk: the library joins lines itself.
        for event in sseclient.SSEClient(answer.iter_content(None)).events():
            if event.event == "message":
                yield event.data


def launchdarkly(url: str) -> Iterator[str]:
    client = SSEClient(ConnectStrategy.http(url))
    try:
        for item in client.all:
            if isinstance(item, LaunchDarklyEvent) and item.event == "message":
                yield item.data
    finally:
        client.close()


def requests_sse_client(url: str) -> Iterator[str]:
    with requests_sse.EventSource(url, timeout=20) as source:
        for event in source:
            if event.type == "message":
                yield event.data


@pytest.fixture(scope="session")
def node_modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not (shutil.which("node") and shutil.which("npm")):
        reason = "npm's eventsource needs node and npm"
        assert os.environ.get("CI") != "true", reason
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("clients")
    for file in CLIENTS.glob("*.*"):
        shutil.copy(file, folder)
    subprocess.run(
        ["npm", "install", "--no-audit", "--no-fund", "--no-package-lock", "--silent"],
        cwd=folder,
        check=True,
        timeout=100,
    )
    return folder


def receives_all(server: Server, client: Callable[[str], Iterator[str]]) -> None:
    url = f"http://127.0.0.1:{server.port}/events_stream/"
    got: list[dict[str, Any]] = []
    started = threading.Event()

    def read() -> None:
        stream = client(url)
        for data in stream:
            envelope = json.loads(data)
            if envelope["event_type"] == "are.you.there":
                started.set()
                continue
            got.append(envelope)
            if envelope["event_type"] == "the.end":
                break
        close = getattr(stream, "close", None)
        if close:
            close()

    reading = threading.Thread(target=read)
    reading.start()

    def knock() -> bool:
        server.publish({"event_type": "are.you.there"})
        return started.wait(0.1)

    wait_for(knock, 30)
    ids = server.publish(*EVENTS)
    reading.join(20)
    assert not reading.is_alive()
    assert [envelope["id"] for envelope in got] == ids
    for envelope, sent in zip(got, EVENTS, strict=True):
        assert envelope["event_type"] == sent["event_type"]
        assert envelope["data"] == sent.get("data", {})
        assert envelope["meta"] == sent.get("meta", {})
        assert envelope["entity_id"] == sent.get("entity_id")
        assert envelope["source"]["name"] == sent.get("source", "default")


@pytest.mark.parametrize(
    "client", [curl, httpx_sse_client, sseclient_py, launchdarkly, requests_sse_client]
)
def test_a_client_receives_every_event(
    server: Server, client: Callable[[str], Iterator[str]]
) -> None:
    receives_all(server, client)


def test_the_eventsource_of_npm_receives_every_event(server: Server, node_modules: Path) -> None:
    def eventsource(url: str) -> Iterator[str]:
        command = ["node", "read.mjs", url, "1000"]
        with subprocess.Popen(command, cwd=node_modules, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            try:
                for line in process.stdout:
                    yield line.decode()
            finally:
                process.kill()

    receives_all(server, eventsource)
