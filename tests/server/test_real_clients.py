"""The clients that people use read from the real server exactly what was published."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.readers import (
    Client,
    curl,
    httpx_sse_,
    launchdarkly,
    npm_eventsource,
    requests_sse_,
    sseclient_py,
)
from support.reading import check_reads_all, restart
from support.server import Server

pytestmark = pytest.mark.usefixtures("both_ways")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(
        tmp_path_factory.mktemp("server"), {"sink": {"events_stream": {"cors_origins": ["*"]}}}
    ) as made:
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


# With `since`, the id that it sends as it comes back wins over its URL: no event comes twice.
@pytest.mark.once
@pytest.mark.parametrize("query", ["", "?since=1h"])
def test_npms_eventsource_misses_nothing_through_a_restart(
    node_folder: Path, tmp_path: Path, query: str
) -> None:
    read = restart(npm_eventsource, node_folder, tmp_path, query=query)
    read.check_ids()
    assert read.words == ["closing", "connected"]
