"""Producers that go on while the server restarts: each POSTs an event until it is stored.

    python -m bench.producers

After :func:`child.ready` they publish at a fixed rate, until a byte comes on standard input.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import sys
import threading
import time
from pathlib import Path

import msgspec

from . import child
from .board import Board
from .system import PLACE

_RETRY_SECONDS = 0.05
_GIVE_UP_SECONDS = 60.0


class Spec(msgspec.Struct, kw_only=True):
    """What the producers publish, and how fast."""

    port: int
    path: str
    board: str
    items: list[str]
    """The events' JSON, taken in turn; each has an id, so that a repeat isn't stored twice."""
    producers: int
    rate: float
    """Events a second, of all producers together."""


class Report(msgspec.Struct, kw_only=True):
    """What was published."""

    answered_ns: list[int]
    """When each event was answered, since the epoch, in the order of the numbers."""
    repeats: int
    """POSTs that were sent again, because they weren't answered or were refused."""
    lost: int
    """Events that weren't stored within a minute."""
    cpu_seconds: float


class Producers:
    """Several producers, each with a connection and a thread; they share the numbers."""

    def __init__(self, spec: Spec) -> None:
        self._spec = spec
        self._board = Board(Path(spec.board))
        self._lock = threading.Lock()
        self._next = 0
        self._answered: dict[int, int] = {}
        self._repeats = 0
        self._lost = 0
        self._stopping = threading.Event()

    def run(self) -> Report:
        """Publish until a byte can be read; return what was done."""
        cpu = time.process_time()
        threads = [
            threading.Thread(target=self._produce, args=(number,))
            for number in range(self._spec.producers)
        ]
        for each in threads:
            each.start()
        os.read(sys.stdin.fileno(), 1)
        self._stopping.set()
        for each in threads:
            each.join()
        return Report(
            answered_ns=[self._answered.get(number, 0) for number in range(self._next)],
            repeats=self._repeats,
            lost=self._lost,
            cpu_seconds=time.process_time() - cpu,
        )

    def _produce(self, producer: int) -> None:
        """Publish one event after the other, at this producer's share of the rate."""
        pause = self._spec.producers / self._spec.rate
        due = time.monotonic() + pause * producer / self._spec.producers
        connection = http.client.HTTPConnection("127.0.0.1", self._spec.port, timeout=10)
        with contextlib.closing(connection):
            while not self._stopping.wait(max(due - time.monotonic(), 0)):
                due += pause
                with self._lock:
                    number = self._next
                    self._next += 1
                self._publish(connection, number)

    def _publish(self, connection: http.client.HTTPConnection, number: int) -> None:
        item = self._spec.items[number % len(self._spec.items)]
        body = item.replace(PLACE, f"{number:08}").encode()
        self._board.sent[number] = time.time_ns()
        until = time.monotonic() + _GIVE_UP_SECONDS
        while not self._is_stored(connection, body):
            if time.monotonic() > until:
                with self._lock:
                    self._lost += 1
                return
            with self._lock:
                self._repeats += 1
            time.sleep(_RETRY_SECONDS)
        self._answered[number] = time.time_ns()

    def _is_stored(self, connection: http.client.HTTPConnection, body: bytes) -> bool:
        """POST once; return whether the server has stored the event."""
        try:
            connection.request("POST", self._spec.path, body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            answer.read()
        except (OSError, http.client.HTTPException):
            connection.close()
            return False
        return 200 <= answer.status < 300


def main() -> None:
    producers = Producers(child.specification(Spec))
    child.ready()
    child.tell(producers.run())


if __name__ == "__main__":
    main()
