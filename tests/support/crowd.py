"""Many streams at once, read as bytes, and a strict reading of what they got."""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Callable, Sequence

from support.http1 import AnswerReader
from support.sse import Parser, ServerEvent
from support.stream import STREAM_PATH
from support.waiting import WAIT_SECONDS

REQUEST = f"GET {STREAM_PATH} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()


class Heard:
    """One stream's bytes so far, and when it ended, on the monotonic clock."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self.raw = b""
        self.ended = 0.0

    @property
    def status(self) -> int:
        return int(self.raw.split(b" ", 2)[1])

    def body(self) -> tuple[bytes, bool]:
        """Return the body and whether the response came to its proper end.

        Fails where a byte stands that shouldn't.
        """
        answer = AnswerReader()
        body = answer.feed(self.raw)
        assert answer.is_chunked, answer.head
        return body, answer.ended

    def events(self) -> list[ServerEvent]:
        """Return the events; fails unless the stream ended properly and with a whole frame."""
        body, proper = self.body()
        assert proper, self.raw[-200:]
        assert body.endswith(b"\n\n"), body[-200:]
        return Parser().feed(body)


class Crowd:
    """``count`` streams from a port, each past its first frame, or one for each of ``queries``."""

    def __init__(
        self,
        port: int,
        count: int = 0,
        receive_buffer: int = 0,
        source: str = "",
        queries: Sequence[str] = (),
    ) -> None:
        self.heard: list[Heard] = []
        self._selector = selectors.DefaultSelector()
        try:
            for query in queries or [""] * count:
                connection = socket.socket()
                self.heard.append(Heard(connection))
                if receive_buffer:
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
                if source:
                    connection.bind((source, 0))
                connection.settimeout(WAIT_SECONDS)
                connection.connect(("127.0.0.1", port))
                connection.sendall(REQUEST.replace(b" HTTP", query.encode() + b" HTTP", 1))
                connection.setblocking(False)
                self._selector.register(connection, selectors.EVENT_READ, self.heard[-1])
            try:
                self.read_until(lambda: all(b"data: connected\n" in h.raw for h in self.heard))
            except AssertionError:
                missing = [h for h in self.heard if b"data: connected\n" not in h.raw]
                raise AssertionError([(h.raw[-300:], h.ended) for h in missing[:3]]) from None
        except BaseException:
            self.close()
            raise

    def read_until(self, done: Callable[[], bool], seconds: float = WAIT_SECONDS) -> None:
        """Read whatever comes on any stream until the condition holds."""
        deadline = time.monotonic() + seconds
        while not done():
            assert time.monotonic() < deadline, "the streams didn't get there in time"
            self.read(0.05)

    def read(self, wait_seconds: float = 0) -> None:
        """Read what has come."""
        for key, _ in self._selector.select(wait_seconds):
            heard: Heard = key.data
            try:
                data = heard.socket.recv(1 << 18)
            except ConnectionResetError:
                data = b""
            if data:
                heard.raw += data
            else:
                heard.ended = time.monotonic()
                self._selector.unregister(heard.socket)

    def read_to_the_end(self, seconds: float = WAIT_SECONDS) -> None:
        """Read every stream until the server has ended it; our sides stay open."""
        self.read_until(lambda: all(heard.ended for heard in self.heard), seconds)

    def close(self) -> None:
        self._selector.close()
        for heard in self.heard:
            heard.socket.close()

    def __enter__(self) -> Crowd:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
