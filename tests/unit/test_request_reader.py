"""A thread's read of a request, which the main thread can end."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from gunicorn.config import Config

from flask_sse_sink.server.http_connection import HttpConnection, Timeouts
from flask_sse_sink.server.request_reader import RequestReader, RequestReads
from support.waiting import WAIT_SECONDS, wait_until

Ends = tuple[HttpConnection, socket.socket]


def pair() -> Iterator[Ends]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield HttpConnection(Config(), ours, "client", "server", Timeouts(10, 30)), theirs


ends = pytest.fixture(pair, name="ends")
other_ends = pytest.fixture(pair, name="other_ends")


def test_what_comes_prolongs_the_deadline(ends: Ends) -> None:
    connection, client = ends
    connection.deadline = time.monotonic() + 5
    reads = RequestReads()
    reader = RequestReader(connection, reads)
    client.sendall(b"x" * 2048)
    assert reader.read(2048) == b"x" * 2048
    assert 6 < connection.deadline - time.monotonic() <= 7
    assert list(reads) == []


def test_a_client_is_told_to_continue_when_its_body_is_read(ends: Ends) -> None:
    connection, client = ends
    reader = RequestReader(connection, RequestReads())
    reader.continue_due = True
    client.sendall(b"body")
    assert reader.read(4) == b"body"
    assert client.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert not reader.continue_due


def test_what_was_read_and_not_used_can_be_taken(ends: Ends) -> None:
    connection, client = ends
    reader = RequestReader(connection, RequestReads())
    client.sendall(b"one and two")
    assert reader.read(3) == b"one"
    assert reader.buffered() == 8
    assert reader.take() == b" and two"
    assert reader.buffered() == 0


@pytest.mark.parametrize("reason", ["slow", "crowded"])
def test_the_main_thread_ends_a_read(ends: Ends, reason: str) -> None:
    connection, _ = ends
    reads = RequestReads()
    reader = RequestReader(connection, reads)
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(reader.read, 1)
        wait_until(lambda: list(reads) == [connection], "the thread waits")
        if reason == "slow":
            reads.end_overdue(connection.deadline - 1)
            assert not connection.is_timed_out
            reads.end_overdue(connection.deadline)
        else:
            assert not reads.end_idle(1, 100, 5)
            assert not reads.end_idle(1, 104, 5)
            assert reads.end_idle(1, 105, 5)
        with pytest.raises(TimeoutError, match="the request came too slowly"):
            reading.result(WAIT_SECONDS)
    assert list(reads) == []


def test_the_read_that_waits_for_longest_is_ended_once(ends: Ends, other_ends: Ends) -> None:
    first, second = ends[0], other_ends[0]
    reads = RequestReads()
    both = threading.Barrier(3)
    go_on = threading.Event()

    def read(connection: HttpConnection) -> None:
        with reads.reading(connection):
            both.wait(WAIT_SECONDS)
            go_on.wait(WAIT_SECONDS)

    with ThreadPoolExecutor(2) as pool:
        ended = pool.submit(read, first)
        wait_until(lambda: list(reads) == [first], "the first one waits")
        assert not reads.end_idle(1, 100, 1)
        kept = pool.submit(read, second)
        both.wait(WAIT_SECONDS)
        assert reads.end_idle(1, 103, 1)
        # The one that was ended counts until its thread notices.
        assert not reads.end_idle(1, 104, 1)
        assert first.is_timed_out
        assert not second.is_timed_out
        go_on.set()
        with pytest.raises(TimeoutError):
            ended.result(WAIT_SECONDS)
        kept.result(WAIT_SECONDS)


def test_a_few_bytes_now_and_then_do_not_keep_a_read(ends: Ends) -> None:
    connection, client = ends
    reader = RequestReader(connection, RequestReads())
    assert connection.idle_seconds(100) == 0
    for _ in range(3):
        client.sendall(b"x" * 1023)
        reader.chunk()
    assert connection.idle_seconds(101) == 1
    client.sendall(b"x" * 1024)
    reader.chunk()
    assert connection.idle_seconds(102) == 0


def test_a_read_whose_bytes_are_there_is_not_ended(ends: Ends) -> None:
    connection, client = ends
    reads = RequestReads()
    with pytest.raises(TimeoutError), reads.reading(connection):
        assert not reads.end_idle(1, 100, 1)
        client.sendall(b"x")
        assert not reads.end_idle(1, 102, 1)
        connection.sock.recv(1)
        assert not reads.end_idle(0, 102, 1)
        assert reads.end_idle(1, 102, 1)
        assert connection.is_timed_out
