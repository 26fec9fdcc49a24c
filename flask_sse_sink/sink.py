"""One configured sink: its clients, grouped by what they asked for, and its blueprint."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from typing import Any

from flask import Blueprint, Flask, Response, current_app, request
from flask_cors import CORS

from . import signals
from .client import Chunk, Client
from .event import Event
from .exceptions import LogUnavailable, TooManyClients
from .pattern import Filter, parse_query
from .problem import problem
from .relay import Relay
from .settings import SinkSettings

HEADERS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-cache, no-transform",
    "X-Accel-Buffering": "no",
}
_TCP_USER_TIMEOUT: int | None = getattr(socket, "TCP_USER_TIMEOUT", None)


class Slots:
    """How many streams a process may have; threads that wait in streams are no use to others."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.taken = 0
        self._lock = threading.Lock()

    def take(self) -> Callable[[], None]:
        """Take a slot and return what gives it back, which may be called more than once.

        :raises TooManyClients: all are taken.
        """
        with self._lock:
            if self.taken >= self.most:
                raise TooManyClients(f"all {self.most} streams of this worker are taken")
            self.taken += 1
        held = [True]

        def give_back() -> None:
            with self._lock:
                if held:
                    held.clear()
                    self.taken -= 1

        return give_back


class _Group:
    """The clients with one filter; ``clients`` is replaced, never changed in place."""

    def __init__(self) -> None:
        self.members: dict[Client, None] = {}
        self.clients: tuple[Client, ...] | None = ()


class Sink:
    """A named stream of the events that ``settings.match`` lets through.

    Each event is matched once a distinct filter and joined into one chunk a filter, whatever the
    number of clients.
    """

    def __init__(self, name: str, settings: SinkSettings, slots: Slots) -> None:
        self.name = name
        self.settings = settings
        self._match = settings.match.filter
        self.reset(slots)

    def reset(self, slots: Slots) -> None:
        """Forget every client, as a child process must after a fork."""
        self._slots = slots
        self._groups: dict[Filter, _Group] = {}
        self._lock = threading.Lock()

    @property
    def clients(self) -> list[Client]:
        """Return the clients that are connected now."""
        with self._lock:
            return [client for group in self._groups.values() for client in group.members]

    def on_events_stored(self, sender: Flask, events: list[Event]) -> None:
        """Hand the events to every client that lets them through: the sink's signal receiver."""
        wanted = [event for event in events if self._match.matches(event.event_type)]
        if not wanted:
            return
        with self._lock:
            targets = []
            for filter, group in self._groups.items():
                if group.clients is None:
                    group.clients = tuple(group.members)
                targets.append((filter, group.clients))
        for filter, clients in targets:
            matched = wanted
            if not filter.everything:
                matched = [event for event in wanted if filter.matches(event.event_type)]
            if matched:
                chunk = Chunk(matched)
                for client in clients:
                    client.send(chunk)

    def add(self, client: Client) -> None:
        """Let the client have the events from now on. Called under the relay's lock."""
        with self._lock:
            group = self._groups.setdefault(client.filter, _Group())
            group.members[client] = None
            group.clients = None

    def discard(self, client: Client) -> None:
        """Let the client have no more events."""
        with self._lock:
            group = self._groups.get(client.filter)
            if group is not None:
                group.members.pop(client, None)
                group.clients = None
                if not group.members:
                    del self._groups[client.filter]

    def blueprint(self, relay: Callable[[], Relay]) -> Blueprint:
        """Return the blueprint with the sink's one route.

        ``relay`` returns this process's relay, started.
        """
        blueprint = Blueprint(self.name, __name__, url_prefix=f"/{self.name}")

        def stream() -> Response:
            return self._respond(relay)

        blueprint.add_url_rule(
            self.settings.path, "stream", stream, methods=["GET"], strict_slashes=False
        )
        if self.settings.cors_origins:
            CORS(blueprint, origins=self.settings.cors_origins, methods=["GET", "HEAD"])
        return blueprint

    def _respond(self, relay: Callable[[], Relay]) -> Response:
        try:
            filter = parse_query(request.args.getlist("event_type"))
        except ValueError as error:
            return problem(400, "Malformed event_type", str(error))
        if request.method == "HEAD":
            # An iterator, for which nobody works out a Content-Length.
            return Response(iter(()), headers=HEADERS)
        try:
            feed = relay()
            feed.pump()
            give_back = self._slots.take()
        except LogUnavailable as error:
            return problem(503, "The event log is away", str(error), retry_after=2)
        except TooManyClients as error:
            return problem(503, "Too many clients", str(error), retry_after=5)
        _limit_writes(request.environ, self.settings.write_timeout)
        client = Client(self.name, filter, request.remote_addr, self.settings)
        app = current_app._get_current_object()  # type: ignore[attr-defined] # werkzeug's proxy

        def join(client: Client) -> None:
            feed.join(lambda: self.add(client))
            signals.emit(signals.client_connected, app, sink=self.name, client=client)

        def leave(client: Client) -> None:
            self.discard(client)
            give_back()
            signals.emit(signals.client_disconnected, app, sink=self.name, client=client)

        response = Response(client.stream(join, leave), headers=HEADERS)
        # The generator's own end comes first; this is for one that never began.
        response.call_on_close(give_back)
        return response


def _limit_writes(environ: dict[str, Any], seconds: float) -> None:
    """Let the kernel cut the connection where the peer has taken nothing for so long."""
    peer = environ.get("gunicorn.socket") or environ.get("werkzeug.socket")
    if (
        _TCP_USER_TIMEOUT is not None
        and isinstance(peer, socket.socket)
        and peer.family in (socket.AF_INET, socket.AF_INET6)
    ):
        peer.setsockopt(socket.IPPROTO_TCP, _TCP_USER_TIMEOUT, round(seconds * 1000))
