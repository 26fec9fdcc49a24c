"""Closed sinks on a real server with two workers."""

from __future__ import annotations

import http.client
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from support.issuer import AUDIENCE, NAME, SECRET, JwksServer, jwks_server, rsa_key, sign
from support.server import Server
from support.stream import SocketStream
from support.waiting import WAIT_SECONDS, wait_until

PUBLISHER = "a-publisher-of-the-tests"


@pytest.fixture
def issuer() -> Iterator[JwksServer]:
    with jwks_server(rsa_key("a")) as server:
        yield server


def settings(issuer: JwksServer, **more: Any) -> dict[str, Any]:
    fetched = {"issuer": NAME, "audience": AUDIENCE, "jwks": issuer.url}
    shared = {"issuer": "shared", "audience": AUDIENCE, "key": SECRET, "algorithms": ["HS256"]}
    own = [{"sink": "inbox", "entity_id": "{sub}"}]
    return {
        "sink": {"inbox": {"type": "sse", "access": "token"}},
        "access": {"issuers": [{**fetched, "subscribe": own}, {**shared, "subscribe": own}]},
        "ingest": {"tokens": [PUBLISHER]},
        **more,
    }


def token(**changes: Any) -> str:
    return sign(rsa_key("a"), "RS256", "a", **changes)


def stream(server: Server, token: str, path: str = "/inbox/") -> SocketStream:
    """Open a stream, past its first event."""
    opened = SocketStream(server.port, path, headers={"Authorization": f"Bearer {token}"})
    try:
        assert opened.status == 200, opened.head
        assert opened.next().data == "connected"
    except BaseException:
        opened.close()
        raise
    return opened


def status(server: Server, headers: list[tuple[str, str]], path: str = "/inbox/") -> int:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=WAIT_SECONDS)
    try:
        connection.putrequest("HEAD", path)
        for name, value in headers:
            connection.putheader(name, value)
        connection.endheaders()
        return connection.getresponse().status
    finally:
        connection.close()


def bearer(token: str) -> tuple[str, str]:
    return "Authorization", f"Bearer {token}"


def test_both_workers_stream_to_each_reader_what_is_theirs(
    tmp_path: Path, issuer: JwksServer, both_ways: str
) -> None:
    with Server(tmp_path, settings(issuer)) as server:
        subjects = iter(["ann", "bob"] * 50)

        def open_next() -> SocketStream:
            return stream(server, token(sub=next(subjects)))

        with server.one_of_each_worker(open_next) as streams:
            assert len(streams) == 2
            with stream(server, token(sub="ann")) as ann, stream(server, token(sub="bob")) as bob:
                entities = ["ann", "bob", "eve", "ann"]
                ids = server.post([{"event_type": "a", "entity_id": name} for name in entities])
                assert ann.ids_until(ids[3]) == [ids[0], ids[3]]
                assert bob.message_id() == ids[1]
        # One fetch for each worker.
        assert issuer.requests == 2
        issuer.stop()
        stream(server, token(sub="carl")).close()
        assert server.metrics().get('sse_sink_access_refused_total{reason="missing"}', 0) == 0
        assert status(server, []) == 401
        server.wait_for_metrics({'sse_sink_access_refused_total{reason="missing"}': 1})


def test_headers_and_cookies_that_stand_twice_are_refused(
    tmp_path: Path, issuer: JwksServer
) -> None:
    with Server(tmp_path, settings(issuer)) as server:
        good = bearer(token())
        assert status(server, [good]) == 200
        assert status(server, [good, good]) == 401
        assert status(server, [good, bearer("x")]) == 401
        cookie = f"sse_access_token={token()}"
        for lines in ([cookie, cookie], [f"{cookie}; {cookie}"]):
            connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=WAIT_SECONDS)
            connection.putrequest("GET", "/inbox/")
            for line in lines:
                connection.putheader("Cookie", line)
            connection.endheaders()
            assert connection.getresponse().status == 401
            connection.close()
        with SocketStream(server.port, "/inbox/", headers={"Cookie": cookie}) as opened:
            assert opened.status == 200


@pytest.mark.once
def test_an_issuer_that_hangs_does_not_stop_the_server(tmp_path: Path, issuer: JwksServer) -> None:
    # Eighteen threads: ten streams and a reserve of eight.
    server_settings = settings(issuer, server={"workers": 1, "max_clients": 10})
    with Server(tmp_path, server_settings) as server:
        issuer.gate.clear()
        headers = [bearer(token())]
        with ThreadPoolExecutor(40) as pool:
            answers = [pool.submit(status, server, headers) for _ in range(40)]
            wait_until(lambda: issuer.requests > 0, "the fetch began")
            began = time.monotonic()
            for _ in range(3):
                assert server.answers("/healthz") == 200
                assert server.post({"event_type": "a"})
            # Other tokens need no issuer's answer.
            assert status(server, [bearer(sign(iss="shared"))]) == 200
            assert time.monotonic() - began < 2.5
            assert {answer.result() for answer in answers} == {503}
        assert issuer.requests <= 2
        issuer.gate.set()
        wait_until(lambda: status(server, headers) == 200, "the keys are there", 10)


def test_a_key_that_cannot_be_read_ends_no_server(tmp_path: Path, issuer: JwksServer) -> None:
    with Server(tmp_path, settings(issuer)) as server:
        entry = {"issuer": "x", "audience": AUDIENCE, "key": "missing.pem"}
        server.configure({"access": {"issuers": [entry]}})
        os.kill(server.pid, signal.SIGHUP)
        wait_until(lambda: "access.issuers[0].key" in server.log, "the mistake is told")
        assert "the old one stays in force" in server.log
        assert status(server, [bearer(token())]) == 200
