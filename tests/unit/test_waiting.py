"""The connections that wait on the poller: their order, their deadlines, their events."""

from __future__ import annotations

import contextlib
import selectors
import socket
from collections.abc import Callable, Iterator

import pytest
from gunicorn.config import Config

from flask_sse_sink.server.http_connection import HttpConnection, Timeouts
from flask_sse_sink.server.waiting import WaitingConnections

Connect = Callable[[], tuple[HttpConnection, socket.socket]]


class Poller(selectors.DefaultSelector):
    """A poller whose events are dispatched as gunicorn does."""

    def dispatch(self) -> None:
        for key, _ in self.select(0):
            key.data(key.fileobj)


@pytest.fixture
def poller() -> Iterator[Poller]:
    with Poller() as made:
        yield made


@pytest.fixture
def readable() -> list[HttpConnection]:
    """Return the connections that were reported as readable, in order."""
    return []


@pytest.fixture
def waiting(poller: Poller, readable: list[HttpConnection]) -> WaitingConnections:
    return WaitingConnections(poller, readable.append)


@pytest.fixture
def connect() -> Iterator[Connect]:
    with contextlib.ExitStack() as stack:

        def made() -> tuple[HttpConnection, socket.socket]:
            ours, theirs = socket.socketpair()
            stack.enter_context(ours)
            stack.enter_context(theirs)
            return HttpConnection(Config(), ours, "client", "server", Timeouts()), theirs

        yield made


def test_the_one_that_began_to_wait_first_is_the_oldest(
    waiting: WaitingConnections, connect: Connect
) -> None:
    assert waiting.oldest() is None
    first, second = connect()[0], connect()[0]
    waiting.keep(first)
    waiting.keep(second)
    assert (list(waiting), len(waiting)) == ([first, second], 2)
    assert waiting.oldest() is first
    waiting.remove(first)
    assert waiting.oldest() is second


def test_a_connection_that_waits_for_the_same_as_before_keeps_its_place(
    waiting: WaitingConnections, connect: Connect
) -> None:
    first, second = connect()[0], connect()[0]
    for connection in (first, second, first):
        waiting.keep(connection)
    assert waiting.oldest() is first
    first.since += 1
    waiting.keep(first)
    assert list(waiting) == [second, first]


def test_a_readable_connection_is_reported_until_it_is_removed(
    waiting: WaitingConnections,
    connect: Connect,
    poller: Poller,
    readable: list[HttpConnection],
) -> None:
    (connection, client), (silent, _) = connect(), connect()
    waiting.keep(connection)
    waiting.keep(silent)
    poller.dispatch()
    assert readable == []
    client.sendall(b"G")
    poller.dispatch()
    waiting.keep(connection)
    poller.dispatch()
    assert readable == [connection, connection]
    waiting.remove(connection)
    waiting.remove(connection)
    poller.dispatch()
    assert readable == [connection, connection]


def test_one_event_may_remove_the_connection_of_another(connect: Connect, poller: Poller) -> None:
    reported: list[HttpConnection] = []

    def remove_all(connection: HttpConnection) -> None:
        reported.append(connection)
        for each in connections:
            connections.remove(each)

    connections = WaitingConnections(poller, remove_all)
    for _ in range(3):
        connection, client = connect()
        connections.keep(connection)
        client.sendall(b"G")
    poller.dispatch()
    assert len(reported) == 1


def test_a_connection_is_overdue_from_its_deadline_on(
    waiting: WaitingConnections, connect: Connect
) -> None:
    early, late = connect()[0], connect()[0]
    early.deadline, late.deadline = 10.0, 20.0
    waiting.keep(late)
    waiting.keep(early)
    assert waiting.overdue(9.9) == []
    assert waiting.overdue(10.0) == [early]
    assert waiting.overdue(20.0) == [late, early]


def test_a_connection_that_was_closed_can_be_removed(
    waiting: WaitingConnections, connect: Connect
) -> None:
    connection, _ = connect()
    waiting.keep(connection)
    connection.sock.close()
    waiting.remove(connection)
    assert len(waiting) == 0
