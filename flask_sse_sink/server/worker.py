"""gunicorn's gthread worker, with deadlines for connections that are not streams.

gunicorn gives a thread to every connection at once and waits in it for the request, as long as
the client likes; and it waits on its main thread for a client to close its side. Here a thread is
given to a request only when the request is complete, or too large to wait for in memory. Until
then, and while it is closing, a connection belongs to the main thread's poller, with a deadline.
"""

from __future__ import annotations

import errno
import socket
import time
from contextlib import nullcontext
from functools import partial
from typing import Any

from gunicorn.workers.gthread import ThreadWorker

from .. import metrics
from . import early_answer, served_app
from .crowd import CrowdWarnings
from .http_connection import HttpConnection, NextStep, State, Timeouts
from .openings import Openings
from .request_reader import RequestReader, RequestReads
from .thread_pool import ThreadPool
from .waiting import WaitingConnections

# What a stopping worker waits for requests that are on their way, and for clients that close.
_STOPPING_SECONDS = 1.0
# How often the deadlines are looked at.
_LOOK_SECONDS = 0.5
# How long a read must have waited to be ended for a request that has no thread, and how often it
# is looked at then.
_IDLE_SECONDS = 0.05
_CROWDED_LOOK_SECONDS = 0.02
# How long a thread that answered waits for the next request on the same connection.
_STAY_SECONDS = 0.02

_OUT_OF_RESOURCES = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_NOTHING_TO_ACCEPT = (errno.EAGAIN, errno.ECONNABORTED, errno.EWOULDBLOCK)


class StreamWorker(ThreadWorker):  # type: ignore[misc] # gunicorn has no types
    """A gthread worker in which no client holds a thread, or the accept loop, by doing nothing.

    When there are more connections than ``worker_connections``, the one that has waited for
    longest is closed; when every thread is taken, the requests whose reads have waited for longest
    are given up, one for each request that has no thread.
    """

    wsgi: Any
    _waiting: WaitingConnections

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._timeouts = Timeouts()
        self._openings = Openings(self._serve)
        self._stream_paths: frozenset[bytes] = frozenset()
        self._reads = RequestReads()
        self._warnings = CrowdWarnings(self.log)
        # Requests that a thread has, or that wait for one.
        self._unanswered = 0
        self._next_look = 0.0
        self._stops_at = 0.0

    def run(self) -> None:
        """Serve until the worker is told to stop."""
        self._timeouts = served_app.timeouts_of(self.wsgi)
        self._waiting = WaitingConnections(self.poller, self._on_readable)
        self._stream_paths = served_app.stream_paths(self.wsgi)
        self.wsgi = early_answer.with_response(self.wsgi)
        super().run()

    def get_thread_pool(self) -> ThreadPool:
        """Return the pool of the threads that answer."""
        return ThreadPool(self.cfg.threads)

    # On the main thread.

    def accept(self, listener: socket.socket) -> None:
        """Take a connection, and close the longest waiting one if there are too many."""
        try:
            sock, address = listener.accept()
        except OSError as error:
            if error.errno in _OUT_OF_RESOURCES:
                self._on_out_of_resources(error)
            elif error.errno not in _NOTHING_TO_ACCEPT:
                raise
            return
        self.nr_conns += 1
        if self.nr_conns >= self.worker_connections:
            self._close_oldest()
        conn = HttpConnection(self.cfg, sock, address, listener.getsockname(), self._timeouts)
        # What a thread has to read is given to one when something has come.
        self._proceed(conn, NextStep.WAIT if conn.is_opaque else conn.on_readable())

    def enqueue_req(self, conn: HttpConnection) -> None:
        """Give a request to a thread, and free one if every thread is taken."""
        self._waiting.remove(conn)
        conn.state = State.ANSWER
        self._unanswered += 1
        self._end_idle_reads()
        if conn.asks_for_one_of(self._stream_paths):
            conn.on_opened = partial(self.method_queue.defer, self._openings.on_opened, conn)
            self._openings.add(conn)
        else:
            self._serve(conn)

    def _serve(self, conn: HttpConnection) -> None:
        """Give a request to a thread."""
        self.tpool.run(partial(self._answer_and_report, conn))

    def finish_request(self, conn: HttpConnection, stays_open: Any) -> None:
        """Wait for the connection's next request, or for its end, after an answer."""
        self._unanswered -= 1
        self._openings.on_opened(conn)
        self._proceed(conn, conn.on_kept_open() if stays_open else conn.on_answered())

    def wait_for_and_dispatch_events(self, timeout: float) -> None:
        """Wait for events, and look at the deadlines at least twice a second."""
        is_crowded = self._unanswered > self.cfg.threads
        seconds = _CROWDED_LOOK_SECONDS if is_crowded else _LOOK_SECONDS
        super().wait_for_and_dispatch_events(min(timeout, seconds))
        self._end_idle_reads()

    def murder_keepalived(self, force: bool = False) -> None:
        """End the connections whose deadline is over; all that no thread has, with ``force``."""
        now = time.monotonic()
        if not force and now < self._next_look:
            return
        self._next_look = now + _LOOK_SECONDS
        if not self.alive:
            self._hurry(now)
        for conn in self._waiting if force else self._waiting.overdue(now):
            if conn.state is State.REQUEST:
                metrics.connection_ended("slow")
                conn.answer_too_slow()
            self._close(conn)
        self._reads.end_overdue(now)
        self._openings.release_overdue()

    def _on_readable(self, conn: HttpConnection) -> None:
        self._proceed(conn, conn.on_readable())

    def _proceed(self, conn: HttpConnection, step: NextStep) -> None:
        """Take the next step with a connection that no thread has."""
        if step is NextStep.WAIT:
            self._waiting.keep(conn)
        elif step is NextStep.SERVE:
            self.enqueue_req(conn)
        else:
            self._close(conn)

    def _hurry(self, now: float) -> None:
        """Bring the deadlines forward, as the worker is stopping."""
        self._stops_at = self._stops_at or now + _STOPPING_SECONDS
        for conn in [*self._waiting, *self._reads]:
            conn.deadline = min(conn.deadline, self._stops_at)

    def _close(self, conn: HttpConnection) -> None:
        self._waiting.remove(conn)
        self.nr_conns -= 1
        conn.close()

    def _close_oldest(self) -> None:
        conn = self._waiting.oldest()
        if conn is not None:
            self._warn_of_crowd()
            metrics.connection_ended("crowded")
            self._close(conn)

    def _end_idle_reads(self) -> None:
        """End a read for each request that waits for a thread."""
        missing = self._unanswered - self.cfg.threads
        if missing > 0 and self._reads.end_idle(missing, time.monotonic(), _IDLE_SECONDS):
            self._warn_of_crowd()

    def _warn_of_crowd(self) -> None:
        self._warnings.connections_closed(
            self.nr_conns, self.worker_connections, self._unanswered, self.cfg.threads
        )

    def _on_out_of_resources(self, error: OSError) -> None:
        """Make room, or accept nothing until the next look, instead of ending the worker."""
        self._warnings.not_accepted(error)
        if self._waiting:
            self._close_oldest()
        else:
            self.set_accept_enabled(False)

    # On the thread that answers.

    def _answer_and_report(self, conn: HttpConnection) -> None:
        try:
            stays_open = bool(self.handle(conn))
        except BaseException:
            # It was logged where it happened; what state the connection is in is unknown.
            stays_open = False
        self.method_queue.defer(self.finish_request, conn, stays_open)

    def handle(self, conn: HttpConnection) -> Any:
        """Answer a request, and those that follow it at once.

        Returns whether the connection may have another one later. To stay with a connection for a
        moment saves busy producers the way over the main thread, which costs as much as an answer.
        """
        stays_open = self._answer(conn)
        while stays_open and self._has_free_thread() and conn.receive_next(_STAY_SECONDS):
            stays_open = self._answer(conn)
        return stays_open

    def _has_free_thread(self) -> bool:
        """Return whether no request waits for a thread, and the worker isn't stopping."""
        return bool(self.alive) and self._unanswered < self.cfg.threads

    def _answer(self, conn: HttpConnection) -> Any:
        """Answer a request; return whether the connection may have another one."""
        conn.data_ready = True
        try:
            if not conn.initialized:
                self._make_parser(conn)
        except OSError as error:
            self.log.debug("Closing a connection that didn't begin: %s", error)
            return False
        # HTTP/2's parser has no reader of its own.
        reader = getattr(conn.parser, "unreader", None)
        if isinstance(reader, RequestReader):
            reader.unread(conn.request.take())
        return super().handle(conn)

    def _make_parser(self, conn: HttpConnection) -> None:
        """Make the parser, after the handshake where there is TLS."""
        conn.allow_head()
        # Without TLS nothing is read yet, so that nothing has to be ended.
        with self._reads.reading(conn) if conn.is_opaque else nullcontext():
            conn.init()
        if not conn.is_http2:
            reader = RequestReader(conn, self._reads)
            reader.buf = conn.parser.unreader.buf
            conn.parser.unreader = reader

    def handle_request(self, req: Any, conn: HttpConnection) -> Any:
        """Answer a request whose head was parsed."""
        conn.allow_body()
        # It is sent when the app reads the body: a refusal needs no body.
        conn.parser.unreader.continue_due = req._expected_100_continue
        req._expected_100_continue = False
        early_answer.attach(req, conn)
        return super().handle_request(req, conn)
