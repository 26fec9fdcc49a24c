"""One open stream, read event by event from wherever its bytes come from."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Mapping
from typing import Any, Self

from werkzeug.test import TestResponse

from support.http1 import AnswerReader
from support.sse import Parser, ServerEvent
from support.waiting import WAIT_SECONDS

STREAM_PATH = "/events_stream/"


class Stream:
    """A stream of events; ``receive`` returns the next bytes of its body, or b"" at the end."""

    def __init__(self, receive: Callable[[], bytes]) -> None:
        self._receive = receive
        self._unread = bytearray()
        self._parser = Parser()
        #: The id of the message that :meth:`message_id` returned last.
        self.last_id = 0

    def frame(self) -> bytes:
        """Return the next frame, byte for byte, with the blank line that ends it.

        :raises EOFError: the stream ended.
        """
        while (end := self._unread.find(b"\n\n")) < 0:
            data = self._receive()
            if not data:
                raise EOFError("the server ended the stream")
            self._unread += data
        frame = bytes(self._unread[: end + 2])
        del self._unread[: end + 2]
        return frame

    def next(self, heartbeats: bool = False) -> ServerEvent:
        """Return the next event as a browser has it; heartbeats only if they are wanted."""
        while True:
            for event in self._parser.feed(self.frame()):
                if heartbeats or event.event != "heartbeat":
                    return event

    def message_id(self) -> int:
        """Return the id of the next event, which must be a message."""
        event = self.next()
        assert event.event == "message", event
        assert json.loads(event.data)["id"] == int(event.id)
        self.last_id = int(event.id)
        return self.last_id

    def ids_until(self, last: int) -> list[int]:
        """Return the ids of the messages up to this one, which must come."""
        ids = [self.message_id()]
        while ids[-1] < last:
            ids.append(self.message_id())
        return ids

    def event(self) -> dict[str, Any]:
        """Return the next message's envelope, whose frame must have the three lines it should."""
        frame = self.frame()
        while frame.startswith(b"event: heartbeat\n"):
            frame = self.frame()
        head, id, data = frame.decode().removesuffix("\n\n").split("\n")
        assert head == "event: message"
        envelope: dict[str, Any] = json.loads(data.removeprefix("data: "))
        assert id == f"id: {envelope['id']}"
        return envelope

    def types(self, count: int) -> list[str]:
        """Return the types of the next messages."""
        return [self.event()["event_type"] for _ in range(count)]

    def close(self) -> None:
        """Hang up."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AppStream(Stream):
    """A stream that an app gave to a test client, without a server between them."""

    def __init__(self, response: TestResponse) -> None:
        parts = iter(response.iter_encoded())
        super().__init__(lambda: next((part for part in parts if part), b""))
        self.response = response

    def close(self) -> None:
        self.response.close()


class SocketStream(Stream):
    """A stream, or the refusal of one, from a server on a port of this machine."""

    def __init__(
        self,
        port: int,
        path: str = STREAM_PATH,
        receive_buffer: int = 0,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(self._receive_body)
        self._answer = AnswerReader()
        self._socket = socket.socket()
        self._socket.settimeout(WAIT_SECONDS)
        if receive_buffer:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        try:
            self._socket.connect(("127.0.0.1", port))
            lines = [f"{name}: {value}\r\n" for name, value in (headers or {}).items()]
            head = f"GET {path} HTTP/1.1\r\nHost: localhost\r\n{''.join(lines)}\r\n"
            self._socket.sendall(head.encode())
            while not self._answer.head:
                self._unread += self._receive_some()
        except BaseException:
            self._socket.close()
            raise

    @property
    def head(self) -> str:
        """Return the status line and the headers, in lower case."""
        return self._answer.head

    @property
    def status(self) -> int:
        return self._answer.status

    @property
    def local_port(self) -> int:
        port: int = self._socket.getsockname()[1]
        return port

    def _receive_some(self) -> bytes:
        """Wait for bytes, and return what they add to the body, which may be nothing."""
        data = self._socket.recv(1 << 18)
        if not data:
            raise EOFError("the server closed the connection")
        return self._answer.feed(data)

    def _receive_body(self) -> bytes:
        while not self._answer.ended:
            if body := self._receive_some():
                return body
        return b""

    def rest(self) -> bytes:
        """Return the body of an answer that tells its length."""
        length = int(self.head.partition("content-length: ")[2].split()[0])
        while len(self._unread) < length:
            self._unread += self._receive_some()
        return bytes(self._unread)

    def close(self) -> None:
        self._socket.close()
