"""Reads of requests by the threads that answer them, which the main thread can end."""

from __future__ import annotations

import contextlib
import errno
import io
import socket
from collections.abc import Iterator
from operator import attrgetter
from typing import Any

from gunicorn.http.unreader import SocketUnreader

from .. import metrics
from .http_connection import HttpConnection


class RequestReads:
    """The connections that a thread reads from at this moment.

    Threads add and remove theirs; the main thread ends those that take too long.
    """

    def __init__(self) -> None:
        self._connections: set[HttpConnection] = set()

    def __iter__(self) -> Iterator[HttpConnection]:
        """Iterate over a copy: threads add and remove connections meanwhile."""
        return iter(list(self._connections))

    @contextlib.contextmanager
    def reading(self, connection: HttpConnection) -> Iterator[None]:
        """Return a context in which the main thread may end a read from this connection.

        :raises TimeoutError: at the end of the context, if the main thread did so.
        """
        self._connections.add(connection)
        try:
            yield
        finally:
            self._connections.discard(connection)
            if connection.is_timed_out:
                raise TimeoutError(errno.ETIMEDOUT, "the request came too slowly")

    def end(self, connection: HttpConnection, reason: str) -> None:
        """End a read, and count it by its reason; a read that was ended before is left alone."""
        if not connection.is_timed_out:
            metrics.connection_ended(reason)
            connection.end_read()

    def end_idle(self, count: int, now: float, seconds: float) -> bool:
        """End so many reads that were seen to wait for so long, the longest waiting first.

        Reads that were ended before, and whose threads haven't noticed, are among the ``count``.

        :returns: whether a read was ended now.
        """
        ended = sum(each.is_timed_out for each in self)
        idle = [each for each in self if each.idle_seconds(now) >= seconds]
        idle.sort(key=attrgetter("idle_since"))
        chosen = [each for each in idle if not each.is_timed_out][: max(0, count - ended)]
        for connection in chosen:
            self.end(connection, "crowded")
        return bool(chosen)

    def end_overdue(self, now: float) -> None:
        """End every read whose deadline is over."""
        for connection in self:
            if now >= connection.deadline:
                self.end(connection, "slow")


class _Source:
    """A connection's socket without its timeout.

    After each answer gunicorn would set a timeout, look for an unread body, and unset it: two
    system calls for nothing, as reads have deadlines, and an unread body closes the connection.
    """

    __slots__ = ("recv",)

    def __init__(self, sock: socket.socket) -> None:
        self.recv = sock.recv


class RequestReader(SocketUnreader):  # type: ignore[misc] # gunicorn has no types
    """gunicorn's source of a request's bytes, with a deadline for each read."""

    buf: io.BytesIO

    def __init__(self, connection: HttpConnection, reads: RequestReads) -> None:
        super().__init__(_Source(connection.sock))
        self._connection = connection
        self._reads = reads
        #: Whether the client waits for "100 Continue" before it sends the body.
        self.continue_due = False

    def chunk(self, *size_hint: Any) -> bytes:
        """Return the next bytes of the request, empty at the end of the connection.

        :raises TimeoutError: they did not come in time.
        """
        if self.continue_due:
            self.continue_due = False
            self._connection.sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        with self._reads.reading(self._connection):
            data: bytes = super().chunk(*size_hint)
        self._connection.prolong(len(data))
        return data

    def buffered(self) -> int:
        """Return how many bytes were read and not yet used."""
        return self.buf.getbuffer().nbytes

    def take(self) -> bytes:
        """Return the bytes that were read and not yet used, and forget them."""
        data: bytes = self.buf.getvalue()
        self.buf = io.BytesIO()
        return data
