"""The sink type ``sse``: streams events to clients that hold a connection.

The module is longer than the others: every answer that one URL may give stands in it.
"""

from __future__ import annotations

import math
import random
from typing import Any, cast

from flask import Flask, Request, Response, current_app, g, request

from .. import metrics
from ..access.authenticate import readable
from ..access.credentials import Rules
from ..access.refusal import Refusal
from ..config import sink_types
from ..config.sink_types import Route, SinkType
from ..description.blueprint import DescribedBlueprint
from ..event import Event
from ..exceptions import LogUnavailable, ServerStopping, TooManyClients
from ..stream import frame
from ..stream.admission import Slot
from ..stream.client import Client
from ..stream.connection import Connection
from ..stream.delivery import Delivery
from ..stream.formats import FORMATS
from ..stream.membership import Membership
from ..stream.probe import Probe
from ..stream.replay import Replay
from ..stream.response import stream_response_class
from ..stream.session import Session, refuse
from ..stream.settings import SSESettings
from ..stream.subscribers import Subscribers
from ..stream.subscription import MalformedRequest, Subscription, parse_subscription
from ..web import access, cors, request_id
from ..web.problem import problem, public_cause
from ..web.tickets import mask_tickets
from .base import Host, Parts, Sink
from .sse_description import LOG_HEADER, describe

HEADERS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-cache, no-transform",
    "X-Accel-Buffering": "no",
}

# Where a request has the slot of its stream, in Flask's `g`.
_SLOT = "_sse_sink_slot"

_AWAY = "The event log is away"


class SSE(Sink):
    """A sink with one route, which streams the events that ``settings.match`` lets through."""

    def __init__(self, name: str, settings: SSESettings, host: Host) -> None:
        (route,) = _urls(name, settings)
        blueprint = DescribedBlueprint(
            name,
            __name__,
            lambda _: describe(name, settings, route.url),
            url_prefix=f"/{name}",
        )
        super().__init__(name, blueprint)
        self.settings = settings
        self.subscribers = Subscribers(
            name, settings.match.filter, host.memory, FORMATS[settings.format]
        )
        self._host = host
        self._response_class: type[Response] | None = None
        mask_tickets(blueprint)
        origins = settings.cors_origins if settings.cors_credentials else []
        #: The origins whose pages may send their cookies.
        self.cookie_origins = frozenset(origins)
        self._rules = Rules(name, tickets=True, origins=self.cookie_origins)
        blueprint.teardown_request(_give_slot_back)
        blueprint.add_url_rule(
            settings.path, "stream", self.respond, methods=["GET"], strict_slashes=False
        )
        if settings.cors_origins:
            exposed = [LOG_HEADER]
            if settings.access == "token":
                exposed += access.EXPOSED_HEADERS
            cors.allow(blueprint, settings.cors_origins, exposed, settings.cors_credentials)

    @property
    def clients(self) -> list[Client]:
        return self.subscribers.clients

    @property
    def write_timeout(self) -> float:
        return self.settings.write_timeout

    def on_events_stored(self, sender: Flask, events: list[Event]) -> None:
        self.subscribers.dispatch(cast(Delivery, events))

    def on_gap(self, first_id: int, last_id: int) -> None:
        self.subscribers.on_gap(first_id, last_id)

    def reset(self) -> None:
        self.subscribers.reset()

    def respond(self) -> Response:
        """Answer a request for the stream: the sink's view."""
        # Flask's `request` looks up the request of this thread each time that it is used.
        current: Request = request._get_current_object()  # type: ignore[attr-defined] # a proxy
        environ = current.environ
        try:
            subscription = self._subscription(current)
        except MalformedRequest as error:
            return problem(400, error.title, str(error))
        except Refusal as refusal:
            return self._refuse_access(refusal)
        if current.method == "HEAD":
            return self._respond_to_head()
        if not self._host.admission.has_threads(environ):
            metrics.get().sink(self.name).refused()
            detail = "streams need threads, which this server hasn't; its log says more"
            return problem(503, "No streams here", detail)
        filter, principal = subscription.filter, subscription.principal
        client = Client(self.name, filter, current.remote_addr, self.settings, principal)
        client.request_id = request_id.of(environ)
        try:
            with self._host.admission.admit(
                self.name, self.settings.max_clients, client.address
            ) as slot:
                return self._respond_admitted(environ, client, subscription, slot)
        except ServerStopping as error:
            return self._refuse(client, "Server stopping", str(error), is_temporary=True)
        except TooManyClients as error:
            return self._refuse(client, "Too many clients", str(error))

    def _subscription(self, request: Request) -> Subscription:
        """Return what the request asks for, narrowed to what it is allowed.

        :raises Refusal: it isn't allowed anything of that.
        :raises MalformedRequest: its query or headers can't be used.
        """
        principal = None
        if self.settings.access == "token":
            rules = self._rules._replace(cookies=request.method == "GET")
            principal = access.authenticate(self._host.access, rules)
        subscription = parse_subscription(
            request.args.to_dict(flat=False),
            request.environ.get("HTTP_LAST_EVENT_ID"),
            self.settings.replay.on,
        )
        if principal is None:
            return subscription
        filter = readable(principal, self.name, subscription.filter)
        return subscription._replace(filter=filter, principal=principal)

    def _refuse_access(self, refusal: Refusal) -> Response:
        access.record(refusal, f"a stream of {self.name}", request.remote_addr)
        if refusal.is_temporary and self._streams_busy(is_temporary=True):
            return self._busy(self._retry_seconds())
        return access.refusal_response(refusal)

    def _respond_to_head(self) -> Response:
        try:
            # An iterator, as for other bodies a Content-Length is worked out.
            return Response(iter(()), headers=self._headers())
        except LogUnavailable as error:
            retry_after = math.ceil(self._retry_seconds())
            return problem(503, _AWAY, public_cause(error), retry_after=retry_after)

    def _respond_admitted(
        self, environ: dict[str, Any], client: Client, subscription: Subscription, slot: Slot
    ) -> Response:
        away: LogUnavailable | None
        try:
            parts = self._host.started()
            away = parts.relay.away
        except LogUnavailable as error:
            away = error
        if away is not None:
            slot.give_back()
            return self._refuse(client, _AWAY, public_cause(away), is_temporary=True)
        session = self._session(client, subscription, slot, parts)
        session.environ = environ
        session.connection = Connection.of(environ)
        session.direct = self._host.direct_sockets.of(environ)
        if frames := subscription.probe_frames:
            is_direct = session.direct is not None
            session.probe = Probe.of(environ, frames, self.settings.heartbeat_timeout, is_direct)
        response = self._stream_response(session)
        setattr(g, _SLOT, slot)
        return response

    def _session(
        self, client: Client, subscription: Subscription, slot: Slot, parts: Parts
    ) -> Session:
        membership = Membership(self.subscribers, parts.relay, client)
        session = Session(_this_app(), client, slot, membership, parts.watcher)
        session.heartbeats = parts.heartbeats
        session.guard = parts.guard if client.principal is not None else None
        bound = self.settings.replay
        if bound.on:
            filter = self.subscribers.match.narrowed(subscription.filter)
            session.replay = Replay(
                self._host.log, filter, bound, subscription.position, membership
            )
        if subscription.wants_settings:
            log = parts.relay.identity if bound.on else None
            session.notice = frame.settings(
                self.settings.heartbeat_timeout, self.settings.retry, log
            )
        return session

    def _stream_response(self, session: Session) -> Response:
        kind = current_app.response_class
        if self._response_class is None or not issubclass(self._response_class, kind):
            self._response_class = stream_response_class(kind)
        response = self._response_class(session, headers=self._headers())
        # The app may put something else in the place of the session as the response's body.
        response.call_on_close(session.close)
        return response

    def _headers(self) -> dict[str, str]:
        if not self.settings.replay.on:
            return HEADERS
        return {**HEADERS, LOG_HEADER: self._host.started().relay.identity}

    def _refuse(
        self, client: Client, title: str, detail: str, *, is_temporary: bool = False
    ) -> Response:
        """Answer a client that isn't let in."""
        refuse(_this_app(), client)
        seconds = self._retry_seconds()
        if self._streams_busy(is_temporary):
            return self._busy(seconds)
        return problem(503, title, detail, retry_after=math.ceil(seconds))

    def _streams_busy(self, is_temporary: bool) -> bool:
        """Return whether a refusal is answered with a stream that says when to come back.

        An EventSource never reconnects after a 503. So a refusal that is soon over is answered
        with such a stream. An EventSource is known by its Accept header, which asks for nothing
        but a stream.
        """
        if self.settings.when_full == "retry":
            return True
        accepted = request.headers.get("Accept", "").strip()
        return is_temporary and accepted == "text/event-stream"

    def _busy(self, seconds: float) -> Response:
        return Response(frame.busy(round(seconds * 1000)), headers=HEADERS)

    def _retry_seconds(self) -> float:
        """Return after how many seconds a refused client may come back, jittered."""
        return max(1.0, self.settings.retry) * random.uniform(1, 2)


def _this_app() -> Flask:
    app: Flask = current_app._get_current_object()  # type: ignore[attr-defined] # a proxy
    return app


def _give_slot_back(error: BaseException | None) -> None:
    """Give the slot back where a hook of the app raised, as the stream's response is dropped.

    The error, which refers to the response, may be kept for long: without this, so would the slot.
    """
    slot: Slot | None = g.pop(_SLOT, None)
    if slot is not None and error is not None:
        slot.give_back()


def _urls(name: str, settings: SSESettings) -> list[Route]:
    patterns = ", ".join(settings.match.filter.types.values())
    return [Route("GET", f"/{name}{settings.path}", f"lets through {patterns}", stream=True)]


sink_types.register(SinkType("sse", SSESettings, _urls, SSE))
