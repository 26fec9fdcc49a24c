"""A connection that no thread has: what it waits for, until when, and what comes next."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from gunicorn.config import Config

from flask_sse_sink.server.http_connection import HttpConnection, NextStep, State, Timeouts

TIMEOUTS = Timeouts(head=10, body=30)
KEEPALIVE = 75
MIB = 2**20
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 60000\r\n\r\n"


def make(ours: socket.socket, **settings: object) -> HttpConnection:
    cfg = Config()
    for name, value in {"keepalive": KEEPALIVE, **settings}.items():
        cfg.set(name, value)
    return HttpConnection(cfg, ours, ("127.0.0.1", 1), ("127.0.0.1", 2), TIMEOUTS)


@pytest.fixture
def sockets() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


@pytest.fixture
def client(sockets: tuple[socket.socket, socket.socket]) -> socket.socket:
    return sockets[1]


@pytest.fixture
def connection(sockets: tuple[socket.socket, socket.socket]) -> HttpConnection:
    return make(sockets[0])


def answered(connection: HttpConnection, following: bytes = b"") -> None:
    """Put the connection in its state after an answer.

    ``following`` is what the parser has read of the next request.
    """
    connection.request.take()
    connection.state = State.ANSWER
    connection.parser = SimpleNamespace(unreader=SimpleNamespace(take=lambda: following))


def has_seconds(connection: HttpConnection, seconds: float) -> bool:
    left = connection.deadline - time.monotonic()
    return seconds - 1 < left <= seconds


def test_a_new_connection_waits_for_a_request(connection: HttpConnection) -> None:
    assert connection.state is State.REQUEST
    assert has_seconds(connection, TIMEOUTS.head)
    assert connection.on_readable() is NextStep.WAIT


def test_a_request_is_served_when_it_is_complete(
    connection: HttpConnection, client: socket.socket
) -> None:
    client.sendall(GET[:10])
    assert connection.on_readable() is NextStep.WAIT
    client.sendall(GET[10:])
    assert connection.on_readable() is NextStep.SERVE
    assert connection.request.take() == GET


def test_more_of_a_head_does_not_move_its_deadline(
    connection: HttpConnection, client: socket.socket
) -> None:
    deadline = connection.deadline
    client.sendall(GET[:10])
    assert connection.on_readable() is NextStep.WAIT
    assert connection.deadline == deadline


def test_a_body_has_a_time_of_its_own_that_its_bytes_prolong(
    connection: HttpConnection, client: socket.socket
) -> None:
    client.sendall(POST)
    assert connection.on_readable() is NextStep.WAIT
    assert has_seconds(connection, TIMEOUTS.body)
    connection.deadline = time.monotonic() + 5
    client.sendall(b"x" * 2048)
    assert connection.on_readable() is NextStep.WAIT
    assert has_seconds(connection, 7)
    # However much came at once, there is no more time than for a whole body.
    client.sendall(b"x" * 50_000)
    assert connection.on_readable() is NextStep.WAIT
    assert has_seconds(connection, TIMEOUTS.body)


@pytest.mark.parametrize(
    ("sent", "step"),
    [(b"", NextStep.CLOSE), (GET[:10], NextStep.CLOSE), (POST + b"x", NextStep.SERVE)],
)
def test_a_client_that_leaves_is_closed_unless_the_app_has_to_tell_of_its_body(
    connection: HttpConnection, client: socket.socket, sent: bytes, step: NextStep
) -> None:
    client.sendall(sent)
    assert connection.on_readable() is NextStep.WAIT
    client.shutdown(socket.SHUT_WR)
    assert connection.on_readable() is step


def test_a_reset_connection_is_closed() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        theirs = socket.create_connection(listener.getsockname())
        with listener.accept()[0] as ours:
            connection = make(ours)
            theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            theirs.close()
            assert connection.on_readable() is NextStep.CLOSE


def test_a_connection_under_tls_is_read_by_a_thread(
    sockets: tuple[socket.socket, socket.socket],
) -> None:
    ours, theirs = sockets
    connection = make(ours, certfile=__file__, keyfile=__file__)
    theirs.sendall(b"\x16")
    assert connection.on_readable() is NextStep.SERVE
    assert ours.recv(10) == b"\x16"


def test_a_connection_that_is_kept_open_waits_for_its_next_request(
    connection: HttpConnection, client: socket.socket
) -> None:
    answered(connection)
    assert connection.on_kept_open() is NextStep.WAIT
    assert connection.state is State.NEXT_REQUEST
    assert has_seconds(connection, KEEPALIVE)
    since = connection.since
    client.sendall(GET[:10])
    assert connection.on_readable() is NextStep.WAIT
    assert (connection.state, connection.since > since) == (State.REQUEST, True)
    assert has_seconds(connection, TIMEOUTS.head)


@pytest.mark.parametrize(("following", "step"), [(GET, NextStep.SERVE), (b"G", NextStep.WAIT)])
def test_what_was_read_of_the_next_request_counts(
    connection: HttpConnection, following: bytes, step: NextStep
) -> None:
    answered(connection, following)
    assert connection.on_kept_open() is step
    assert connection.state is State.REQUEST
    assert connection.request.take() == following


@pytest.mark.parametrize(("is_refused", "seconds"), [(False, 2), (True, 10)])
def test_after_the_last_answer_it_waits_for_the_client_to_close(
    connection: HttpConnection, client: socket.socket, is_refused: bool, seconds: float
) -> None:
    connection.is_refused = is_refused
    assert connection.on_answered() is NextStep.WAIT
    assert connection.state is State.CLOSE
    assert has_seconds(connection, seconds)
    assert client.recv(10) == b""
    client.sendall(b"what is still sent is dropped")
    assert connection.on_readable() is NextStep.WAIT
    client.close()
    assert connection.on_readable() is NextStep.CLOSE


def test_no_more_than_16_mib_are_dropped_after_an_answer(
    connection: HttpConnection, client: socket.socket
) -> None:
    connection.on_answered()
    sent, step = 0, NextStep.WAIT
    while step is NextStep.WAIT:
        sent += client.send(b"x" * 65536)
        step = connection.on_readable()
    assert step is NextStep.CLOSE
    assert 16 * MIB <= sent < 17 * MIB


def test_a_connection_whose_socket_is_closed_is_not_waited_for(
    connection: HttpConnection, client: socket.socket
) -> None:
    connection.sock.close()
    assert connection.on_answered() is NextStep.CLOSE


def test_a_client_that_sent_a_part_of_its_request_is_told_that_it_was_too_slow(
    connection: HttpConnection, client: socket.socket
) -> None:
    connection.answer_too_slow()
    with pytest.raises(BlockingIOError):
        client.recv(10, socket.MSG_DONTWAIT)
    client.sendall(GET[:10])
    connection.on_readable()
    connection.answer_too_slow()
    head, _, body = client.recv(1000).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 408 ")
    assert b"Content-Length: %d" % len(body) in head


@pytest.mark.parametrize("following", [b"", GET[:5], GET])
def test_a_thread_can_wait_a_moment_for_the_next_request(
    connection: HttpConnection, client: socket.socket, following: bytes
) -> None:
    answered(connection, following)
    if following != GET:
        client.sendall(GET[len(following) :])
    # Where a part came with the request before, the main thread waits for the rest.
    assert connection.receive_next(10) is (following != GET[:5])
    assert connection.on_kept_open() is (NextStep.WAIT if following == GET[:5] else NextStep.SERVE)


def test_a_thread_leaves_what_does_not_come_in_time_to_the_main_thread(
    connection: HttpConnection, client: socket.socket
) -> None:
    answered(connection)
    assert not connection.receive_next(0.01)
    assert connection.on_kept_open() is NextStep.WAIT
    client.sendall(GET[:5])
    answered(connection)
    assert not connection.receive_next(10)
    assert connection.on_kept_open() is NextStep.WAIT
    assert connection.state is State.REQUEST


def test_a_thread_leaves_the_end_of_a_connection_to_the_main_thread(
    connection: HttpConnection, client: socket.socket
) -> None:
    answered(connection)
    client.close()
    assert not connection.receive_next(10)
    assert connection.on_kept_open() is NextStep.WAIT
    assert connection.on_readable() is NextStep.CLOSE


def test_no_thread_waits_for_a_connection_under_tls(
    sockets: tuple[socket.socket, socket.socket],
) -> None:
    connection = make(sockets[0], certfile=__file__, keyfile=__file__)
    assert not connection.receive_next(10)
