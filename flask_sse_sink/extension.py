"""The Flask extension: puts log, relay, sinks and ingest together for an app."""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from flask import Flask, current_app, has_app_context
from werkzeug.exceptions import HTTPException
from werkzeug.routing import RequestRedirect

from . import metrics, signals
from .config import loading
from .config.settings import Settings, stream_url
from .event import Event, NewEvent, new_event, new_events
from .exceptions import ConfigError, LogUnavailable, ServerStopping, TooManyClients
from .log import Appended, EventLog, open_log
from .relay import Relay
from .retention import Retention
from .sinks.sse import Sink
from .stream import access_log, capacity
from .stream.admission import Slot, Slots
from .stream.chunk import release
from .stream.direct_socket import DirectSocket, why_none
from .stream.memory import Memory
from .stream.send_queue import shrink_fullest
from .stream.watcher import PATIENCE_SECONDS, Watcher
from .web import ingest
from .web.problem import public_cause

KEY = "sse_sink"

_log = logging.getLogger(__name__)

# How often a worker is asked whether it is to end: gunicorn calls no hook when it is told to,
# and none when it recycles.
_POLL_SECONDS = 0.1
_TICK_SECONDS = 0.5
# How often the log says at most that queues were cut short.
_WARNING_SECONDS = 60.0


class Engine:
    """What runs for one app in one process. Nothing starts before :meth:`started` is called.

    ``settings`` is the configuration, ``sinks`` has every :class:`~flask_sse_sink.sink.Sink` by
    its name.
    """

    def __init__(self, app: Flask, settings: Settings) -> None:
        self._app = weakref.ref(app)
        self.settings = settings
        #: Counts the frames that wait for the clients of all sinks.
        self.memory = Memory(settings.server.queue_bytes)
        self.sinks = {name: Sink(name, sink, self.memory) for name, sink in settings.sink.items()}
        self._reset()
        _engines.add(self)

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._pid = 0
        #: Says whether the process is about to end; asked ten times a second if it is set.
        self.ending: Callable[[], bool] | None = None
        server = self.settings.server
        self.slots = Slots(server.max_clients, server.max_clients_per_address)
        self.draining = False
        self._draining_since = 0.0
        self._measured = False
        #: Why events aren't sent directly, as far as it was logged.
        self._told: set[str] = set()
        self._next_look = 0.0
        self._next_warning = 0.0
        self.log: EventLog = open_log(self.settings.database)
        self._relay: Relay | None = None
        self._retention: Retention | None = None
        self._watcher: Watcher | None = None

    def _after_fork(self) -> None:
        """Begin anew in a child: threads don't cross a fork, and SQLite's connections mustn't.

        What the parent had open is kept, unused: closing it here could disturb the parent.
        """
        if self._pid:
            _inherited.append((self.log, self._relay, self._watcher))
            for sink in self.sinks.values():
                sink.reset()
            self.memory.reset()
            self._reset()

    def started(self) -> Relay:
        """Return this process's relay; the first call opens the log and starts the threads.

        :raises LogUnavailable: the log can't be opened.
        """
        relay = self._relay
        if relay is not None:
            return relay
        with self._lock:
            return self._relay or self._start()

    def _start(self) -> Relay:
        """Start every part, or none: one that can't start leaves no thread and no descriptor."""
        database = self.settings.database
        with ExitStack() as undo:
            undo.callback(self.log.close)
            relay = Relay(self.log, self._emit, self._supervise, self._lose, self.end_streams)
            relay.start()
            undo.callback(relay.stop)
            retention = Retention(self.log, database.retention, database.retention_count)
            retention.start()
            undo.callback(retention.stop)
            if self.ending is None and (worker := capacity.gunicorn_worker()) is not None:
                self.ending = capacity.ending(worker)
            watcher = Watcher(self._tick, _POLL_SECONDS if self.ending else self._tick_seconds())
            undo.callback(watcher.stop)
            watcher.start()
            undo.pop_all()
        self._retention, self._watcher = retention, watcher
        self._pid = os.getpid()
        self._relay = relay
        return relay

    @property
    def relay(self) -> Relay | None:
        """Return the relay if it was started."""
        return self._relay

    @property
    def watcher(self) -> Watcher:
        """Return what watches the streams' peers; :meth:`started` comes first."""
        assert self._watcher is not None, "not started"
        return self._watcher

    def lane(self, environ: dict[str, Any]) -> DirectSocket | None:
        """Return the direct lane to the client of a request, None where it can't be safe."""
        if not self.settings.server.direct_send:
            return None
        lane = DirectSocket.of(environ)
        if lane is None and (reason := why_none(environ)) and reason not in self._told:
            self._told.add(reason)
            _log.warning(
                "events aren't sent directly: %s. Until then each event wakes the thread of each "
                "stream, at some ten times the cost. (server.direct_send: false says that this "
                "is meant)",
                reason,
            )
        return lane

    def can_stream(self, environ: Mapping[str, Any]) -> bool:
        """Return whether the process has threads at all; its log says why it hasn't."""
        if not capacity.greenlets():
            return True
        if not self._measured:
            self.fit(capacity.capacity(environ))
        return False

    def failure(self) -> str:
        """Return why events can't be stored and streamed now, empty if they can.

        In short, for anybody to read; the log has the whole of it. Proving that the event log can
        be written is left to the caller.
        """
        if self.draining:
            return "the server is stopping"
        try:
            relay = self.started()
        except LogUnavailable as error:
            return public_cause(error)
        self._supervise()
        if relay.away is not None:
            return public_cause(relay.away)
        if relay.loop.failure:
            return "the relay doesn't run"
        if self.watcher.loop.failure:
            return "the watcher doesn't run"
        return ""

    def admit(self, sink: Sink, address: str | None, environ: Mapping[str, Any]) -> Slot:
        """Let one more stream in, and return its slot.

        :raises TooManyClients: there is no room, or the process is about to end.
        """
        if not self._measured:
            self.fit(capacity.capacity(environ))
        if self.draining:
            raise ServerStopping("the server is stopping; come back in a moment")
        if not self.slots.most:
            raise TooManyClients(
                "the server has no thread to spare for a stream; its log says why"
            )
        return self.slots.take(sink.name, sink.settings.max_clients, address)

    def fit(self, capacity: capacity.Capacity) -> None:
        """Lower the number of streams to what the server can carry, and say so in the log."""
        self._measured = True
        if capacity.streams < self.slots.most:
            self.slots.most = capacity.streams
            _log.warning(
                "at most %d streams are admitted instead of server.max_clients: %d, as more would "
                "leave nothing to the rest; bounded by %s",
                capacity.streams,
                self.settings.server.max_clients,
                capacity.bound,
            )

    def append(self, events: Sequence[NewEvent]) -> Appended:
        """Store the events, then stream them; return when they are stored for good.

        :raises LogUnavailable: they can't be stored; none of them was.
        """
        relay = self.started()
        result = self.log.append(events)
        metrics.get().stored(result.accepted, result.duplicates)
        if result.accepted:
            relay.pump_stored()
        return result

    def end_streams(self) -> int:
        """Tell every stream to end, and return how many were open."""
        clients = [client for sink in self.sinks.values() for client in sink.clients]
        for client in clients:
            client.end("drained")
        return len(clients)

    def drain(self) -> int:
        """Let no stream in any more and end those there are; return how many are still open.

        To be called again until that is none: what doesn't end by itself within a second is cut.
        """
        now = time.monotonic()
        if not self.draining:
            self.draining, self._draining_since = True, now
        # One may have been joining at this moment; its peer is watched from then on.
        left = self.end_streams()
        if self._watcher is not None and now - self._draining_since > PATIENCE_SECONDS:
            left += self._watcher.cut()
        return left

    def close(self) -> None:
        """End every stream and thread and close the log; the next use starts them again."""
        with self._lock:
            self._close()

    def _close(self) -> None:
        self.end_streams()
        # In reverse; each is done although another fails.
        with ExitStack() as steps:
            steps.callback(self.log.close)
            for part in (self._watcher, self._retention, self._relay):
                if part is not None:
                    steps.callback(part.stop)
        self._relay = self._retention = self._watcher = None
        self._pid = 0

    def _tick_seconds(self) -> float:
        """Return how often stalls have to be looked for."""
        shortest = min((s.settings.write_timeout for s in self.sinks.values()), default=1.0)
        return max(_POLL_SECONDS, min(_TICK_SECONDS, shortest / 4))

    def _tick(self) -> None:
        if self._app() is None:
            self._close_unused()
            return
        if self.ending is not None and self.ending():
            self.drain()
        now = time.monotonic()
        if now >= self._next_look:
            self._next_look = now + 1.0
            self._supervise()
            self.slots.settle()
            metrics.get().waiting_bytes(self.memory.used)
            for name, sink in self.sinks.items():
                waiting = [client.waiting for client in sink.clients]
                metrics.get().sink(name).queued(sum(waiting), max(waiting, default=0))

    def _close_unused(self) -> None:
        """Close what runs for an app that was collected, which nobody can ask for any more.

        This is the watcher's own thread; whoever has the lock closes already, and waits for it.
        """
        if self._lock.acquire(blocking=False):
            try:
                self._close()
            finally:
                self._lock.release()

    def _supervise(self) -> None:
        """Start again what ended although nobody told it to; threads look after each other."""
        for part in (self._relay, self._retention, self._watcher):
            if part is not None:
                part.loop.ensure()

    def _emit(self, events: list[Event]) -> None:
        app = self._app()
        if app is not None:
            signals.emit(signals.events_stored, app, events=events)
            release(events)
            if self.memory.exceeded:
                self._shrink_queues()

    def _shrink_queues(self) -> None:
        """Let the fullest queues lose what is too much for the process."""
        clients = [client for sink in self.sinks.values() for client in sink.clients]
        shrink_fullest([client.outbox for client in clients], self.memory)
        now = time.monotonic()
        if now >= self._next_warning:
            self._next_warning = now + _WARNING_SECONDS
            _log.warning(
                "more than server.queue_bytes: %d waits for slow clients; the fullest queues lose "
                "their oldest events, which `missed` tells their clients",
                self.memory.limit,
            )

    def _lose(self, first_id: int, last_id: int) -> None:
        for sink in self.sinks.values():
            sink.on_events_lost(first_id, last_id)


_engines: weakref.WeakSet[Engine] = weakref.WeakSet()
_inherited: list[object] = []


def _begin_anew() -> None:
    for engine in list(_engines):
        engine._after_fork()


os.register_at_fork(after_in_child=_begin_anew)


def _end_well() -> None:
    """Let streams on daemon threads, as Flask's development server has, end with a whole frame."""
    until = time.monotonic() + PATIENCE_SECONDS
    mine = [engine for engine in list(_engines) if engine._pid == os.getpid()]
    while sum(engine.drain() for engine in mine) and time.monotonic() < until:
        time.sleep(0.01)


# Before the threads are joined there is no hook, after it there are only daemon threads left.
atexit.register(_end_well)


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
        engine = Engine(app, settings)
        _refuse_met_routes(app, settings, origin)
        metrics.check_folder()
        if not inspected:
            engine.log.inspect()
        if app.url_map.host_matching:
            _log.warning(
                "the app matches hosts (host_matching=True), so its sinks and its ingest endpoint "
                "are found on none. Give SSESink a Flask app of its own, and mount that with "
                "werkzeug's DispatcherMiddleware."
            )
        for sink in engine.sinks.values():
            app.register_blueprint(sink.blueprint(engine))
            signals.events_stored.connect(sink.on_events_stored, sender=app)
        signals.client_connected.connect(access_log.on_connected, sender=app)
        signals.client_disconnected.connect(access_log.on_disconnected, sender=app)
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

    def publish_many(self, events: Iterable[Mapping[str, Any]]) -> Appended:
        """Store a batch, all or nothing, and stream it; each event is shaped like the envelope.

        :raises InvalidEvent: some of them are wrong, which it names by index; none was stored.
        :raises LogUnavailable: none was stored.
        :raises RuntimeError: it isn't clear which app is meant.
        """
        return self._engine().append(new_events(events))

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
