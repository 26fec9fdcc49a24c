"""gunicorn's gthread worker, with deadlines for connections that are not streams.

gunicorn gives a thread to every connection at once and waits in it for the request, as long as
the client likes; and it waits on its main thread for a client to close its side. Here a thread is
given to a request only when the request is complete, or too large to wait for in memory. Until
then, and while it is closing, a connection belongs to the main thread's poller, with a deadline.
"""

from __future__ import annotations

import errno
import functools
import io
import selectors
import socket
import time
from collections.abc import Callable, Iterable
from typing import Any

from gunicorn.http.unreader import SocketUnreader
from gunicorn.workers.gthread import TConn, ThreadWorker

from .. import metrics
from ..extension import KEY
from ..stream.direct_socket import RESPONSE_KEY
from .request_buffer import WHOLE_REQUEST_BYTES, RequestBuffer

try:
    from gunicorn.http2.negotiation import prior_knowledge_allowed
except ImportError:
    # gunicorn 25 speaks HTTP/2 over TLS only.
    def prior_knowledge_allowed(cfg: Any, client: Any) -> bool:
        return False


HEAD_SECONDS = 10.0
BODY_SECONDS = 30.0
# A body that comes at this rate or faster is never too slow, however large it is.
LEAST_BYTES_PER_SECOND = 1024
# After a refusal the rest of the body is read and dropped: a client that still sends would
# otherwise see a reset connection instead of the answer.
DROPPED_BYTES = 16 * 1024 * 1024
DROPPING_SECONDS = 10.0
# How long a client may take to close its side after an answer to a whole request.
CLOSING_SECONDS = 2.0
# What a stopping worker waits for requests that are on their way, and for clients that close.
_STOPPING_SECONDS = 1.0
_LOOK_SECONDS = 0.5
_WARNING_SECONDS = 10.0

_NO_MORE = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_TOO_LATE = (
    b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n"
    b"Content-Type: text/plain\r\nContent-Length: 28\r\n\r\nThe request came too slowly\n"
)

# What a connection that no thread has is waiting for.
_REQUEST, _NEXT_REQUEST, _PEERS_CLOSE = "request", "next request", "close"


class Connection(TConn):  # type: ignore[misc] # gunicorn has no types
    """A connection, and what it waits for while no thread has it.

    ``deadline``, on the monotonic clock, is for what the client is to do next: complete its
    request, send another one, or close its side.
    """

    def __init__(self, cfg: Any, sock: socket.socket, client: Any, server: Any) -> None:
        super().__init__(cfg, sock, client, server)
        # Reads on the main thread say by themselves that they must not wait.
        sock.setblocking(True)
        self.request = RequestBuffer()
        self.waits_for = _REQUEST
        self.deadline = 0.0
        self.polled = False
        #: Whether the answer was made before the whole body had come.
        self.refused = False
        #: Whether the main thread has ended a read that took too long.
        self.timed_out = False
        self.room = DROPPED_BYTES
        # TLS, and HTTP/2 without it, are read by those who know them, in a thread.
        self.opaque = bool(cfg.is_ssl) or not _is_plain_http(cfg, client)

    def prolong(self, came: int, most: float) -> None:
        """Move the deadline for ``came`` bytes, to ``most`` seconds from now at most."""
        later = self.deadline + came / LEAST_BYTES_PER_SECOND
        self.deadline = min(time.monotonic() + most, later)

    def answer_too_late(self) -> None:
        """Tell the client that its request came too slowly, unless it sent nothing at all."""
        if self.request and not self.opaque:
            try:
                self.sock.send(_TOO_LATE, socket.MSG_DONTWAIT)
            except OSError:
                pass


def _is_plain_http(cfg: Any, client: Any) -> bool:
    """Return whether a connection of this client can begin with HTTP/1 only."""
    protocol = getattr(cfg, "protocol", "http")
    return protocol == "http" and not prior_knowledge_allowed(cfg, client)


class Unreader(SocketUnreader):  # type: ignore[misc] # gunicorn has no types
    """Reads a request from its socket on a pool thread, until the connection's deadline.

    The main thread ends a read that takes too long by shutting the socket's receiving side.
    """

    buf: io.BytesIO

    def __init__(self, connection: Connection, worker: StreamWorker) -> None:
        super().__init__(connection.sock)
        self._connection = connection
        self._worker = worker
        #: Whether the client waits for "100 Continue" before it sends the body.
        self.continue_due = False

    def chunk(self, *size_hint: Any) -> bytes:
        """Return what comes next of the request.

        :raises TimeoutError: it did not come in time.
        """
        if self.continue_due:
            self.continue_due = False
            self.sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        with self._worker.reading(self._connection):
            data: bytes = super().chunk(*size_hint)
        self._connection.prolong(len(data), self._worker.body_seconds)
        return data

    def buffered(self) -> int:
        """Return how many bytes were read and not yet used."""
        return self.buf.getbuffer().nbytes

    def take(self) -> bytes:
        """Return the bytes that were read and not yet used, and forget them."""
        data: bytes = self.buf.getvalue()
        self.buf = io.BytesIO()
        return data


class _Reading:
    """A read in a pool thread, which the main thread may end."""

    __slots__ = ("_connection", "_all")

    def __init__(self, connection: Connection, all: dict[Connection, None]) -> None:
        self._connection = connection
        self._all = all

    def __enter__(self) -> None:
        # At the end: the first of all is the one that has waited longest since its last byte.
        self._all[self._connection] = None

    def __exit__(self, *_: object) -> None:
        self._all.pop(self._connection, None)
        if self._connection.timed_out:
            raise TimeoutError(errno.ETIMEDOUT, "the request came too slowly")


class StreamWorker(ThreadWorker):  # type: ignore[misc] # gunicorn has no types
    """A gthread worker in which nobody holds a thread, or the accept loop, by doing nothing.

    ``head_seconds`` bounds how long a client may take for the head of a request,
    ``body_seconds`` how long for its body; the latter is prolonged by what comes of the body, at
    ``LEAST_BYTES_PER_SECOND``. When there are more connections than ``worker_connections``, the
    one that has been idle for longest is closed; when every thread is taken, the body that has
    been waited for longest is given up.
    """

    wsgi: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.head_seconds = HEAD_SECONDS
        self.body_seconds = BODY_SECONDS
        # Connections that no thread has, the longest idle first; for the main thread only.
        self._idle: dict[Connection, None] = {}
        # Those that a thread waits for, the longest first.
        self._reading: dict[Connection, None] = {}
        self._submitted = 0
        self._next_look = 0.0
        self._next_warning = 0.0
        self._stops_at = 0.0

    def run(self) -> None:
        """Serve until the worker is told to stop."""
        if (engine := getattr(self.wsgi, "extensions", {}).get(KEY)) is not None:
            self.head_seconds = engine.settings.server.head_timeout
            self.body_seconds = engine.settings.server.body_timeout
        self.wsgi = _with_response(self.wsgi)
        super().run()

    # On the main thread.

    def accept(self, listener: socket.socket) -> None:
        """Take a connection, and close the longest idle one if there are too many."""
        try:
            sock, address = listener.accept()
        except OSError as error:
            if error.errno in _NO_MORE:
                self._out_of_descriptors(error)
            elif error.errno not in (errno.EAGAIN, errno.ECONNABORTED, errno.EWOULDBLOCK):
                raise
            return
        self.nr_conns += 1
        if self.nr_conns >= self.worker_connections:
            self._close_longest_idle()
        conn = Connection(self.cfg, sock, address, listener.getsockname())
        # A client that takes nothing of an answer doesn't hold a thread for ever either.
        _set_user_timeout(sock, self.body_seconds)
        self._wait(conn, _REQUEST, self.head_seconds)
        if conn.opaque:
            self._poll(conn)
        else:
            self._read(conn)

    def enqueue_req(self, conn: Connection) -> None:
        """Give a request to a thread, and free one if every thread is taken."""
        self._idle.pop(conn, None)
        self._unpoll(conn)
        self._submitted += 1
        if self._submitted > self.cfg.threads:
            self._end_longest_read()
        super().enqueue_req(conn)

    def finish_request(self, conn: Connection, fs: Any) -> None:
        """Wait for the connection's next request, or for its end, after an answer."""
        self._submitted -= 1
        try:
            keep = bool(fs.result())
        except BaseException:
            # It was logged where it happened; what state the connection is in is unknown.
            keep = False
        if not keep:
            self._linger(conn)
            return
        conn.request.add(conn.parser.unreader.take())
        if conn.request:
            self._wait(conn, _REQUEST, self.head_seconds)
            self._look_at_request(conn)
        elif conn.opaque and conn.sock.pending():
            self.enqueue_req(conn)
        else:
            self._wait(conn, _NEXT_REQUEST, float(self.cfg.keepalive))
            self._poll(conn)

    def wait_for_and_dispatch_events(self, timeout: float) -> None:
        """Wait for events, and look at the deadlines at least twice a second."""
        super().wait_for_and_dispatch_events(min(timeout, _LOOK_SECONDS))

    def murder_keepalived(self, force: bool = False) -> None:
        """End the connections whose deadline is over; all that no thread has, with ``force``."""
        now = time.monotonic()
        if not force and now < self._next_look:
            return
        self._next_look = now + _LOOK_SECONDS
        if not self.alive:
            self._hurry(now)
        for conn in list(self._idle):
            if force or now >= conn.deadline:
                self._end_late(conn)
        for conn in list(self._reading):
            if now >= conn.deadline:
                self._end_read(conn, "slow")

    def _hurry(self, now: float) -> None:
        """Bring the deadlines forward, as the worker is stopping."""
        self._stops_at = self._stops_at or now + _STOPPING_SECONDS
        for conn in [*self._idle, *self._reading]:
            conn.deadline = min(conn.deadline, self._stops_at)

    def _wait(self, conn: Connection, what: str, seconds: float) -> None:
        self._idle.pop(conn, None)
        self._idle[conn] = None
        conn.waits_for = what
        conn.deadline = time.monotonic() + seconds

    def _poll(self, conn: Connection) -> None:
        if not conn.polled:
            conn.polled = True
            callback = functools.partial(self._on_readable, conn)
            self.poller.register(conn.sock, selectors.EVENT_READ, callback)

    def _unpoll(self, conn: Connection) -> None:
        if conn.polled:
            conn.polled = False
            try:
                self.poller.unregister(conn.sock)
            except (OSError, KeyError, ValueError):
                pass

    def _on_readable(self, conn: Connection, _: Any) -> None:
        if not conn.polled:
            # Another event of the same turn has ended it.
            return
        if conn.waits_for is _PEERS_CLOSE:
            self._drop(conn)
        elif conn.opaque:
            self.enqueue_req(conn)
        else:
            self._read(conn)

    def _read(self, conn: Connection) -> None:
        """Read what has come of a request, without waiting."""
        try:
            data = conn.sock.recv(WHOLE_REQUEST_BYTES, socket.MSG_DONTWAIT)
        except BlockingIOError:
            self._poll(conn)
            return
        except OSError:
            self._close(conn)
            return
        if data:
            if conn.waits_for is _NEXT_REQUEST:
                self._wait(conn, _REQUEST, self.head_seconds)
            conn.request.add(data)
            self._look_at_request(conn, len(data))
        elif conn.request.in_body:
            # The app is to say that the body ended too soon.
            self.enqueue_req(conn)
        else:
            self._close(conn)

    def _look_at_request(self, conn: Connection, came: int = 0) -> None:
        """Give the request to a thread if it is complete, else wait for the rest of it."""
        was_in_body = conn.request.in_body
        if conn.request.is_complete():
            self.enqueue_req(conn)
            return
        if was_in_body:
            conn.prolong(came, self.body_seconds)
        elif conn.request.in_body:
            conn.deadline = time.monotonic() + self.body_seconds
        self._poll(conn)

    def _linger(self, conn: Connection) -> None:
        """Close our side, and wait on the poller for the client to close its own."""
        try:
            conn.sock.shutdown(socket.SHUT_WR)
        except (OSError, ValueError):
            self._close(conn)
            return
        self._wait(conn, _PEERS_CLOSE, DROPPING_SECONDS if conn.refused else CLOSING_SECONDS)
        self._drop(conn)

    def _drop(self, conn: Connection) -> None:
        """Read and forget what a client still sends after it was answered."""
        try:
            data = conn.sock.recv(WHOLE_REQUEST_BYTES, socket.MSG_DONTWAIT)
        except BlockingIOError:
            self._poll(conn)
            return
        except (OSError, ValueError):
            data = b""
        conn.room -= len(data)
        if data and conn.room > 0:
            self._poll(conn)
        else:
            self._close(conn)

    def _close(self, conn: Connection) -> None:
        self._idle.pop(conn, None)
        self._unpoll(conn)
        self.nr_conns -= 1
        conn.close()

    def _end_late(self, conn: Connection) -> None:
        if conn.waits_for is _REQUEST:
            metrics.connection_ended("slow")
            conn.answer_too_late()
        self._close(conn)

    def _close_longest_idle(self) -> None:
        conn = next(iter(self._idle), None)
        if conn is not None:
            self._warn_of_crowd()
            metrics.connection_ended("crowded")
            self._close(conn)

    def _end_longest_read(self) -> None:
        for conn in list(self._reading):
            if not conn.timed_out:
                self._warn_of_crowd()
                self._end_read(conn, "crowded")
                return

    def _end_read(self, conn: Connection, reason: str) -> None:
        if conn.timed_out:
            return
        conn.timed_out = True
        metrics.connection_ended(reason)
        try:
            # Not the method of a TLS socket, which belongs to the thread that reads it.
            socket.socket.shutdown(conn.sock, socket.SHUT_RD)
        except OSError:
            pass

    def _may_warn(self) -> bool:
        """Return whether the last warning is long enough ago for another one."""
        now = time.monotonic()
        if now < self._next_warning:
            return False
        self._next_warning = now + _WARNING_SECONDS
        return True

    def _warn_of_crowd(self) -> None:
        if self._may_warn():
            self.log.warning(
                "connections without a complete request are closed to make room: %d connections, "
                "%d at most; %d requests for %d threads. A proxy that buffers requests keeps slow "
                "clients away",
                *(self.nr_conns, self.worker_connections, self._submitted, self.cfg.threads),
            )

    def _out_of_descriptors(self, error: OSError) -> None:
        """Make room, or accept nothing until the next look, instead of ending the worker."""
        if self._may_warn():
            self.log.error("can't accept a connection: %s; raise `ulimit -n`", error.strerror)
        if self._idle:
            self._close_longest_idle()
        else:
            self.set_accept_enabled(False)

    # On a pool thread.

    def reading(self, conn: Connection) -> _Reading:
        """Return a context in which the main thread may end a read of this connection."""
        return _Reading(conn, self._reading)

    def handle(self, conn: Connection) -> Any:
        """Answer a request; return whether the connection may have another one."""
        conn.data_ready = True
        try:
            if not conn.initialized:
                self._begin(conn)
        except OSError as error:
            self.log.debug("Closing a connection that didn't begin: %s", error)
            return False
        # HTTP/2's parser has none.
        if isinstance(unreader := getattr(conn.parser, "unreader", None), Unreader):
            unreader.unread(conn.request.take())
        return super().handle(conn)

    def _begin(self, conn: Connection) -> None:
        """Make the parser, after the handshake where there is TLS."""
        conn.deadline = time.monotonic() + self.head_seconds
        with self.reading(conn):
            conn.init()
        if not conn.is_http2:
            unreader = Unreader(conn, self)
            unreader.buf = conn.parser.unreader.buf
            conn.parser.unreader = unreader

    def handle_request(self, req: Any, conn: Connection) -> Any:
        """Answer a request whose head was parsed."""
        conn.deadline = time.monotonic() + self.body_seconds
        # It is sent when the app reads the body: a refusal needs no body.
        conn.parser.unreader.continue_due = req._expected_100_continue
        req._expected_100_continue = False
        req.sse_sink_connection = conn
        return super().handle_request(req, conn)


def _with_response(app: Callable[..., Iterable[bytes]]) -> Callable[..., Iterable[bytes]]:
    """Return the app, which then finds gunicorn's response object in its environment.

    An answer that begins before the whole body has come closes the connection.
    """

    def call(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        response = start_response.__self__
        environ[RESPONSE_KEY] = response
        request = response.req
        conn: Connection | None = getattr(request, "sse_sink_connection", None)
        if conn is None or not _is_unread(request, conn):
            return app(environ, start_response)

        def start(status: str, headers: Any, exc_info: Any = None) -> Any:
            if _is_unread(request, conn):
                conn.refused = True
                response.force_close()
            return start_response(status, headers, exc_info)

        return app(environ, start)

    return call


def _is_unread(request: Any, conn: Connection) -> bool:
    """Return whether bytes of the body are still to come, or where it ends is unknown."""
    body = request.body
    unreader = conn.parser.unreader
    if unreader.continue_due or getattr(body, "failed", False):
        return True
    length = getattr(body.reader, "length", None)
    if length is not None:
        return bool(length > unreader.buffered())
    return getattr(body.reader, "parser", None) is not None


def _set_user_timeout(sock: socket.socket, seconds: float) -> None:
    option: int | None = getattr(socket, "TCP_USER_TIMEOUT", None)
    if option is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
        try:
            sock.setsockopt(socket.IPPROTO_TCP, option, round(seconds * 1000))
        except OSError:
            pass
