"""Clients that come back: when a stream ends, they connect again with the last id they got."""

from __future__ import annotations

import contextlib
import heapq
import select
import socket
import time
from array import array
from dataclasses import dataclass

from .board import CAPACITY
from .frames import ENDED, Frame, feed
from .wire import BadAnswer, Reader

_SIZE = 1 << 16
_OPENED_A_SECOND = 1000
_RETRY_MS = 100


@dataclass
class _Client:
    """One client: its connection, and what it keeps between connections."""

    index: int
    socket: socket.socket | None = None
    state: int = 0
    """Of the reader."""
    is_open: bool = False
    """Whether the stream's first frame has come."""
    ends: int = 0
    """How often a stream of this client has ended."""
    last_id: int = -1
    newest: int = -1
    """The id of the last event."""
    retry_ms: int = _RETRY_MS


class ReturningClients:
    """So many clients of one stream, which all ask for the same events."""

    def __init__(self, port: int, path: str, clients: int) -> None:
        self._address = ("127.0.0.1", port)
        self._path = path
        self._reader: Reader[Frame] = Reader(feed)
        self._epoll = select.epoll()
        self._clients = [_Client(index) for index in range(clients)]
        self._by_descriptor: dict[int, _Client] = {}
        now = time.monotonic()
        # A heap of the moments at which clients connect, with their indexes.
        self._due = [(now + index / _OPENED_A_SECOND, index) for index in range(clients)]
        self.counts = array("i", bytes(4 * CAPACITY))
        """To how many clients each event was delivered."""
        self.complete_ns = array("q", bytes(8 * CAPACITY))
        """When each event had reached all clients, since the epoch; 0 if it hasn't."""
        self.repeated = 0
        """Events that a client got although it had them, or a later one."""
        self.missed = 0
        """Notices that a client lost events."""
        self.refused = 0
        """Connections that were refused or cut before a stream began."""
        self.open = 0
        """How many streams are open now."""
        self.returned: set[int] = set()
        """The clients whose stream ended, and who have a stream again."""
        self.last_return_ns = 0

    def receive(self, seconds: float) -> None:
        """Read all streams for so many seconds, and open those that are due."""
        end = time.monotonic() + seconds
        while (now := time.monotonic()) < end:
            while self._due and self._due[0][0] <= now:
                self._connect(self._clients[heapq.heappop(self._due)[1]])
            wake = min(end, self._due[0][0]) if self._due else end
            for descriptor, events in self._epoll.poll(max(wake - time.monotonic(), 0), 256):
                self._proceed(self._by_descriptor[descriptor], events)

    def close(self) -> None:
        """Close every connection."""
        for each in self._clients:
            if each.socket:
                each.socket.close()
        self._epoll.close()

    def _connect(self, client: _Client) -> None:
        client.socket = made = socket.socket()
        client.state = 0
        made.setblocking(False)
        made.connect_ex(self._address)
        self._by_descriptor[made.fileno()] = client
        self._epoll.register(made.fileno(), select.EPOLLOUT)

    def _proceed(self, client: _Client, events: int) -> None:
        assert client.socket
        try:
            if events & select.EPOLLOUT:
                self._request(client)
                return
            data = client.socket.recv(_SIZE)
            if not data:
                raise ConnectionError
            client.state, frames = self._reader.feed(client.state, data)
        except (BadAnswer, OSError):
            self._end(client)
            return
        for frame in frames:
            self._take(client, frame)
            if frame is ENDED:
                self._end(client)

    def _request(self, client: _Client) -> None:
        assert client.socket
        last = f"Last-Event-ID: {client.last_id}\r\n" if client.last_id >= 0 else ""
        head = f"GET {self._path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{last}\r\n"
        client.socket.send(head.encode())
        self._epoll.modify(client.socket.fileno(), select.EPOLLIN)

    def _take(self, client: _Client, frame: Frame) -> None:
        if not client.is_open and frame is not ENDED:
            self._opened(client)
        if frame.retry_ms is not None:
            client.retry_ms = frame.retry_ms
        if frame.id is not None:
            client.last_id = frame.id
        self.missed += frame.missed
        number = frame.number
        if number is None or frame.id is None or number >= CAPACITY:
            return
        if frame.id <= client.newest:
            self.repeated += 1
            return
        client.newest = frame.id
        self.counts[number] += 1
        if self.counts[number] == len(self._clients):
            self.complete_ns[number] = time.time_ns()

    def _opened(self, client: _Client) -> None:
        client.is_open = True
        self.open += 1
        if client.ends:
            self.returned.add(client.index)
            self.last_return_ns = time.time_ns()

    def _end(self, client: _Client) -> None:
        """Close the connection, and come back when the server wants it."""
        assert client.socket
        if client.is_open:
            self.open -= 1
            client.ends += 1
        else:
            self.refused += 1
        client.is_open = False
        del self._by_descriptor[client.socket.fileno()]
        with contextlib.suppress(OSError):
            self._epoll.unregister(client.socket.fileno())
        client.socket.close()
        client.socket = None
        due = time.monotonic() + client.retry_ms / 1000
        heapq.heappush(self._due, (due, client.index))
