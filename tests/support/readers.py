"""Programs and libraries that read a stream, each as its own documentation says."""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import httpx_sse
import ld_eventsource
import requests
import requests_sse
import sseclient

from support.sse import Parser
from support.waiting import WAIT_SECONDS

#: An event as a client has it: event, data, id.
Read = tuple[str, str, str]
#: Opens the stream at a URL; the folder is the client's own.
Client = Callable[[str, Path], contextlib.AbstractContextManager[Iterator[Read]]]


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
