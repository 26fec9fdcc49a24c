"""Replays: how fast one client catches up, and clients that replay again and again.

    python -m bench.replay

runs the latter, in a process of their own, until a byte comes on standard input.
"""

from __future__ import annotations

import re
import selectors
import socket
import sys
import time

import msgspec

from . import child
from .results import Row
from .scenario import Scenario
from .session import Session, stored_types
from .system import Usage
from .wire import BadAnswer

_SIZE = 1 << 20
_SEARCHED = 4096
"""Only so many of the last bytes are searched for ids, so that reading costs next to nothing."""
_LIVE_SECONDS = 1.0
"""For so long a client that has caught up stays, before it replays again."""
_ID = re.compile(rb"\nid: (\d+)\n")


class Spec(msgspec.Struct, kw_only=True):
    """What the clients that replay again and again do."""

    port: int
    path: str
    last: int
    """The id of the event with which a client has caught up."""
    clients: int


class Report(msgspec.Struct, kw_only=True):
    """What they were sent."""

    bytes: int
    seconds: float


class Replay:
    """One stream that is read up to the event with the id ``last``."""

    def __init__(self, port: int, path: str, last: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=60)
        self.socket.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
        self.done = False
        """Whether the last event has come."""
        self._last = last
        self._end = b""
        status = self.socket.recv(12, socket.MSG_WAITALL)
        if not status.endswith(b" 200"):
            raise BadAnswer(f"a replay was answered {status!r}")

    def receive(self) -> int:
        """Read once; return the number of bytes.

        :raises BadAnswer: the server ended the stream.
        """
        data = self.socket.recv(_SIZE)
        if not data:
            raise BadAnswer("the server ended the stream of a replay")
        self._end = (self._end + data if len(data) < _SEARCHED else data)[-_SEARCHED:]
        self.done = last_id(self._end) >= self._last
        return len(data)


def last_id(text: bytes) -> int:
    """Return the id of the last frame whose ``id`` line is complete; -1 if there is none."""
    found = _ID.findall(text)
    return int(found[-1]) if found else -1


def catch_up(session: Session, scenario: Scenario) -> Row:
    """Measure how long one client takes to read the newest events of the log."""
    types = stored_types(rare=True) if scenario.rare else ()
    head = session.head()
    _read(session, head, 1000, types)
    row = session.row(scenario, 1)
    usage = Usage(session.server)
    size = _read(session, head, scenario.events, types)
    usage.stop()
    row.seconds = usage.seconds
    row.events = scenario.events // (100 if scenario.rare else 1)
    row.events_per_second = row.events / row.seconds
    row.cpu_us = usage.server * 1e6 / row.events
    row.helper_cpu_us = {name: used * 1e6 / row.events for name, used in usage.helpers.items()}
    row.bytes_per_delivery = size / row.events
    row.server_mib = session.server.pss_kib() / 1024
    return row


def _read(session: Session, head: int, events: int, types: tuple[str, ...]) -> int:
    """Read so many events up to the head, of these types; return the number of bytes."""
    path = session.path(*types, after=str(head - events))
    replay, size = Replay(session.server.ports[0], path, head), 0
    with replay.socket:
        while not replay.done:
            size += replay.receive()
    return size


def again_and_again(session: Session, clients: int) -> child.Child:
    """Return a process in which so many clients replay the whole log again and again."""
    return child.Child(
        "replay",
        Spec(
            port=session.server.ports[0],
            path=session.path(*stored_types(rare=False), after="earliest"),
            last=session.head(),
            clients=clients,
        ),
    )


def main() -> None:
    spec = child.specification(Spec)
    selector = selectors.DefaultSelector()
    child.ready()
    selector.register(sys.stdin.fileno(), selectors.EVENT_READ)

    def begin() -> None:
        replay = Replay(spec.port, spec.path, spec.last)
        selector.register(replay.socket, selectors.EVENT_READ, replay)

    for _ in range(spec.clients):
        begin()
    began, size, ended = time.monotonic(), 0, False
    until: dict[Replay, float] = {}
    while not ended:
        for key, _ in selector.select(0.05):
            if key.data is None:
                ended = True
                continue
            size += key.data.receive()
            if key.data.done:
                until.setdefault(key.data, time.monotonic() + _LIVE_SECONDS)
        for replay in [each for each, at in until.items() if at < time.monotonic()]:
            del until[replay]
            selector.unregister(replay.socket)
            replay.socket.close()
            begin()
    child.tell(Report(bytes=size, seconds=time.monotonic() - began))


if __name__ == "__main__":
    main()
