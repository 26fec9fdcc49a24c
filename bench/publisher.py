"""The publisher: a process of its own that POSTs events over connections that stay open.

    python -m bench.publisher

After :func:`child.ready`, each byte on standard input allows one more request, where the
specification asks for a window.
"""

from __future__ import annotations

import collections
import os
import selectors
import socket
import sys
import time
from pathlib import Path

import msgspec

from . import child
from .board import CAPACITY, Board
from .system import PLACE


class Spec(msgspec.Struct, kw_only=True):
    """What to publish, how fast, and how."""

    port: int
    path: str
    board: str
    items: list[str]
    """The events' JSON, taken in turn."""
    batch: int = 0
    """Events in a request's array; 0 sends one event without an array."""
    connections: int = 1
    rate: float = 0
    """Requests a second; 0 sends as fast as the answers and the window allow."""
    window: int = 0
    """Requests on their way, whose events not all clients have received; 0 is no limit."""
    seconds: float = 1
    most: int = CAPACITY
    """The publisher ends before the number of an event reaches it."""
    first: int = 0
    """The first event's number."""
    fixed: int = -1
    """The number of every event; -1 counts them from ``first`` on."""


class Report(msgspec.Struct, kw_only=True):
    """What was published."""

    events: int = 0
    requests: int = 0
    failed: int = 0
    error: str = ""
    seconds: float = 0
    cpu_seconds: float = 0


class Connection:
    """One connection, with at most one request on its way."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._received = b""
        self._open()

    def _open(self) -> None:
        self.socket = socket.create_connection(("127.0.0.1", self._port), timeout=20)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, request: bytes) -> None:
        self.socket.sendall(request)

    def answer(self) -> int | None:
        """Read once; return the status, or ``None`` while the answer isn't complete.

        :raises ConnectionError: the server closed the connection before the answer was complete.
        """
        data = self.socket.recv(1 << 16)
        if not data:
            raise ConnectionError("the server closed the connection before it answered")
        self._received += data
        head, blank, body = self._received.partition(b"\r\n\r\n")
        if not blank:
            return None
        fields = head.lower()
        if b"content-length:" in fields:
            length = int(fields.split(b"content-length:", 1)[1].split(b"\r\n", 1)[0])
            whole = len(body) >= length
        elif b"transfer-encoding: chunked" in fields:
            whole = body.endswith(b"0\r\n\r\n")
        else:
            whole = True
        if not whole:
            return None
        self.text = body[:300].decode("latin-1")
        self._received = b""
        self.closing = b"connection: close" in fields
        return int(head.split(maxsplit=2)[1])

    def reopen(self) -> None:
        self.socket.close()
        self._received = b""
        self._open()


class Publisher:
    """Publishes what the specification says."""

    def __init__(self, spec: Spec) -> None:
        self._spec = spec
        self._board = Board(Path(spec.board))
        self._report = Report()
        self._head = (
            f"POST {spec.path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        ).encode()
        self._items = [tuple(item.encode().split(PLACE.encode())) for item in spec.items]
        self._next = spec.first
        self._selector = selectors.EpollSelector()
        self._free: collections.deque[Connection] = collections.deque()
        self._allowed = spec.window
        for _ in range(spec.connections):
            self._add(Connection(spec.port))

    def _add(self, connection: Connection) -> None:
        self._selector.register(connection.socket, selectors.EVENT_READ, connection)
        self._free.append(connection)

    def _body(self, count: int) -> bytes:
        texts = []
        for number in range(self._next, self._next + count):
            before, after = self._items[number % len(self._items)]
            shown = self._spec.fixed if self._spec.fixed >= 0 else number
            texts.append(b"%b%08d%b" % (before, shown, after))
        return b"[%b]" % b",".join(texts) if self._spec.batch else texts[0]

    def _send(self, connection: Connection) -> None:
        count = self._spec.batch or 1
        body = self._body(count)
        request = b"%bContent-Length: %d\r\n\r\n%b" % (self._head, len(body), body)
        now = time.time_ns()
        if self._spec.fixed < 0:
            for number in range(self._next, self._next + count):
                self._board.sent[number] = now
        self._next += count
        connection.send(request)
        self._report.requests += 1
        self._report.events += count

    def run(self) -> Report:
        """Publish for the time given and wait for every answer; return what was done."""
        spec = self._spec
        if spec.window:
            self._selector.register(sys.stdin.fileno(), selectors.EVENT_READ, None)
        began = time.monotonic()
        until = began + spec.seconds
        due = began
        busy = 0
        cpu = time.process_time()
        room = min(spec.most, CAPACITY) - (spec.batch or 1)
        while True:
            now = time.monotonic()
            running = now < until and self._next <= room
            while (
                running
                and self._free
                and (not spec.rate or now >= due)
                and (not spec.window or self._allowed)
            ):
                self._send(self._free.popleft())
                busy += 1
                self._allowed -= bool(spec.window)
                if spec.rate:
                    due += 1 / spec.rate
                now = time.monotonic()
                running = now < until and self._next <= room
            if not running and not busy:
                break
            wait = until - now if running else 10.0
            if running and spec.rate and self._free:
                wait = min(wait, due - now)
            ready = self._selector.select(max(wait, 0.0))
            if not ready and not running:
                self._fail(f"{busy} requests weren't answered within 10 s")
                break
            for key, _ in ready:
                if key.data is None:
                    self._allowed += len(os.read(key.fd, 4096))
                else:
                    busy -= self._answered(key.data)
        self._report.seconds = time.monotonic() - began
        self._report.cpu_seconds = time.process_time() - cpu
        return self._report

    def _answered(self, connection: Connection) -> int:
        """Read an answer; return 1 if a request is answered now, else 0."""
        idle = connection in self._free
        try:
            status = connection.answer()
        except OSError as error:
            # A server may close an idle connection; that isn't a failure.
            if not idle:
                self._fail(str(error))
            closing = True
        else:
            if status is None:
                return 0
            if not 200 <= status < 300:
                self._fail(f"{status}: {connection.text}")
            closing = connection.closing
        if closing:
            self._selector.unregister(connection.socket)
            connection.reopen()
            self._selector.register(connection.socket, selectors.EVENT_READ, connection)
        if idle:
            return 0
        self._free.append(connection)
        return 1

    def _fail(self, error: str) -> None:
        self._report.failed += 1
        self._report.error = self._report.error or error


def main() -> None:
    publisher = Publisher(child.specification(Spec))
    child.ready()
    child.tell(publisher.run())


if __name__ == "__main__":
    main()
