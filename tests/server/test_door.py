"""What comes in at the door of a real server: a body is taken whole or not at all."""

from __future__ import annotations

import contextlib
import gzip
import json
import random
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from support.processes import flask_command
from support.server import Server
from support.waiting import WAIT_SECONDS, wait_until

LIMIT = 2**20
NDJSON = "application/x-ndjson"


class Answer(NamedTuple):
    status: int
    body: dict[str, Any]


class Request:
    """A request that is sent piece by piece, on a connection of its own."""

    def __init__(self, server: Server, *headers: str, content_type: str = NDJSON) -> None:
        self._socket = socket.create_connection(("127.0.0.1", server.port), WAIT_SECONDS)
        lines = ["POST /ingest HTTP/1.1", "Host: a", f"Content-Type: {content_type}", *headers]
        self.send("\r\n".join(lines).encode() + b"\r\n\r\n")

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def end(self) -> None:
        """Close the sending side."""
        self._socket.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()

    def answer(self) -> Answer:
        raw = b""
        while b"\r\n\r\n" not in raw:
            raw += self._receive()
        head, _, body = raw.partition(b"\r\n\r\n")
        told = head.decode("latin-1").lower().partition("content-length: ")[2].split()
        while told and len(body) < int(told[0]):
            body += self._receive()
        with contextlib.suppress(ValueError):
            return Answer(int(head.split()[1]), json.loads(body))
        return Answer(int(head.split()[1]), {})

    def _receive(self) -> bytes:
        data = self._socket.recv(1 << 16)
        assert data, "the connection ended without an answer"
        return data

    def __enter__(self) -> Request:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()


@pytest.fixture(scope="module", params=["gunicorn", "flask run"])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    command = None if request.param == "gunicorn" else flask_command
    with Server(folder, {"server": {"workers": 1, "max_clients": 10}}, command=command) as made:
        yield made
    if command is None:
        assert "Traceback" not in made.log, made.log


@pytest.fixture(autouse=True)
def still_serves(server: Server) -> Iterator[None]:
    """Fail where a test leaves the server unable to take an event."""
    yield
    assert server.post({"event_type": "after.it"})


def is_flask(server: Server) -> bool:
    """Return whether it is Flask's development server."""
    return "development server" in server.log


def lines(size: int) -> tuple[bytes, int]:
    """Return so many bytes of whole events, and their number."""
    line = b'{"event_type":"a","data":"%b"}\n' % (b"x" * 970)
    count = size // len(line)
    last = b'{"event_type":"a","data":"%b"}\n'
    rest = size - (count - 1) * len(line) - len(last % b"")
    body = line * (count - 1) + last % (b"x" * rest)
    assert len(body) == size
    return body, count


def chunked(body: bytes, size: int = 60_000) -> bytes:
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(p), p) for p in parts) + b"0\r\n\r\n"


def sent(server: Server, body: bytes, *headers: str) -> Answer:
    with Request(server, f"Content-Length: {len(body)}", *headers) as made:
        made.send(body)
        return made.answer()


def sent_in_chunks(server: Server, body: bytes, *headers: str, size: int = 60_000) -> Answer:
    with Request(server, "Transfer-Encoding: chunked", *headers) as made:
        made.send(chunked(body, size))
        return made.answer()


@pytest.mark.parametrize("size", [LIMIT - 1, LIMIT])
@pytest.mark.parametrize("send", [sent, sent_in_chunks])
def test_a_body_up_to_the_limit_is_stored_whole(server: Server, size: int, send: Any) -> None:
    body, count = lines(size)
    before = len(server.stored())
    status, told = send(server, body)
    assert (status, told["accepted"]) == (201, count)
    assert len(server.stored()) == before + count


@pytest.mark.parametrize("size", [LIMIT + 1, LIMIT + 60_000, 2 * LIMIT])
def test_a_chunked_body_over_the_limit_is_refused_whole(server: Server, size: int) -> None:
    before = server.stored()
    with Request(server, "Transfer-Encoding: chunked") as made:
        with contextlib.suppress(OSError):
            made.send(chunked(lines(size)[0]))
        status, told = made.answer()
    assert (status, told["title"]) == (413, "Too large")
    assert "ingest.max_body" in told["detail"]
    assert server.stored() == before


def test_a_length_over_the_limit_is_refused_before_the_body_is_sent(server: Server) -> None:
    before = server.stored()
    for length in (str(LIMIT + 1), str(10**17), "9" * 40):
        with Request(server, f"Content-Length: {length}") as made:
            assert made.answer().status == 413
    assert server.stored() == before


@pytest.mark.parametrize("coding", ["gzip", "x-gzip"])
def test_gzip_counts_as_sent_and_as_unpacked(server: Server, coding: str) -> None:
    header = f"Content-Encoding: {coding}"
    body, count = lines(LIMIT)
    for send in (sent, sent_in_chunks):
        status, told = send(server, gzip.compress(body), header)
        assert (status, told["accepted"]) == (201, count)
    before = server.stored()
    over = gzip.compress(lines(LIMIT + 1)[0])
    for send in (sent, sent_in_chunks):
        assert send(server, over, header).status == 413
        status, told = send(server, over[:-9], header)
        assert status in (400, 413)
        status, told = send(server, gzip.compress(body)[:-1], header)
        assert (status, told["title"]) == (400, "Not gzip")
    noise = gzip.compress(random.Random(1).randbytes(LIMIT))
    assert len(noise) > LIMIT
    assert sent(server, noise, header).status == 413
    assert server.stored() == before


@pytest.mark.parametrize("size", [1, 7, 1023, LIMIT])
def test_chunks_of_any_size_are_put_together(server: Server, size: int) -> None:
    body, count = lines(20_000)
    status, told = sent_in_chunks(server, body, size=size)
    assert (status, told["accepted"]) == (201, count)


@pytest.mark.parametrize("kept", [0, 1, 4_000, 9_999])
def test_a_body_shorter_than_its_length_is_refused_whole(server: Server, kept: int) -> None:
    body, _ = lines(10_000)
    before = server.stored()
    with Request(server, "Content-Length: 10000") as made:
        made.send(body[:kept])
        made.end()
        status, told = made.answer()
    assert (status, told["title"]) == (400, "Incomplete request")
    assert f"{kept} of 10000" in told["detail"]
    assert server.stored() == before


def test_a_client_that_resets_in_the_middle_of_its_body_stores_nothing(server: Server) -> None:
    before = server.stored()
    body, _ = lines(10_000)
    for headers, part in (
        (["Content-Length: 10000"], body[:4_000]),
        (["Transfer-Encoding: chunked"], chunked(body, 2_000)[:4_040]),
    ):
        made = Request(server, *headers)
        made.send(part)
        made.reset()
    assert server.answers("/healthz") == 200
    # A request of the same worker, after both of these were read.
    (id,) = server.post({"event_type": "a"})
    wait_until(lambda: server.stored()[-1][0] == id, "it is stored")
    assert server.stored()[:-1] == before


EVENT = b'{"event_type":"a"}\n'
ONE = b"%x\r\n%b\r\n" % (len(EVENT), EVENT)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(ONE + b"13\r\n" + EVENT[:5], id="cut in the middle of a chunk"),
        pytest.param(ONE + b"13\r\n" + EVENT, id="cut before a chunk's end"),
        pytest.param(ONE + b"13", id="cut in a chunk's size"),
        pytest.param(ONE, id="no last chunk"),
        pytest.param(ONE + b"0", id="cut in the last chunk"),
        pytest.param(b"13\r\n" + EVENT + ONE + b"0\r\n\r\n", id="no line end after a chunk"),
        pytest.param(b"12\r\n" + EVENT + b"\r\n0\r\n\r\n", id="a chunk longer than its size"),
        pytest.param(ONE + b"x\r\n" + EVENT + b"\r\n0\r\n\r\n", id="a size that is no number"),
        pytest.param(ONE + b"-1\r\n" + EVENT + b"\r\n0\r\n\r\n", id="a negative size"),
        pytest.param(ONE + b"\r\n", id="no size"),
        pytest.param(ONE + b"0x13\r\n" + EVENT + b"\r\nq\r\n\r\n", id="a size with a prefix"),
        pytest.param(b"\xff\xfe\r\n", id="no chunk at all"),
        pytest.param(ONE + b"f" * 9000, id="an endless size"),
        pytest.param(ONE + b"ffffffffffffffff\r\n" + EVENT, id="a huge chunk that isn't sent"),
    ],
)
def test_wrong_chunks_are_a_400_and_store_nothing(server: Server, body: bytes) -> None:
    before = server.stored()
    with Request(server, "Transfer-Encoding: chunked") as made:
        made.send(body)
        made.end()
        status, told = made.answer()
    assert (status, told.get("title")) == (400, "Incomplete request")
    assert server.stored() == before


def test_trailers_and_extensions_of_chunks_are_passed_over(server: Server) -> None:
    # Flask's takes neither of the two, and refuses the second.
    expected = (201, 400) if is_flask(server) else (201,)
    with Request(server, "Transfer-Encoding: chunked", "Trailer: X-Sum") as made:
        made.send(ONE + b"0\r\nX-Sum: 1\r\n\r\n")
        made.end()
        assert made.answer().status in expected
    with Request(server, "Transfer-Encoding: chunked") as made:
        made.send(ONE.replace(b"\r\n", b";a=b\r\n", 1) + b"0\r\n\r\n")
        made.end()
        assert made.answer().status in expected


@pytest.mark.parametrize(
    "headers",
    [
        ["Content-Length: 19", "Transfer-Encoding: chunked"],
        ["Content-Length: x"],
        ["Content-Length: -1"],
        ["Content-Length: +19"],
        ["Content-Length: 1e2"],
        ["Content-Length: 19, 19"],
        ["Content-Length: \xb2"],
    ],
)
def test_an_unclear_length_is_a_400(server: Server, headers: list[str]) -> None:
    before = server.stored()
    with Request(server, *headers) as made:
        made.send(ONE + b"0\r\n\r\n")
        made.end()
        assert made.answer().status == 400
    assert server.stored() == before


def test_no_body_is_refused_and_nobody_waits_for_one(server: Server) -> None:
    before = server.stored()
    for headers in ([], ["Content-Length: 0"]):
        for content_type, status in ((NDJSON, 422), ("application/json", 400)):
            with Request(server, *headers, content_type=content_type) as made:
                assert made.answer().status == status
    with Request(server, "Transfer-Encoding: chunked") as made:
        made.send(b"0\r\n\r\n")
        assert made.answer().status == 422
    assert server.stored() == before


# Smaller bodies wait in memory, and the app is asked when they are whole.
LARGE = [("Content-Length: 100000", b"["), ("Transfer-Encoding: chunked", b"FFFFF\r\n[")]


@pytest.mark.parametrize(
    ("headers", "content_type", "status"),
    [
        ([], "text/plain", 415),
        (["Content-Encoding: br"], NDJSON, 415),
        (["Content-Encoding: gzip, gzip"], NDJSON, 415),
    ],
)
@pytest.mark.parametrize(("length", "begin"), LARGE)
def test_what_needs_no_body_is_refused_before_it_comes(
    server: Server, headers: list[str], content_type: str, status: int, length: str, begin: bytes
) -> None:
    with Request(server, length, *headers, content_type=content_type) as made:
        made.send(begin)
        assert made.answer().status == status


def test_a_wrong_token_is_refused_before_the_body_comes(tmp_path: Path) -> None:
    with Server(
        tmp_path,
        {"server": {"workers": 1, "max_clients": 10}, "ingest": {"tokens": ["a-token-of-tests"]}},
    ) as server:
        for length, begin in LARGE:
            with Request(server, length, "Authorization: Bearer wrong") as made:
                made.send(begin)
                assert made.answer().status == 401
