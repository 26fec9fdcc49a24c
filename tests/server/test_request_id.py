"""The id of a request, as gunicorn's access log and the streams have it."""

from __future__ import annotations

import re
from pathlib import Path

import requests

from support.server import Server
from support.stream import SocketStream
from support.waiting import WAIT_SECONDS, wait_until


def test_the_lines_of_requests_and_of_streams_name_the_id_that_was_answered(
    tmp_path: Path,
) -> None:
    with Server(tmp_path, arguments=["--access-logfile", "-"]) as server:
        sent = requests.post(
            server.url("/ingest"),
            json={"event_type": "a"},
            headers={"X-Request-Id": "of-the-client"},
            timeout=WAIT_SECONDS,
        )
        made = requests.get(server.url("/nothing"), timeout=WAIT_SECONDS).headers["X-Request-Id"]
        headers = {"X-Request-Id": "of-the-stream"}
        with SocketStream(server.port, headers=headers) as stream:
            assert "\r\nx-request-id: of-the-stream" in stream.head
            assert stream.next().data == "connected"
        assert sent.headers["X-Request-Id"] == "of-the-client"

        def line(pattern: str) -> None:
            wait_until(lambda: re.search(pattern, server.log, re.MULTILINE), pattern)

        line(r'"POST /ingest HTTP/1.1" 201 .* request_id=of-the-client$')
        line(rf'"GET /nothing HTTP/1.1" 404 .* request_id={made}$')
        line(r"events_stream\?.*: connected request_id=of-the-stream$")
        line(r"events_stream\?.*: closed after .* request_id=of-the-stream$")
