"""A response whose head and first bytes are sent in one call."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from gunicorn.config import Config
from gunicorn.http.wsgi import Response

from flask_sse_sink.server.joined_response import JoinedResponse, join


class Socket:
    """Notes what is sent in each call."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []

    def sendall(self, data: bytes) -> None:
        self.sent.append(data)


def response(
    sock: Socket, length: int | None = None, method: str = "GET", status: str = "200 OK"
) -> Any:
    request = SimpleNamespace(version=(1, 1), method=method, should_close=lambda: False)
    made = Response(request, sock, Config())
    join(made)
    made.start_response(status, [] if length is None else [("Content-Length", str(length))])
    return made


def test_head_and_body_are_sent_in_one_call() -> None:
    sock = Socket()
    made = response(sock, 5)
    made.write(b"hello")
    made.close()
    (sent,) = sock.sent
    assert sent.startswith(b"HTTP/1.1 200 OK\r\n") and sent.endswith(b"\r\n\r\nhello")


def test_a_stream_sends_its_head_with_its_first_chunk_and_later_chunks_at_once() -> None:
    sock = Socket()
    made = response(sock)
    for part in (b"one", b"two"):
        made.write(part)
    made.close()
    first, *others = sock.sent
    assert first.endswith(b"\r\n\r\n3\r\none\r\n")
    assert others == [b"3\r\ntwo\r\n", b"0\r\n\r\n"]


@pytest.mark.parametrize(("size", "calls"), [(64 * 1024, 1), (64 * 1024 + 1, 2)])
def test_a_large_body_is_not_copied(size: int, calls: int) -> None:
    sock = Socket()
    made = response(sock, size)
    made.write(b"x" * size)
    assert len(sock.sent) == calls
    assert b"".join(sock.sent).endswith(b"\r\n\r\n" + b"x" * size)


@pytest.mark.parametrize(
    ("method", "status", "length"), [("HEAD", "200 OK", 5), ("GET", "204 NO CONTENT", None)]
)
def test_an_answer_without_a_body_has_its_head(method: str, status: str, length: int) -> None:
    sock = Socket()
    made = response(sock, length, method, status)
    made.close()
    assert b"".join(sock.sent).endswith(b"\r\n\r\n")
    assert b"".join(sock.sent).count(b"HTTP/1.1 ") == 1


def test_what_is_no_bytes_is_an_error_as_ever_and_the_socket_is_its_own_again() -> None:
    sock = Socket()
    made = response(sock, 5)
    with pytest.raises(TypeError):
        made.write("hello")
    assert made.sock is sock
    assert made.headers_sent and len(sock.sent) == 1


def test_an_error_of_the_socket_is_raised_and_the_response_has_the_socket() -> None:
    class Broken(Socket):
        def sendall(self, data: bytes) -> None:
            raise BrokenPipeError

    sock = Broken()
    made = response(sock, 5)
    with pytest.raises(BrokenPipeError):
        made.write(b"hello")
    assert made.sock is sock


def test_responses_of_other_classes_stay_as_they_are() -> None:
    class Other(Response):  # type: ignore[misc] # gunicorn has no types
        pass

    request = SimpleNamespace(version=(1, 1), method="GET", should_close=lambda: False)
    other = Other(request, Socket(), Config())
    join(other)
    assert type(other) is Other
    assert type(response(Socket())) is JoinedResponse
