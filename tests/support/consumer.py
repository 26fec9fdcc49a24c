"""A program that extracts events from a pulled sink, and confirms them."""

from __future__ import annotations

import http.client
import json
from typing import Any, Self

from support.waiting import WAIT_SECONDS

#: Settings of a sink that anybody may use.
OPEN_PULL = {"type": "http_pull", "access": "none"}


class Consumer:
    """A consumer's connection, which is kept open between its requests."""

    def __init__(self, port: int, sink: str = "warehouse") -> None:
        self._http = http.client.HTTPConnection("127.0.0.1", port, timeout=2 * WAIT_SECONDS)
        self._http.connect()
        self._sink = sink

    @property
    def local_port(self) -> int:
        port: int = self._http.sock.getsockname()[1]
        return port

    def send(self, method: str, path: str, body: object = None) -> None:
        """Begin a request, whose answer :meth:`answer` waits for."""
        content = None if body is None else json.dumps(body)
        self._http.request(method, f"/{self._sink}{path}", content)

    def answer(self) -> tuple[int, Any]:
        """Return the status and the JSON of the answer."""
        answer = self._http.getresponse()
        return answer.status, json.loads(answer.read())

    def ask(self, method: str, path: str, body: object = None) -> Any:
        """Return the answer to a request, which must be 200."""
        self.send(method, path, body)
        status, content = self.answer()
        assert status == 200, content
        return content

    def extract(self, query: str = "") -> Any:
        """Return the reply to an extract."""
        return self.ask("GET", f"/extract?{query}")

    def confirm(self, batch: int) -> int:
        """Confirm a batch; return how many events that confirmed."""
        count: int = self.ask("POST", f"/mark-processed?batch_id={batch}")["marked_count"]
        return count

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def ids_of(batch: Any) -> list[int]:
    """Return the ids of a batch's events."""
    return [event["id"] for event in batch["events"]]
