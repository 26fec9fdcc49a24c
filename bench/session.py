"""A running server of one system, and what puts load on it: publishers and clients."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Sequence
from typing import Any

from .audience import Topic
from .board import CAPACITY, Board
from .child import Child
from .clients import Clients
from .publisher import Report, Spec
from .results import Row
from .scenario import Scenario
from .system import EVENT_TYPE, PLACE, Server, System
from .wire import WARM_UP

_WARM_UP_SECONDS = 60.0
_RARE = f"{EVENT_TYPE}.rare"
_A_HUNDRED = (*[Topic()] * 99, Topic(_RARE))
_MANY_TOPICS = 500
_BATCH = 100
assert CAPACITY < WARM_UP


class Session:
    """A server, its publishers and its clients. ``board`` is theirs in common."""

    def __init__(self, system: System, server: Server, board: Board) -> None:
        self.system = system
        self.server = server
        self.board = board
        self.clients = Clients(server.ports, board)
        self.next = 0
        """The number of the next event."""

    def row(self, scenario: Scenario, clients: int) -> Row:
        """Return a row without figures yet."""
        return Row(
            system=self.system.label,
            scenario=scenario.name,
            kind=scenario.kind,
            clients=clients,
            workers=self.server.workers,
        )

    def spec(self, topics: Sequence[Topic] = (Topic(),), **more: Any) -> Spec:
        """Return what a publisher is to do with events with these topics, taken in turn."""
        return Spec(
            **{"port": self.server.ports[0], **more},
            path=self.server.publish,
            board=str(self.board.path),
            items=[self.system.item(*each) for each in topics],
        )

    def path(self, *types: str, after: str = "") -> str:
        """Return the path of a stream: of these types, replayed after this id."""
        query = [f"event_type={','.join(types)}"] if types else []
        query += [f"last_event_id={after}"] if after else []
        return self.stream("&".join(query))

    def stream(self, query: str) -> str:
        """Return the path of a stream with this query, which may be empty."""
        return f"{self.server.stream}?{query}" if query else self.server.stream

    def warm_up(self, clients: Clients, topics: Sequence[Topic]) -> None:
        """Publish events with these topics until every client has received one.

        :raises RuntimeError: some clients received none, or publishing failed.
        """
        if len(topics) > _MANY_TOPICS:
            # Only this project has filters, and it takes batches.
            spec = self.spec(
                topics, batch=_BATCH, most=len(topics) + _BATCH - 1, seconds=20, fixed=WARM_UP
            )
        else:
            seconds = max(0.3, len(topics) / 400)
            rate = max(4, len(topics) * 2 / seconds)
            spec = self.spec(topics, seconds=seconds, rate=rate, fixed=WARM_UP)
        until = time.monotonic() + _WARM_UP_SECONDS
        while clients.warm < len(clients):
            if time.monotonic() > until:
                raise RuntimeError(f"{len(clients) - clients.warm} clients received no event")
            with Child("publisher", spec) as publisher:
                publisher.go()
                while not clients.receive(5.0, until=publisher.fileno()):
                    pass
                report = publisher.report(Report)
            if report.failed:
                raise RuntimeError(f"publishing failed: {report.error}")
            clients.receive(0.5)
        if clients.ended:
            raise RuntimeError(f"{len(clients.ended)} streams ended: {clients.ended[0]}")
        clients.receive(0.2)

    def store(self, events: int) -> None:
        """Store so many events, a multiple of 1,000; every hundredth is of the rare type.

        :raises RuntimeError: not all could be stored.
        """
        spec = self.spec(
            _A_HUNDRED, batch=1000, connections=2, seconds=600, most=events, fixed=WARM_UP
        )
        with Child("publisher", spec) as publisher:
            publisher.go()
            report = publisher.report(Report)
        if report.failed or report.events != events:
            raise RuntimeError(f"stored {report.events:,} of {events:,} events: {report.error}")

    def head(self) -> int:
        """Publish one event, of the rare type; return its id, which is then the log's newest."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.server.ports[0]}{self.server.publish}",
            self.system.item(_RARE).replace(PLACE, str(WARM_UP)).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=20) as answer:
            (id,) = json.load(answer)["ids"]
        return int(id)


def stored_types(*, rare: bool) -> tuple[str, ...]:
    """Return the types of the stored events, or the type of every hundredth one alone."""
    return (_RARE,) if rare else (EVENT_TYPE, _RARE)
