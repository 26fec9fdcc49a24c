"""The Flask extension: gives an app its sinks, its ingest endpoint, and ``publish``."""

from __future__ import annotations

import logging
import os
import weakref
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from flask import Flask, current_app, has_app_context
from werkzeug.exceptions import HTTPException
from werkzeug.routing import RequestRedirect

from . import metrics, signals
from .config import loading
from .config.settings import Settings
from .config.sink_types import routes
from .exceptions import ConfigError
from .log import Appended
from .runtime import Runtime
from .stream import access_log
from .submission import new_event, new_events
from .web import ingest

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
        for sink in runtime.sinks.values():
            app.register_blueprint(sink.blueprint)
            signals.events_stored.connect(sink.on_events_stored, sender=app)
        signals.client_connected.connect(access_log.on_connected, sender=app)
        signals.client_disconnected.connect(access_log.on_disconnected, sender=app)
        app.register_blueprint(ingest.blueprint(settings.ingest, runtime.publish))
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

    def close(self) -> None:
        """End the streams and threads of every app of this extension, and close the logs."""
        for app in list(self._apps):
            runtime: Runtime = app.extensions[KEY]
            runtime.close()

    def _runtime(self) -> Runtime:
        if has_app_context() and KEY in current_app.extensions:
            return runtime_of(current_app)
        apps = list(self._apps)
        if len(apps) != 1:
            raise RuntimeError(
                "no app to publish for. Did you forget to call 'init_app'?"
                if not apps
                else "several apps share this SSESink; which one is meant? "
                "Publish inside 'with app.app_context():'"
            )
        return runtime_of(apps[0])


def runtime_of(app: Flask) -> Runtime:
    """Return what runs for the app.

    :raises RuntimeError: it has no SSESink.
    """
    runtime: Runtime | None = app.extensions.get(KEY)
    if runtime is None:
        raise RuntimeError("this app has no SSESink. Did you forget to call 'init_app'?")
    return runtime


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
