"""Streams of real servers that end because a token ends, or was revoked."""

from __future__ import annotations

import base64
import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from faults.test_many_nodes import Wire
from support.access import Browser, open_stream, ticket_url
from support.processes import run_command
from support.redis_server import RedisServer
from support.server import Server
from support.stream import SocketStream
from support.waiting import wait_until

pytestmark = pytest.mark.usefixtures("both_ways")

SECRET = "a-secret-of-the-tests-with-32-bytes-and-more"
KEY = "a-key-of-the-tests-with-32-bytes-and-even-more"
ISSUER = "https://auth.example/"
SETTINGS = {
    "access": {
        "secret": SECRET,
        "tokens": [{"token": "token-of-ann", "name": "ann", "subscribe": [{}]}],
        "issuers": [
            {
                "issuer": ISSUER,
                "audience": "events",
                "key": KEY,
                "algorithms": ["HS256"],
                "subscribe": [{"entity_id": "{sub}"}],
            }
        ],
    },
    "sink": {"events_stream": {"type": "sse", "access": "token"}},
}


def command(server: Server, *words: str) -> str:
    """Return what a command prints that is run beside the server."""
    return run_command(server.config, *words)


def jwt(server: Server, subject: str, expires_in: str) -> str:
    claims = {"sub": subject, "iss": ISSUER, "aud": "events"}
    words = [word for name, value in claims.items() for word in ("--claim", f"{name}={value}")]
    words += ["--key", KEY, "--expires-in", expires_in]
    return command(server, "token", "--jwt", *words).strip()


def stream(server: Server, token: str = "token-of-ann") -> SocketStream:
    return open_stream(server.port, ticket_url(server.port, token, sink="events_stream"))


def check_expired(stream: SocketStream) -> float:
    """Read the end of a stream, which must be whole, and return when it came."""
    end = stream.next()
    at = time.time()
    assert (end.event, end.data) == ("info", "expired")
    with pytest.raises(EOFError):
        stream.frame()
    return at


def status(server: Server, path: str) -> tuple[int, str]:
    code, text = Browser(server.port).send(path)
    return code, json.loads(text).get("reason", "") if code != 200 else ""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    arguments = ["--access-logfile", "-"]
    with Server(tmp_path, SETTINGS, arguments=arguments) as server:
        yield server
    assert "Traceback" not in server.log, server.log


def test_a_revocation_ends_the_streams_of_every_worker(server: Server) -> None:
    token = jwt(server, "bob", "1h")
    url = ticket_url(server.port, token, sink="events_stream")
    with (
        server.one_of_each_worker(lambda: stream(server)) as streams,
        contextlib.closing(open_stream(server.port, url)) as bob,
    ):
        assert len(streams) == 2
        command(server, "revoke", "ann")
        revoked_at = time.time()
        for each in streams.values():
            assert check_expired(each) < revoked_at + 2
        ticket = ticket_url(server.port, token, sink="events_stream")
        server.post([{"event_type": "a", "entity_id": "bob"}])
        assert bob.event()["event_type"] == "a"
        assert status(server, ticket.replace("ticket=", "ticket=x"))[0] == 401
        assert "  ann\n" in command(server, "revocations")
        command(server, "unrevoke", "ann")
        assert command(server, "revocations") == ""
        wait_until(lambda: _may_read(server), "the token is taken again", 3)
        command(server, "revoke", "bob", "--issuer", ISSUER)
        check_expired(bob)
        # The other worker may know it a second later.
        revoked = (401, "revoked")
        wait_until(lambda: [status(server, url) for _ in range(8)] == [revoked] * 8, "all know")
    log = server.log
    assert ticket.partition("ticket=")[2] not in log
    assert url.partition("ticket=")[2] not in log
    assert "ticket=***" in log
    assert "revoked after" in log
    metrics = server.metrics()
    ended = 'sse_sink_clients_ended_total{reason="revoked",sink="events_stream"}'
    assert metrics[ended] >= 3
    assert url.partition("ticket=")[2] not in server.metrics_text()


def _may_read(server: Server) -> bool:
    headers = {"Authorization": "Bearer token-of-ann", "Content-Type": "application/json"}
    body = json.dumps({"sink": "events_stream"}).encode()
    return Browser(server.port).send("/tickets", body, headers)[0] == 200


@pytest.mark.once
def test_a_stream_ends_before_its_token_does(server: Server) -> None:
    token = jwt(server, "bob", "8s")
    payload = token.split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    with contextlib.closing(stream(server, token)) as bob:
        server.post([{"event_type": "a", "entity_id": "ann"}])
        server.post([{"event_type": "b", "entity_id": "bob"}])
        assert bob.event()["event_type"] == "b"
        at = check_expired(bob)
    # Spread over the last tenth of its life.
    assert claims["exp"] - 0.8 <= at < claims["exp"] + 0.2
    server.wait_for_metrics(
        {'sse_sink_clients_ended_total{reason="expired",sink="events_stream"}': 1.0}
    )


@pytest.mark.once
def test_a_client_that_reads_nothing_is_cut_when_its_token_ends(server: Server) -> None:
    token = jwt(server, "bob", "8s")
    url = ticket_url(server.port, token, sink="events_stream")
    with contextlib.closing(SocketStream(server.port, url, receive_buffer=4096)) as bob:
        assert bob.status == 200
        for _ in range(20):
            server.post([{"event_type": "a", "entity_id": "bob", "data": "x" * 900_000}])
        server.wait_for_metrics(
            {
                'sse_sink_clients_ended_total{reason="expired",sink="events_stream"}': 1.0,
                'sse_sink_clients{sink="events_stream"}': 0.0,
            },
            seconds=12,
        )


@pytest.mark.once
def test_a_node_that_was_cut_off_ends_streams_when_it_is_back(tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        (tmp_path / "redis").mkdir()
        redis = stack.enter_context(RedisServer(tmp_path / "redis"))
        wires, nodes = [], []
        for name in ("one", "other"):
            (tmp_path / name).mkdir()
            wires.append(stack.enter_context(Wire(redis.port)))
            settings = {**SETTINGS, "database": {"url": wires[-1].url}}
            settings["server"] = {"workers": 1}
            nodes.append(stack.enter_context(Server(tmp_path / name, settings)))
        one, other = (stack.enter_context(stream(node)) for node in nodes)
        wires[1].is_cut = True
        wait_until(lambda: "is away" in nodes[1].log, "the other node is cut off")
        command(nodes[0], "revoke", "ann")
        revoked_at = time.time()
        assert check_expired(one) < revoked_at + 2
        wires[1].is_cut = False
        back_at = time.time()
        assert check_expired(other) < back_at + 2
