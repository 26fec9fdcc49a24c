"""The Flask extension: puts log, relay, sinks and ingest together for an app."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from flask import Flask, current_app, has_app_context
from werkzeug.exceptions import HTTPException
from werkzeug.routing import RequestRedirect

from . import config, signals
from .event import Event, NewEvent, new_event
from .exceptions import ConfigError
from .log import Appended, EventLog, open_log
from .relay import Relay
from .retention import Retention
from .settings import Settings, stream_url
from .sink import Sink, Slots
from .views import ingest

KEY = "sse_sink"


class Engine:
    """What runs for one app in one process. Nothing starts before :meth:`started` is called.

    ``settings`` is the configuration, ``sinks`` has every :class:`~flask_sse_sink.sink.Sink` by
    its name.
    """

    def __init__(self, app: Flask, settings: Settings) -> None:
        self._app = weakref.ref(app)
        self.settings = settings
        self.slots = Slots(settings.server.max_clients)
        self.sinks = {name: Sink(name, sink, self.slots) for name, sink in settings.sink.items()}
        self._reset()
        _engines.add(self)

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._pid = 0
        self.log: EventLog = open_log(self.settings.database)
        self._relay: Relay | None = None
        self._retention: Retention | None = None

    def _after_fork(self) -> None:
        """Begin anew in a child: threads don't cross a fork, and SQLite's connections mustn't.

        What the parent had open is kept, unused: closing it here could disturb the parent.
        """
        if self._pid:
            _inherited.append((self.log, self._relay))
            self.slots = Slots(self.settings.server.max_clients)
            for sink in self.sinks.values():
                sink.reset(self.slots)
            self._reset()

    def started(self) -> Relay:
        """Return this process's relay; the first call opens the log and starts the threads.

        :raises LogUnavailable: the log can't be opened.
        """
        relay = self._relay
        if relay is not None:
            return relay
        with self._lock:
            if self._relay is None:
                relay = Relay(self.log, self._emit)
                relay.start()
                self._retention = Retention(self.log, self.settings.database.retention)
                self._retention.start()
                self._pid = os.getpid()
                self._relay = relay
            return self._relay

    @property
    def relay(self) -> Relay | None:
        """Return the relay if it was started."""
        return self._relay

    def append(self, events: Sequence[NewEvent]) -> Appended:
        """Store the events, then stream them; return when they are stored for good.

        :raises LogUnavailable: they can't be stored; none of them was.
        """
        relay = self.started()
        result = self.log.append(events)
        if result.accepted:
            relay.pump_stored()
        return result

    def end_streams(self) -> int:
        """Tell every stream to end, and return how many were open."""
        clients = [client for sink in self.sinks.values() for client in sink.clients]
        for client in clients:
            client.end("drained")
        return len(clients)

    def close(self) -> None:
        """End every stream and thread and close the log; the next use starts them again."""
        with self._lock:
            self.end_streams()
            if self._relay is not None:
                self._relay.stop()
            if self._retention is not None:
                self._retention.stop()
            self.log.close()
            self._relay = self._retention = None
            self._pid = 0

    def _emit(self, events: list[Event]) -> None:
        app = self._app()
        if app is not None:
            signals.emit(signals.events_stored, app, events=events)


_engines: weakref.WeakSet[Engine] = weakref.WeakSet()
_inherited: list[object] = []


def _begin_anew() -> None:
    for engine in list(_engines):
        engine._after_fork()


os.register_at_fork(after_in_child=_begin_anew)


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
        settings, origin = _settings(app, self._config if config is None else config)
        engine = Engine(app, settings)
        _refuse_met_routes(app, settings, origin)
        engine.log.inspect()
        for sink in engine.sinks.values():
            app.register_blueprint(sink.blueprint(engine.started))
            signals.events_stored.connect(sink.on_events_stored, sender=app)
        app.register_blueprint(ingest.blueprint(settings.ingest, engine.append))
        app.extensions[KEY] = engine
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
        return self._engine().append([event]).ids[0]

    def publish_many(self, events: Sequence[Mapping[str, Any]]) -> Appended:
        """Store a batch, all or nothing, and stream it; each event is shaped like the envelope.

        :raises InvalidEvent: one of them is wrong; none was stored.
        :raises LogUnavailable: none was stored.
        :raises RuntimeError: it isn't clear which app is meant.
        """
        return self._engine().append([new_event(**event) for event in events])

    def close(self) -> None:
        """End the streams and threads of every app of this extension, and close the logs."""
        for app in list(self._apps):
            engine: Engine = app.extensions[KEY]
            engine.close()

    def _engine(self) -> Engine:
        if has_app_context() and KEY in current_app.extensions:
            return engine_of(current_app)
        apps = list(self._apps)
        if len(apps) != 1:
            raise RuntimeError(
                "no app to publish for. Did you forget to call 'init_app'?"
                if not apps
                else "several apps share this SSESink; which one is meant? "
                "Publish inside 'with app.app_context():'"
            )
        return engine_of(apps[0])


def engine_of(app: Flask) -> Engine:
    """Return what runs for the app.

    :raises RuntimeError: it has no SSESink.
    """
    engine: Engine | None = app.extensions.get(KEY)
    if engine is None:
        raise RuntimeError("this app has no SSESink. Did you forget to call 'init_app'?")
    return engine


def _settings(
    app: Flask, given: Mapping[str, Any] | str | os.PathLike[str] | None
) -> tuple[Settings, str]:
    if given is None:
        given = app.config.get("SSE_SINK")
    if isinstance(given, Mapping):
        origin = "SSE_SINK"
        return config.from_mapping(dict(given), origin, Path(app.instance_path)), origin
    path = Path(given or app.config.get(config.FILE_VARIABLE) or config.default_file())
    return config.load(path), str(path)


def _refuse_met_routes(app: Flask, settings: Settings, origin: str) -> None:
    """Refuse a path that the app answers already, and a sink named like one of its blueprints."""
    routes = app.url_map.bind("localhost")
    wanted = [
        (f"sink.{name}", stream_url(name, sink), "GET") for name, sink in settings.sink.items()
    ]
    wanted.append(("ingest.path", settings.ingest.path, "POST"))
    problems = []
    for path, url, method in wanted:
        for variant in dict.fromkeys((url, url.rstrip("/") or "/")):
            try:
                endpoint, _ = routes.match(variant, method=method)
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
