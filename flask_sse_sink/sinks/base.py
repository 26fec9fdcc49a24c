"""What every sink is to the rest of the package, whatever its type."""

from __future__ import annotations

import math
from typing import NamedTuple, Protocol

from flask import Blueprint, Flask

from ..access.authenticate import Access
from ..access.revocation_follower import RevocationFollower
from ..config.settings import Settings
from ..event import Event
from ..log import EventLog
from ..publisher import Publisher
from ..relay import Relay
from ..retention import Retention
from ..stream.admission import Admission
from ..stream.client import Client, paced
from ..stream.direct_socket import DirectSockets
from ..stream.guard import Guard
from ..stream.heartbeats import Heartbeats
from ..stream.memory import Memory
from ..stream.watcher import Watcher
from ..threads import SupervisedThread


class Parts(NamedTuple):
    """What runs in a process once it was started."""

    relay: Relay
    publisher: Publisher
    watcher: Watcher
    heartbeats: Heartbeats
    retention: Retention
    guard: Guard
    revocations: RevocationFollower

    @property
    def threads(self) -> tuple[SupervisedThread, ...]:
        """Return the threads of all parts."""
        parts = (
            self.relay,
            self.watcher,
            self.heartbeats,
            self.retention,
            self.guard,
            self.revocations,
        )
        return tuple(part.thread for part in parts)


class Host(Protocol):
    """What a sink may use of the process that it is in."""

    @property
    def settings(self) -> Settings:
        """Return the whole configuration."""

    @property
    def log(self) -> EventLog:
        """Return the event log."""

    @property
    def access(self) -> Access:
        """Return what says who sends a request."""

    @property
    def admission(self) -> Admission:
        """Return what lets streams in."""

    @property
    def direct_sockets(self) -> DirectSockets:
        """Return what finds the direct sockets of requests."""

    @property
    def memory(self) -> Memory:
        """Return what counts the frames."""

    def started(self) -> Parts:
        """Return what runs in this process; the first call starts it.

        :raises LogUnavailable: the log can't be opened.
        """


class Sink:
    """A configured sink. Its type makes it; subclasses override the hooks that they need.

    ``blueprint`` has the sink's routes, and the sink's name.
    """

    def __init__(self, name: str, blueprint: Blueprint) -> None:
        self.name = name
        self.blueprint = blueprint

    @property
    def clients(self) -> list[Client]:
        """Return the streams that are open now."""
        return []

    @property
    def write_timeout(self) -> float:
        """Return after how many seconds a stalled stream is to be cut."""
        return math.inf

    def on_events_stored(self, sender: Flask, events: list[Event]) -> None:
        """Take events that were stored: a receiver of the signal ``events_stored``."""

    def on_gap(self, first_id: int, last_id: int) -> None:
        """Take note that these events were pruned before they could be delivered."""

    def start(self) -> None:
        """Prepare what the sink keeps in the log; called when the process's parts start.

        :raises LogUnavailable: the log is away.
        """

    def end_streams(self) -> int:
        """Tell every stream, and every request that waits, to end; return how many there were."""
        clients = self.clients
        for client in paced([each for each in clients if not each.reason]):
            client.end("drained")
        return len(clients)

    def before_prune(self, through: int) -> int:
        """Return the id up to which events may be pruned, instead of ``through``.

        :raises LogUnavailable: the log is away; nothing is to be pruned.
        """
        return through

    def maintain(self) -> None:
        """Do what is due from time to time, on the thread that prunes.

        :raises LogUnavailable: the log is away.
        """

    def report(self) -> None:
        """Set the metrics that tell the present state of the sink.

        :raises LogUnavailable: the log is away.
        """

    def reset(self) -> None:
        """Forget all clients, as a child process must after a fork."""
