"""What runs for one app in one process: starts, stops, survives forks.

The module is longer than the others: the order in which all parts start and stop is one idea.
"""

from __future__ import annotations

import logging
import math
import os
import platform
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from contextlib import ExitStack

from flask import Flask

from . import metrics, processes
from .access.from_settings import from_settings
from .access.revocation_follower import RevocationCheck, RevocationFollower
from .access.tickets import Tickets
from .config.databases import MEMORY_URL, is_in_memory, scheme_of
from .config.settings import Settings
from .config.sink_types import SINK_TYPES
from .dispatcher import Dispatcher
from .event import NewEvent
from .exceptions import LogUnavailable
from .log import Appended, EventLog, open_log
from .publisher import Publisher
from .relay import Relay
from .retention import Retention, RetentionHooks
from .sinks.base import Parts, Sink
from .stream.admission import Admission
from .stream.direct_socket import DirectSockets
from .stream.guard import Guard
from .stream.heartbeats import Heartbeats
from .stream.memory import Memory
from .stream.watcher import PATIENCE_SECONDS, Watcher
from .stream.wsgi_server import ending_check, gunicorn_worker
from .version import __version__
from .web.problem import public_cause

_log = logging.getLogger(__name__)

_MEMORY_OF_ONE = (
    "%s is for a single process, and there are %d workers: each streams only what it stored "
    "itself. Start one worker, or name a file in database.url"
)

# How often a worker is asked whether it is to end: gunicorn calls no hook when a worker is told
# to end, and none when a worker is recycled.
_ENDING_SECONDS = 0.1
_STALL_SECONDS = 0.5
_CHECK_SECONDS = 1.0


class Runtime:
    """The parts that run for an app in this process. None starts before :meth:`started`.

    ``settings`` is the configuration; ``sinks`` has every sink by its name.
    """

    def __init__(self, app: Flask, settings: Settings) -> None:
        self._app = weakref.ref(app)
        self.settings = settings
        #: Counts the frames that wait for the clients of all sinks.
        self.memory = Memory(settings.server.queue_bytes)
        self._reset()
        #: Says who sends a request.
        self.access = from_settings(settings, lambda: self.admission.spare_threads() // 2)
        self.access.revocations = RevocationCheck(lambda: self.started().revocations)
        secrets, ttl = settings.access.secret.values, settings.access.ticket_ttl
        #: Makes and reads tickets, None where no secret is configured.
        self.tickets = Tickets(secrets, ttl) if secrets else None
        self.access.tickets = self.tickets
        self.sinks: dict[str, Sink] = {
            name: SINK_TYPES[sink.type].create(name, sink, self)
            for name, sink in settings.sink.items()
        }
        self._dispatcher = Dispatcher(
            self._app, self.sinks, self.memory, on_tail=self._restart_threads
        )
        processes.register(self)

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._pid = 0
        #: Says whether the process is about to end; asked ten times a second.
        self.ending: Callable[[], bool] | None = None
        server = self.settings.server
        self.admission = Admission(server.max_clients, server.max_clients_per_address)
        self.direct_sockets = DirectSockets(server.direct_send)
        self.log: EventLog = open_log(self.settings.database)
        self._parts: Parts | None = None
        self._draining_since = 0.0
        self._next_check = 0.0

    def reset_after_fork(self) -> None:
        """Start over in a child: threads don't survive a fork, and SQLite's connections mustn't.

        What the parent had open is kept, unused: closing it here could disturb the parent.
        """
        self.access.reset()
        if self._pid:
            processes.keep((self.log, self._parts))
            for sink in self.sinks.values():
                sink.reset()
            self.memory.reset()
            self._reset()

    def started(self) -> Parts:
        """Return what runs in this process; the first call opens the log and starts the threads.

        :raises LogUnavailable: the log can't be opened.
        """
        parts = self._parts
        if parts is not None:
            return parts
        with self._lock:
            return self._parts or self._start()

    def _start(self) -> Parts:
        """Start every part; if one can't start, stop those before it."""
        database = self.settings.database
        worker = gunicorn_worker()
        if worker is not None and worker.cfg.workers > 1 and is_in_memory(database):
            _log.error(_MEMORY_OF_ONE, MEMORY_URL, worker.cfg.workers)
        with ExitStack() as undo:
            undo.callback(self.log.close)
            relay = Relay(self.log, self._dispatcher)
            relay.start()
            undo.callback(relay.stop)
            for sink in self.sinks.values():
                sink.start()
            retention = Retention(
                self.log,
                database.retention,
                database.retention_count,
                hooks=RetentionHooks(self._before_prune, self._maintain_sinks),
            )
            retention.start()
            undo.callback(retention.stop)
            if self.ending is None and worker is not None:
                self.ending = ending_check(worker)
            heartbeats = Heartbeats(relay)
            heartbeats.start()
            undo.callback(heartbeats.stop)
            stall_seconds = self._stall_seconds()
            tick_seconds = _ENDING_SECONDS if self.ending else stall_seconds
            revocations = RevocationFollower(
                self.log.revocations, self.settings.access.max_token_life
            )
            undo.callback(revocations.stop)
            guard = Guard(revocations.is_revoked)
            revocations.on_change = guard.end_revoked
            guard.start()
            undo.callback(guard.stop)
            watcher = Watcher(self._tick, tick_seconds, stall_seconds)
            undo.callback(watcher.stop)
            watcher.start()
            undo.pop_all()
        metrics.server().build(__version__, platform.python_version(), scheme_of(database))
        self._pid = os.getpid()
        self._parts = Parts(
            relay,
            Publisher(self.log, relay),
            watcher,
            heartbeats,
            retention,
            guard,
            revocations,
        )
        return self._parts

    @property
    def is_running(self) -> bool:
        """Return whether the parts were started in this process."""
        return self._parts is not None

    @property
    def pid(self) -> int:
        """Return the id of the process that the parts run in, 0 where they don't."""
        return self._pid

    @property
    def app(self) -> Flask | None:
        """Return the app, None where it no longer exists."""
        return self._app()

    def publish(self, events: Sequence[NewEvent]) -> Appended:
        """Store the events, all or none, and stream them; return once they are stored for good.

        :raises LogUnavailable: they can't be stored; none of them was.
        """
        return self.started().publisher.publish(events)

    def failure(self) -> str:
        """Return why events can't be stored and streamed now, empty if they can.

        The text is short and safe for anybody to read; the log has the details. Whether the event
        log can be written is for the caller to find out.
        """
        if self.admission.draining:
            return "the server is stopping"
        try:
            parts = self.started()
        except LogUnavailable as error:
            return public_cause(error)
        self._restart_threads()
        if parts.relay.away is not None:
            return public_cause(parts.relay.away)
        if parts.relay.thread.failure:
            return "the relay doesn't run"
        if parts.watcher.thread.failure:
            return "the watcher doesn't run"
        return ""

    def report(self) -> None:
        """Set the metrics that tell the present state of the log and the sinks."""
        try:
            status = self.log.status()
            for sink in self.sinks.values():
                sink.report()
        except LogUnavailable:
            metrics.server().log_away()
            return
        metrics.server().log_status(
            status.head, status.events, status.size_bytes, status.oldest_us / 1_000_000
        )

    def _before_prune(self, through: int) -> int:
        """Return up to which id events may be pruned: each sink may hold some back."""
        for sink in self.sinks.values():
            through = sink.before_prune(through)
        return through

    def _maintain_sinks(self) -> None:
        for sink in self.sinks.values():
            sink.maintain()

    def end_streams(self) -> int:
        """Tell every stream to end, and return how many were open."""
        return self._dispatcher.end_streams()

    def drain(self) -> int:
        """Let no more streams in, end those that are open, and return how many still are.

        To be called again until that is 0. After a second the streams are cut whose peers take
        nothing, and after another one the rest: on a busy machine the threads of many streams
        need that time to write their last bytes.
        """
        begins = not self.admission.draining
        if begins:
            # Telling all streams takes time, in which another thread may call this.
            self._draining_since = math.inf
            self.admission.draining = True
        # A client may be joining at this moment: its connection is watched from then on.
        left = self.end_streams()
        now = time.monotonic()
        if begins:
            self._draining_since = now
        waited = now - self._draining_since
        if self._parts is not None and waited > PATIENCE_SECONDS:
            left += self._parts.watcher.cut(only_writing=waited <= 2 * PATIENCE_SECONDS)
        return left

    def close(self) -> None:
        """End all streams and threads and close the log. The next use starts them again."""
        with self._lock:
            self._close()

    def _close(self) -> None:
        self.end_streams()
        # In reverse order of the calls here; each is done although another one fails.
        with ExitStack() as steps:
            steps.callback(self.log.close)
            if self._parts is not None:
                steps.callback(self._parts.watcher.stop)
                steps.callback(self._parts.guard.stop)
                steps.callback(self._parts.revocations.stop)
                steps.callback(self._parts.heartbeats.stop)
                steps.callback(self._parts.retention.stop)
                steps.callback(self._parts.relay.stop)
        self._parts = None
        self._pid = 0

    # What is done from time to time, on the watcher's thread.

    def _stall_seconds(self) -> float:
        """Return how often the watcher has to look for stalled streams."""
        shortest = min((sink.write_timeout for sink in self.sinks.values()), default=1.0)
        return max(_ENDING_SECONDS, min(_STALL_SECONDS, shortest / 4))

    def _tick(self) -> None:
        if self._app() is None:
            self._close_unused()
            return
        if self.ending is not None and self.ending():
            self.drain()
        now = time.monotonic()
        if now >= self._next_check:
            self._next_check = now + _CHECK_SECONDS
            self._restart_threads()
            self.admission.settle()
            self._report_queues()

    def _report_queues(self) -> None:
        metrics.server().capacity(self.admission.limit)
        metrics.get().waiting_bytes(self.memory.used)
        for name, sink in self.sinks.items():
            waiting = [client.waiting for client in sink.clients]
            metrics.get().sink(name).queued(sum(waiting), max(waiting, default=0))

    def _close_unused(self) -> None:
        """Close what runs for an app that no longer exists.

        This is the watcher's own thread. If another thread holds the lock, it is closing already,
        and waits for this one.
        """
        if self._lock.acquire(blocking=False):
            try:
                self._close()
            finally:
                self._lock.release()

    def _restart_threads(self) -> None:
        """Start threads again that have ended although nobody stopped them.

        The relay's and the watcher's thread both do this, so that each looks after the other.
        """
        parts = self._parts
        if parts is not None:
            for thread in parts.threads:
                thread.ensure()
