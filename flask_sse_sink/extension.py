"""The Flask extension: gives an app its sinks, its endpoints, and the methods of ``SSESink``.

The module is longer than the others: the documentation of the public methods stands in it.
"""

from __future__ import annotations

import logging
import os
import weakref
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, overload

from flask import Blueprint, Flask, current_app, has_app_context
from werkzeug.exceptions import HTTPException
from werkzeug.routing import RequestRedirect

from . import metrics, revoking, signals
from .access import selection_json
from .access.app import AppAuthorizer, Authorize
from .access.grants import Grants, ReadGrant
from .config import loading
from .config.access_checks import unusable_sinks
from .config.settings import TICKETS_PATH, Settings
from .config.sink_types import routes
from .description.openapi import Version
from .exceptions import ConfigError
from .filters import Filter
from .log import Appended
from .runtime import Runtime
from .sinks.sse import SSE
from .stream import access_log
from .submission import new_event, new_events
from .web import description, ingest, request_id, tickets

#: Where an app has its :class:`~flask_sse_sink.runtime.Runtime` in ``app.extensions``.
KEY = "sse_sink"

_log = logging.getLogger(__name__)


class SSESink:
    """The extension. ``SSESink(app)``, or ``sse = SSESink()`` and later ``sse.init_app(app)``.

    ``config`` is a mapping shaped like the configuration file, or the path of such a file. Without
    it, ``app.config["SSE_SINK"]`` (a mapping) or ``app.config["SSE_SINK_CONFIG"]`` (a path) is
    taken, then the environment's ``SSE_SINK_CONFIG``, then ``config.yaml``.
    """

    def __init__(
        self,
        app: Flask | None = None,
        config: Mapping[str, Any] | str | os.PathLike[str] | None = None,
    ) -> None:
        self._config = config
        self._apps: weakref.WeakSet[Flask] = weakref.WeakSet()
        self._authorizer = AppAuthorizer()
        if app is not None:
            self.init_app(app)

    def init_app(
        self, app: Flask, config: Mapping[str, Any] | str | os.PathLike[str] | None = None
    ) -> None:
        """Register the sinks and the ingest endpoint with the app. Starts and opens nothing.

        :raises ConfigError: the configuration holds mistakes, or a route meets another.
        :raises LogUnusable: what the database's file holds is damaged or not a log of ours.
        :raises RuntimeError: the app has the extension already.
        """
        if KEY in app.extensions:
            raise RuntimeError(
                "this app has an SSESink already. Was init_app called twice, "
                "or after SSESink(app)?"
            )
        settings, origin, inspected = _settings(app, self._config if config is None else config)
        runtime = Runtime(app, settings)
        _refuse_met_routes(app, settings, origin)
        metrics.check_folder()
        if not inspected:
            runtime.log.inspect()
        if app.url_map.host_matching:
            _log.warning(
                "the app matches hosts (host_matching=True), so its sinks and its ingest endpoint "
                "are found on none. Give SSESink a Flask app of its own, and mount that with "
                "werkzeug's DispatcherMiddleware."
            )
        if warning := unusable_sinks(settings):
            _log.warning("%s", warning)
        for sink in runtime.sinks.values():
            _register(app, sink.blueprint)
            signals.events_stored.connect(sink.on_events_stored, sender=app)
        signals.client_connected.connect(access_log.on_connected, sender=app)
        signals.client_disconnected.connect(access_log.on_disconnected, sender=app)
        _register(app, ingest.blueprint(settings.ingest, runtime.publish, runtime.access))
        runtime.access.authorizer = self._authorizer
        if runtime.tickets is not None:
            origins = _cookie_origins(runtime)
            _register(app, tickets.blueprint(runtime.access, runtime.tickets, origins))
        request_id.note_in_logs()
        app.extensions[KEY] = runtime
        self._apps.add(app)

    def publish(
        self,
        event_type: str,
        data: Any = None,
        *,
        event_id: str | None = None,
        entity_id: str | None = None,
        source: str | None = None,
        meta: Mapping[str, Any] | None = None,
    ) -> int:
        """Store an event and stream it; return its id, or the one that it has already.

        ``data`` may hold whatever msgspec encodes as JSON: the JSON types, dates, UUIDs,
        dataclasses and the like; none given is ``{}``. Works in a view, a CLI command or a
        thread; in a thread without an app context too if this extension has a single app.

        :raises InvalidEvent: a field is wrong, or can't be encoded.
        :raises LogUnavailable: it was not stored.
        :raises RuntimeError: it isn't clear which app is meant.
        """
        event = new_event(
            event_type,
            {} if data is None else data,
            event_id=event_id,
            entity_id=entity_id,
            source=source,
            meta=meta,
        )
        return self._runtime().publish([event]).ids[0]

    def publish_many(self, events: Iterable[Mapping[str, Any]]) -> Appended:
        """Store a batch, all or nothing, and stream it; each event is shaped like the envelope.

        :raises InvalidEvent: some of them are wrong, which it names by index; none was stored.
        :raises LogUnavailable: none was stored.
        :raises RuntimeError: it isn't clear which app is meant.
        """
        return self._runtime().publish(new_events(events))

    @overload
    def authorizer(self, function: Authorize) -> Authorize: ...

    @overload
    def authorizer(self, *, subject: Callable[[], object]) -> Callable[[Authorize], Authorize]: ...

    def authorizer(
        self,
        function: Authorize | None = None,
        *,
        subject: Callable[[], object] | None = None,
    ) -> Authorize | Callable[[Authorize], Authorize]:
        """Have a function decide what the app's own users may read: a decorator.

        ``function(sink)`` is called in the request's context, for each request to a sink with
        ``access: token``, and returns :class:`~flask_sse_sink.Grants`. None leaves the decision
        to tokens, tickets and cookies. ``subject``, if given, returns a name of the user, whom
        :meth:`revoke` then knows::

            @sse.authorizer(subject=lambda: current_user.get_id())
            def may_read(sink): ...
        """

        def decorate(function: Authorize) -> Authorize:
            self._authorizer.set(function, subject)
            return function

        return decorate if function is None else decorate(function)

    def ticket(self, sink: str, *, subject: object = None, **only: object) -> str:
        """Return a URL that opens a sink's stream, for a page that the app renders.

        Whoever has the URL reads the events that the keywords ``entity_id``, ``event_type`` and
        ``source`` select; each has one value or a list. The URL opens streams for
        ``access.ticket_ttl`` seconds; they stay open until ``subject`` is revoked. Without a
        ``subject``, the authorizer's is taken. To be called in a request.

        :raises ValueError: there is no such sink, or a value can't be used, such as None.
        :raises RuntimeError: no ``access.secret`` is configured, or there is no request.
        """
        runtime = self._runtime()
        if runtime.tickets is None:
            raise RuntimeError("tickets need a secret to sign with: set access.secret")
        if sink not in _cookie_origins(runtime):
            raise ValueError(f"{sink!r} is no sink that streams")
        events = selection_json.from_json(only)
        grants = Grants((ReadGrant(frozenset((sink,)), events),))
        principal = self._authorizer.principal(grants, subject)
        ticket, _ = runtime.tickets.make(principal, sink, Filter((events,)))
        return tickets.stream_url(sink, ticket)

    def revoke(self, subject: str, issuer: str | None = None) -> None:
        """Refuse what a subject was issued until now, and end its streams within two seconds.

        That is so in every process that shares the log. ``subject`` is the ``sub`` of JWTs, the
        name of a static token, or what the authorizer says. Without an ``issuer`` it means every
        subject of this name. A static token is refused until :meth:`unrevoke`.

        :raises LogUnavailable: it can't be stored; nobody was revoked.
        :raises RuntimeError: it isn't clear which app is meant.
        """
        revoking.revoke(self._runtime(), subject, issuer)

    def unrevoke(self, subject: str, issuer: str | None = None) -> bool:
        """Take a revocation back; return false where there was none of this subject and issuer.

        :raises LogUnavailable: it can't be stored.
        :raises RuntimeError: it isn't clear which app is meant.
        """
        return revoking.unrevoke(self._runtime(), subject, issuer)

    def openapi(self, version: Version = "3.1") -> dict[str, Any]:
        """Return the OpenAPI document of the sinks, and of the ingest and tickets endpoints.

        The app's own endpoints aren't in it. Nothing serves it: a view of the app may, to whom
        the app likes. Its server is relative, and right where the app is at the root of its host.

        :raises RuntimeError: it isn't clear which app is meant.
        """
        app = self._app()
        return description.openapi_document(app, runtime_of(app).settings, "/", version)

    def asyncapi(self, url: str) -> dict[str, Any]:
        """Return the AsyncAPI document of the sinks and of the ingest endpoint.

        ``url`` is where the app is, such as ``request.root_url``.

        :raises RuntimeError: it isn't clear which app is meant.
        """
        app = self._app()
        return description.asyncapi_document(app, runtime_of(app).settings, url)

    def close(self) -> None:
        """End the streams and threads of every app of this extension, and close the logs."""
        for app in list(self._apps):
            runtime: Runtime = app.extensions[KEY]
            runtime.close()

    def _runtime(self) -> Runtime:
        return runtime_of(self._app())

    def _app(self) -> Flask:
        if has_app_context() and KEY in current_app.extensions:
            return current_app
        apps = list(self._apps)
        if len(apps) != 1:
            raise RuntimeError(
                "no app to publish for. Did you forget to call 'init_app'?"
                if not apps
                else "several apps share this SSESink; which one is meant? "
                "Publish inside 'with app.app_context():'"
            )
        return apps[0]


def runtime_of(app: Flask) -> Runtime:
    """Return what runs for the app.

    :raises RuntimeError: it has no SSESink.
    """
    runtime: Runtime | None = app.extensions.get(KEY)
    if runtime is None:
        raise RuntimeError("this app has no SSESink. Did you forget to call 'init_app'?")
    return runtime


def _register(app: Flask, blueprint: Blueprint) -> None:
    """Register a blueprint whose answers name the id of their request."""
    request_id.install_for(blueprint, app)
    app.register_blueprint(blueprint)


def _cookie_origins(runtime: Runtime) -> dict[str, frozenset[str]]:
    """Return for each sink that streams the origins whose pages may send their cookies."""
    return {
        name: sink.cookie_origins for name, sink in runtime.sinks.items() if isinstance(sink, SSE)
    }


def _settings(
    app: Flask, given: Mapping[str, Any] | str | os.PathLike[str] | None
) -> tuple[Settings, str, bool]:
    """Return the settings, the name that errors give them, and whether their log was inspected."""
    if given is None:
        given = app.config.get("SSE_SINK")
    if isinstance(given, Mapping):
        origin = "SSE_SINK"
        return loading.from_mapping(dict(given), origin, Path(app.instance_path)), origin, False
    path = Path(given or app.config.get(loading.FILE_VARIABLE) or loading.default_file())
    # gunicorn's master inspected the log of what it holds. A worker that found it damaged would
    # end, and the master with it; one that starts answers 503 until the file is mended.
    return loading.load(path), str(path), loading.held(path) is not None


def _refuse_met_routes(app: Flask, settings: Settings, origin: str) -> None:
    """Refuse a path that the app answers already, and a sink named like one of its blueprints."""
    app_routes = app.url_map.bind("localhost")
    wanted = [(f"sink.{name}", route.url, route.method) for name, route in routes(settings.sink)]
    wanted.append(("ingest.path", settings.ingest.path, "POST"))
    if settings.access.secret.values:
        wanted.append(("access.secret", TICKETS_PATH, "POST"))
    problems = []
    for path, url, method in wanted:
        for variant in dict.fromkeys((url, url.rstrip("/") or "/")):
            try:
                endpoint, _ = app_routes.match(variant, method=method)
            except RequestRedirect:
                endpoint = f"{variant}/"
            except HTTPException:
                continue
            problems.append(
                f"{origin}: {path}: {url} meets the app's route {endpoint}; choose another"
            )
            break
    problems += [
        f"{origin}: sink.{name}: the app has a blueprint of this name; choose another"
        for name in settings.sink
        if name in app.blueprints
    ]
    if problems:
        raise ConfigError(problems)
