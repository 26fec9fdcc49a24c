"""One connection of the server: what it waits for, until when, and what is to happen next.

It reads from its socket without waiting, and leaves it to its owner to act on the outcome.
"""

from __future__ import annotations

import contextlib
import enum
import select
import socket
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from gunicorn.workers.gthread import TConn

from .request_buffer import WHOLE_REQUEST_BYTES, RequestBuffer

try:
    from gunicorn.http2.negotiation import prior_knowledge_allowed
except ImportError:
    # gunicorn 25 speaks HTTP/2 over TLS only.
    def prior_knowledge_allowed(cfg: Any, client: Any) -> bool:
        return False


# A body that comes at this rate or faster is never too slow, however large it is.
_LEAST_BYTES_PER_SECOND = 1024
# A read of fewer bytes doesn't end the time for which a client counts as idle.
_LEAST_BYTES_PER_READ = 1024
# After a refusal the rest of the body is read and dropped: a client that still sends would
# otherwise see a reset connection instead of the answer.
_DROPPED_BYTES = 16 * 1024 * 1024
_DROPPING_SECONDS = 10.0
# How long a client may take to close its side after an answer to a whole request.
_CLOSING_SECONDS = 2.0

_TOO_SLOW = (
    b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n"
    b"Content-Type: text/plain\r\nContent-Length: 28\r\n\r\nThe request came too slowly\n"
)


class Timeouts(NamedTuple):
    """How many seconds a client may take for the head of a request, and for its body.

    The time for the body is prolonged by what comes of it, at 1 KiB a second.
    """

    head: float = 10.0
    body: float = 30.0


class State(enum.Enum):
    """What a connection waits for."""

    REQUEST = "for its client to complete a request"
    ANSWER = "for a thread to answer its request"
    NEXT_REQUEST = "for its client to send another request"
    CLOSE = "for its client to close it"


class NextStep(enum.Enum):
    """What the owner of a connection that no thread has is to do with it."""

    WAIT = "wait until more can be read"
    SERVE = "give the request to a thread"
    CLOSE = "close the connection"


class _Socket(socket.socket):
    """A socket that asks the system only for a change: gunicorn sets it for every request."""

    __slots__ = ()

    def setblocking(self, flag: bool, /) -> None:
        if self.getblocking() != flag:
            super().setblocking(flag)


class HttpConnection(TConn):  # type: ignore[misc] # gunicorn has no types
    """A connection, its unfinished request, and the deadline of what it waits for.

    ``since`` and ``deadline`` are times on the monotonic clock: when the state began, and until
    when the client must have done what the connection waits for.
    """

    def __init__(
        self, cfg: Any, sock: socket.socket, client: Any, server: Any, timeouts: Timeouts
    ) -> None:
        super().__init__(cfg, sock, client, server)
        # Reads on the main thread say by themselves that they must not wait.
        sock.setblocking(True)
        if type(sock) is socket.socket:
            sock.__class__ = _Socket
        # Nor may a client that takes nothing of an answer hold a thread for ever.
        _set_user_timeout(sock, timeouts.body)
        self._timeouts = timeouts
        self._bytes_to_drop = _DROPPED_BYTES
        self.request = RequestBuffer()
        #: Whether only gunicorn's own code, in a thread, can read it: TLS, or HTTP/2 perhaps.
        self.is_opaque = bool(cfg.is_ssl) or not _is_http1(cfg, client)
        #: Whether the answer was made before the whole body had come.
        self.is_refused = False
        #: Whether a thread's read was ended because it took too long.
        self.is_timed_out = False
        #: Since when a thread's reads were seen to get nothing, or a few bytes; 0 if they weren't.
        self.idle_since = 0.0
        #: What to call once a stream is open that this request asks for.
        self.on_opened: Callable[[], object] | None = None
        self._wait_for(State.REQUEST, timeouts.head)

    def _wait_for(self, state: State, seconds: float) -> None:
        self.state = state
        self.since = time.monotonic()
        self.deadline = self.since + seconds

    # On the main thread, while no other thread has the connection.

    def on_readable(self) -> NextStep:
        """Read what has come, without waiting, and return what is to happen next."""
        if self.state is State.CLOSE:
            return self._drop()
        if self.is_opaque:
            return NextStep.SERVE
        try:
            data = self.sock.recv(WHOLE_REQUEST_BYTES, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return NextStep.WAIT
        except OSError:
            return NextStep.CLOSE
        if data:
            if self.state is State.NEXT_REQUEST:
                self._wait_for(State.REQUEST, self._timeouts.head)
            self.request.add(data)
            return self._look_at_request(len(data))
        # The client closed its side. The app is to say that a body ended too soon.
        return NextStep.SERVE if self.request.in_body else NextStep.CLOSE

    def on_kept_open(self) -> NextStep:
        """Return what is to happen after an answer that leaves the connection open."""
        self.request.add(self.parser.unreader.take())
        if self.request:
            self._wait_for(State.REQUEST, self._timeouts.head)
            return self._look_at_request(0)
        if self.is_opaque and self.sock.pending():
            return NextStep.SERVE
        self._wait_for(State.NEXT_REQUEST, float(self.cfg.keepalive))
        return NextStep.WAIT

    def on_answered(self) -> NextStep:
        """Close our side after the last answer; return whether to wait for the client's side."""
        try:
            self.sock.shutdown(socket.SHUT_WR)
        except (OSError, ValueError):
            return NextStep.CLOSE
        self._wait_for(State.CLOSE, _DROPPING_SECONDS if self.is_refused else _CLOSING_SECONDS)
        return self._drop()

    def answer_too_slow(self) -> None:
        """Tell the client that its request came too slowly, unless it sent nothing at all."""
        if self.request and not self.is_opaque:
            with contextlib.suppress(OSError):
                self.sock.send(_TOO_SLOW, socket.MSG_DONTWAIT)

    def _look_at_request(self, received: int) -> NextStep:
        was_in_body = self.request.in_body
        if self.request.is_complete():
            return NextStep.SERVE
        if was_in_body:
            self.prolong(received)
        elif self.request.in_body:
            self.allow_body()
        return NextStep.WAIT

    def _drop(self) -> NextStep:
        """Read and forget what a client still sends after it was answered."""
        try:
            data = self.sock.recv(WHOLE_REQUEST_BYTES, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return NextStep.WAIT
        except (OSError, ValueError):
            return NextStep.CLOSE
        self._bytes_to_drop -= len(data)
        return NextStep.WAIT if data and self._bytes_to_drop > 0 else NextStep.CLOSE

    def asks_for_one_of(self, paths: frozenset[bytes]) -> bool:
        """Return whether the request is a GET of one of these paths; false if it isn't known."""
        return self.request.path() in paths

    # On the thread that answers; what follows the first method also on the main thread.

    def receive_next(self, seconds: float) -> bool:
        """Wait for the next request, at most ``seconds``; return whether a thread can answer it.

        What has come of it, and the end of the connection, is left to the main thread otherwise.
        """
        if self.is_opaque:
            return False
        self.request.add(self.parser.unreader.take())
        if not self.request and not self._receive_now():
            poll = select.poll()
            poll.register(self.sock, select.POLLIN)
            if not poll.poll(seconds * 1000) or not self._receive_now():
                return False
        return bool(self.request) and self.request.is_complete()

    def _receive_now(self) -> bool:
        """Read what has come of the next request, and return whether there was any."""
        try:
            data = self.sock.recv(WHOLE_REQUEST_BYTES, socket.MSG_DONTWAIT)
        except OSError:
            return False
        self.request.add(data)
        return bool(data)

    def allow_head(self) -> None:
        """Give the client its time for the head of a request, from now on."""
        self.deadline = time.monotonic() + self._timeouts.head

    def allow_body(self) -> None:
        """Give the client its time for the body of a request, from now on."""
        self.deadline = time.monotonic() + self._timeouts.body

    def prolong(self, received: int) -> None:
        """Move the deadline for so many bytes of a body, at most to the time for a whole one."""
        if received >= _LEAST_BYTES_PER_READ:
            self.idle_since = 0.0
        latest = time.monotonic() + self._timeouts.body
        self.deadline = min(latest, self.deadline + received / _LEAST_BYTES_PER_SECOND)

    def idle_seconds(self, now: float) -> float:
        """Return for how long the thread's read was seen to wait; 0 if there is data to read."""
        # Its thread may set it to 0 at any time.
        since = self.idle_since
        if not since:
            since = self.idle_since = now
        try:
            # Not the method of a TLS socket, which belongs to the thread that reads it.
            socket.socket.recv(self.sock, 1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return now - since
        except (OSError, ValueError):
            pass  # Its thread finds out that it is closed, or broken.
        return 0.0

    def end_read(self) -> None:
        """End a read that another thread waits in: it finds the end of the data."""
        self.is_timed_out = True
        with contextlib.suppress(OSError):
            # Not the method of a TLS socket, which belongs to the thread that reads it.
            socket.socket.shutdown(self.sock, socket.SHUT_RD)


def _is_http1(cfg: Any, client: Any) -> bool:
    """Return whether a connection of this client can begin with HTTP/1 only."""
    protocol = getattr(cfg, "protocol", "http")
    return protocol == "http" and not prior_knowledge_allowed(cfg, client)


def _set_user_timeout(sock: socket.socket, seconds: float) -> None:
    """Let the kernel end the connection when the client acknowledges nothing for so long."""
    option: int | None = getattr(socket, "TCP_USER_TIMEOUT", None)
    if option is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, option, round(seconds * 1000))
