"""A program that publishes to a server."""

from __future__ import annotations

import http.client
import json
from typing import Self

from support.waiting import WAIT_SECONDS


class Producer:
    """A producer's connection, which is kept open between its requests."""

    def __init__(self, port: int, token: str = "") -> None:
        self._http = http.client.HTTPConnection("127.0.0.1", port, timeout=WAIT_SECONDS)
        self._http.connect()
        self._headers = {"Content-Type": "application/json"}
        if token:
            self._headers["Authorization"] = f"Bearer {token}"

    @property
    def local_port(self) -> int:
        port: int = self._http.sock.getsockname()[1]
        return port

    def send(self, events: object) -> None:
        """Begin a request, whose answer :meth:`ids` waits for."""
        self._http.request("POST", "/ingest", json.dumps(events).encode(), self._headers)

    def answer(self) -> bytes:
        """Return the body of the answer to what was sent, whatever its status."""
        return self._http.getresponse().read()

    def ids(self) -> list[int]:
        """Return the ids of what was sent, which must have been stored."""
        answer = self._http.getresponse()
        body = answer.read()
        assert answer.status == 201, (answer.status, body)
        ids: list[int] = json.loads(body)["ids"]
        return ids

    def post(self, events: object) -> list[int]:
        """Publish, and return the ids."""
        self.send(events)
        return self.ids()

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
