"""One configured sink: its clients, grouped by what they asked for, and its blueprint."""

from __future__ import annotations

import math
import random
import threading
import time
from collections.abc import Mapping
from typing import Any, Protocol

from flask import Blueprint, Flask, Response, current_app, g, request

from .. import metrics
from ..config.settings import SinkSettings
from ..event import Event
from ..exceptions import LogUnavailable, ServerStopping, TooManyClients
from ..filters import Filter, parse_query
from ..log import EventLog
from ..relay import Relay
from ..stream import frame, replay
from ..stream.admission import Slot
from ..stream.chunk import Chunk, Frame, chunks
from ..stream.client import Client
from ..stream.connection import Connection
from ..stream.direct_socket import DirectSocket
from ..stream.memory import Memory
from ..stream.replay import Replay, ResumePosition
from ..stream.response import streamed
from ..stream.send_queue import Outbox
from ..stream.session import Session, Subscription, refuse
from ..stream.watcher import Watcher
from ..web import cors
from ..web.problem import problem, public_cause

HEADERS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-cache, no-transform",
    "X-Accel-Buffering": "no",
}

#: With which a sink with replay tells the identity of the log: its ids are of this log alone.
LOG_HEADER = "Sse-Sink-Log"

# Where a request has the slot of its stream, in Flask's `g`.
_SLOT = "_sse_sink_slot"

_AWAY = "The event log is away"


class Host(Protocol):
    """What a sink needs of the process that it streams from."""

    @property
    def log(self) -> EventLog:
        """Return the log."""

    @property
    def watcher(self) -> Watcher:
        """Return what watches the peers, once :meth:`started`."""

    def lane(self, environ: dict[str, Any]) -> DirectSocket | None:
        """Return the direct lane to the client of a request, if it may have one."""

    def can_stream(self, environ: Mapping[str, Any]) -> bool:
        """Return whether the process has threads for streams at all."""

    def started(self) -> Relay:
        """Return the relay, started.

        :raises LogUnavailable: the log can't be opened.
        """

    def admit(self, sink: Sink, address: str | None, environ: Mapping[str, Any]) -> Slot:
        """Let one more stream in, and return its slot.

        :raises TooManyClients: there is no room, or the process is about to end.
        """


def _this_app() -> Flask:
    app: Flask = current_app._get_current_object()  # type: ignore[attr-defined] # a proxy
    return app


def _give_back(error: BaseException | None) -> None:
    """Give the slot back where a hook of the app raised: the stream's response goes nowhere.

    The error, which refers to the response, may keep it for as long as somebody has the error.
    """
    slot: Slot | None = g.pop(_SLOT, None)
    if slot is not None and error is not None:
        slot.give_back()


class _Group:
    """The clients with one filter; ``outboxes`` is replaced, never changed in place."""

    def __init__(self) -> None:
        self.members: dict[Client, None] = {}
        self.outboxes: tuple[Outbox, ...] | None = ()


class Sink:
    """A named stream of the events that ``settings.match`` lets through.

    Each event is matched once a distinct filter. Clients whose filters let the same events of a
    delivery through share one chunk of them; every frame is made once, for all filters and sinks.
    ``memory`` counts the frames.
    """

    def __init__(self, name: str, settings: SinkSettings, memory: Memory) -> None:
        self.name = name
        self.settings = settings
        self._memory = memory
        self._match = settings.match.filter
        self._response_class: type[Response] | None = None
        self.reset()

    def reset(self) -> None:
        """Forget every client, as a child process must after a fork."""
        self._groups: dict[Filter, _Group] = {}
        self._apart: dict[Client, None] = {}
        self._lock = threading.Lock()

    @property
    def clients(self) -> list[Client]:
        """Return the clients that are connected now."""
        with self._lock:
            live = [client for group in self._groups.values() for client in group.members]
            return [*live, *self._apart]

    def on_events_stored(self, sender: Flask, events: list[Event]) -> None:
        """Hand the events to every client that lets them through: the sink's signal receiver."""
        wanted = [event for event in events if self._match.matches(event.event_type)]
        if not wanted:
            return
        with self._lock:
            targets = []
            for filter, group in self._groups.items():
                if group.outboxes is None:
                    group.outboxes = tuple([client.outbox for client in group.members])
                targets.append((filter, group.outboxes))
        # By the places in `wanted` of the events that they let through.
        groups: dict[tuple[int, ...], list[tuple[Outbox, ...]]] = {}
        every = tuple(range(len(wanted)))
        for filter, outboxes in targets:
            places = every
            if not filter.everything:
                places = tuple([n for n in every if filter.matches(wanted[n].event_type)])
            if places:
                groups.setdefault(places, []).append(outboxes)
        for places, alike in groups.items():
            for chunk in chunks([Frame.of(wanted[n], self._memory) for n in places]):
                self._deliver(chunk, alike)

    def on_events_lost(self, first_id: int, last_id: int) -> None:
        """Tell every client that these events were pruned before they could be streamed."""
        with self._lock:
            groups = [(filter, list(group.members)) for filter, group in self._groups.items()]
        for filter, clients in groups:
            everything = filter.everything and self._match.everything
            count = last_id - first_id + 1 if everything else None
            gap = Chunk.gap(count, first_id, last_id, self._memory)
            for client in clients:
                client.outbox.send(gap)
                client.missed += count or 0
                metrics.get().sink(self.name).missed(count or 0)
            gap.wire = b""

    def _deliver(self, chunk: Chunk, groups: list[tuple[Outbox, ...]]) -> None:
        for outboxes in groups:
            written = 0
            for outbox in outboxes:
                written += outbox.send(chunk)
            if written:
                counts = metrics.get().sink(self.name)
                counts.delivered(written, time.time() - chunk.stored_at, "direct")
        # Where it waits, it waits as frames.
        chunk.wire = b""

    def add(self, client: Client) -> None:
        """Let the client have the events from now on. Called under the relay's lock."""
        with self._lock:
            group = self._groups.setdefault(client.filter, _Group())
            group.members[client] = None
            group.outboxes = None
            self._apart.pop(client, None)

    def set_apart(self, client: Client) -> None:
        """Let the client, which reads from the log, have no events until it is added again."""
        with self._lock:
            self._remove(client)
            self._apart[client] = None

    def discard(self, client: Client) -> None:
        """Let the client have no more events."""
        with self._lock:
            self._remove(client)
            self._apart.pop(client, None)

    def _remove(self, client: Client) -> None:
        group = self._groups.get(client.filter)
        if group is not None:
            group.members.pop(client, None)
            group.outboxes = None
            if not group.members:
                del self._groups[client.filter]

    def blueprint(self, host: Host) -> Blueprint:
        """Return the blueprint with the sink's one route."""
        blueprint = Blueprint(self.name, __name__, url_prefix=f"/{self.name}")

        def stream() -> Response:
            return self._respond(host)

        blueprint.teardown_request(_give_back)
        blueprint.add_url_rule(
            self.settings.path, "stream", stream, methods=["GET"], strict_slashes=False
        )
        if self.settings.cors_origins:
            cors.allow(blueprint, self.settings.cors_origins, expose=[LOG_HEADER])
        return blueprint

    def _respond(self, host: Host) -> Response:
        try:
            filter = parse_query(request.args.getlist("event_type"))
        except ValueError as error:
            return problem(400, "Malformed event_type", str(error))
        try:
            asked = self._asked()
        except ValueError as error:
            return problem(400, "Malformed last event id", str(error))
        if request.method == "HEAD":
            try:
                # An iterator, for which nobody works out a Content-Length.
                return Response(iter(()), headers=self._headers(host))
            except LogUnavailable as error:
                cause = public_cause(error)
                return problem(503, _AWAY, cause, retry_after=math.ceil(self._pause()))
        if not host.can_stream(request.environ):
            metrics.get().sink(self.name).refused()
            detail = "streams need threads, which this server hasn't; its log says more"
            return problem(503, "No streams here", detail)
        client = Client(self.name, filter, request.remote_addr, self.settings)
        try:
            slot = host.admit(self, client.address, request.environ)
        except ServerStopping as error:
            return self._refuse(client, "Server stopping", str(error), for_a_moment=True)
        except TooManyClients as error:
            return self._refuse(client, "Too many clients", str(error))
        try:
            return self._admitted(host, client, slot, asked)
        except BaseException:
            slot.give_back()
            raise

    def _admitted(
        self, host: Host, client: Client, slot: Slot, asked: ResumePosition | None
    ) -> Response:
        """Answer a client that has a slot."""
        away: LogUnavailable | None
        try:
            relay = host.started()
            away = relay.away
        except LogUnavailable as error:
            away = error
        if away is not None:
            slot.give_back()
            return self._refuse(client, _AWAY, public_cause(away), for_a_moment=True)
        session = self._session(host, client, relay, slot, asked)
        response = self._stream_response(session, self._headers(host))
        setattr(g, _SLOT, slot)
        return response

    def _session(
        self, host: Host, client: Client, relay: Relay, slot: Slot, asked: ResumePosition | None
    ) -> Session:
        """Return the session of a client that was admitted."""
        subscription = Subscription(self, relay, client)
        session = Session(_this_app(), client, subscription, slot, host.watcher)
        session.environ = request.environ
        session.peer = Connection.of(request.environ)
        session.lane = host.lane(request.environ)
        if self.settings.replay.on:
            session.replay = Replay(
                *(host.log, self._match.narrowed(client.filter), self.settings.replay, asked),
                *(subscription.enter, subscription.set_apart, subscription.considered),
            )
        return session

    def _stream_response(self, session: Session, headers: dict[str, str]) -> Response:
        kind = current_app.response_class
        if self._response_class is None or not issubclass(self._response_class, kind):
            self._response_class = streamed(kind)
        response = self._response_class(session, headers=headers)
        # Whatever the app puts in the place of the session as the response's body.
        response.call_on_close(session.close)
        return response

    def _asked(self) -> ResumePosition | None:
        """Return where the request wants to go on."""
        if not self.settings.replay.on:
            return None
        query = request.args
        header = request.headers.get("Last-Event-ID")
        named = (query.get(name, "").strip() for name in replay.QUERY_NAMES)
        return replay.parse(header, next(filter(None, named), None), query.get("log"))

    def _headers(self, host: Host) -> dict[str, str]:
        if not self.settings.replay.on:
            return HEADERS
        return {**HEADERS, LOG_HEADER: host.started().identity}

    def _refuse(
        self, client: Client, title: str, detail: str, *, for_a_moment: bool = False
    ) -> Response:
        """Answer a client for which there is no room now.

        What passes by itself costs no EventSource its stream: after a 503 it would never come
        back. It alone asks for nothing else than a stream.
        """
        retry = self.settings.when_full == "retry"
        if for_a_moment and request.headers.get("Accept", "").strip() == "text/event-stream":
            retry = True
        refuse(_this_app(), client)
        seconds = self._pause()
        if retry:
            return Response(frame.busy(round(seconds * 1000)), headers=HEADERS)
        return problem(503, title, detail, retry_after=math.ceil(seconds))

    def _pause(self) -> float:
        """Return after how many seconds a client may come back; not all at once."""
        return max(1.0, self.settings.retry) * random.uniform(1, 2)
