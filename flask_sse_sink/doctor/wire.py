"""One HTTP/1.1 request, and its answer as it comes from the network: nothing is followed,
decoded or joined."""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
import threading
from collections.abc import Iterator
from typing import NamedTuple

from ..version import __version__
from .target import Target
from .unreachable import CONNECT_SECONDS, HANDSHAKE_SECONDS, no_http, no_tls, not_connected

_READ_BYTES = 1 << 16
_MAX_SHORT_BODY = 1 << 16
_SHORT_BODY_SECONDS = 5.0

#: What a read of a body may raise.
READ_ERRORS = (OSError, http.client.HTTPException, ValueError)

#: What a browser sends for an EventSource, beside what a request adds.
BROWSER_HEADERS = {
    "Accept": "text/event-stream",
    "Cache-Control": "no-cache",
    "User-Agent": f"Mozilla/5.0 (compatible; flask-sse-sink-doctor/{__version__})",
}


class NoAnswer(Exception):
    """The connection stands, but no answer has begun in time."""


class Request(NamedTuple):
    """What is asked for: path and query, more headers, and how long an answer may take."""

    target: str
    headers: dict[str, str]
    seconds: float
    method: str = "GET"


class Answer:
    """An answer whose head has come. ``version`` is 10 or 11, ``headers`` has each line apart."""

    def __init__(
        self,
        connection: http.client.HTTPConnection,
        sock: socket.socket,
        response: http.client.HTTPResponse,
    ) -> None:
        self._connection = connection
        self._socket = sock
        self._response = response
        self.status = response.status
        self.version = response.version
        self.headers = [(name.lower(), value) for name, value in response.getheaders()]

    def header(self, name: str) -> str:
        """Return a header, several lines of it joined by commas, "" where there is none."""
        return ", ".join(self.all(name))

    def all(self, name: str) -> list[str]:
        """Return each line of a header."""
        return [value.strip() for own, value in self.headers if own == name]

    @property
    def media_type(self) -> str:
        """Return the content type without its parameters, in lower case."""
        return self.header("content-type").partition(";")[0].strip().lower()

    def read(self) -> bytes:
        """Wait for bytes of the body and return them, b"" at its end.

        :raises OSError: the connection was cut.
        :raises http.client.HTTPException: the body ended before its end.
        """
        return self._response.read1(_READ_BYTES)

    def short_body(self) -> bytes:
        """Return the beginning of a body that should be short, as far as it comes."""
        body = b""
        with (
            contextlib.suppress(_TooSlow, *READ_ERRORS),
            _bounded(self._socket, _SHORT_BODY_SECONDS),
        ):
            while len(body) < _MAX_SHORT_BODY and (part := self.read()):
                body += part
        return body

    def cut(self) -> None:
        """End a read that another thread waits in."""
        _shut(self._socket)

    def close(self) -> None:
        """Close the connection."""
        self._response.close()
        self._connection.close()
        self._socket.close()


class _TooSlow(Exception):
    """A read has taken too long, and was ended."""


@contextlib.contextmanager
def _bounded(sock: socket.socket, seconds: float) -> Iterator[None]:
    """End reads that take longer in all, however often a byte comes.

    :raises _TooSlow: they did.
    """
    is_over = threading.Event()

    def end() -> None:
        is_over.set()
        _shut(sock)

    timer = threading.Timer(seconds, end)
    timer.start()
    try:
        yield
    except READ_ERRORS:
        if is_over.is_set():
            raise _TooSlow from None
        raise
    else:
        # A head that ends too early is taken for a whole one.
        if is_over.is_set():
            raise _TooSlow
    finally:
        timer.cancel()
        timer.join()


def _shut(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        # Not the method of a TLS socket, whose state another thread may be using.
        socket.socket.shutdown(sock, socket.SHUT_RDWR)


def send(target: Target, request: Request) -> Answer:
    """Return the answer to a request once its head has come.

    :raises Unreachable: there is nobody who speaks HTTP.
    :raises NoAnswer: no answer has begun in time.
    """
    connection = _connection(target, ["http/1.1"])
    try:
        connection.putrequest(
            request.method, request.target, skip_host=True, skip_accept_encoding=True
        )
        for name, value in _headers(target, request):
            connection.putheader(name, value)
        connection.endheaders()
        # An answer after which the server closes takes the socket over from the connection.
        sock: socket.socket = connection.sock
        with _bounded(sock, request.seconds):
            return Answer(connection, sock, connection.getresponse())
    except _TooSlow:
        connection.close()
        raise NoAnswer from None
    except READ_ERRORS as error:
        connection.close()
        raise no_http(target, error) from None
    except BaseException:
        connection.close()
        raise


def _headers(target: Target, request: Request) -> list[tuple[str, str]]:
    """Return the headers of a request; the caller's take the place of those of their names."""
    own = {"Host": target.origin.partition("://")[2], **BROWSER_HEADERS, **request.headers}
    given = {name.lower() for name, _ in target.headers}
    return [each for each in own.items() if each[0].lower() not in given] + [*target.headers]


def speaks_http2(target: Target) -> bool:
    """Return whether a browser gets HTTP/2 there: over TLS, where the other side offers it.

    :raises Unreachable: nobody is there.
    """
    if target.scheme != "https":
        return False
    connection = _connection(target, ["h2", "http/1.1"])
    try:
        sock = connection.sock
        return isinstance(sock, ssl.SSLSocket) and sock.selected_alpn_protocol() == "h2"
    finally:
        connection.close()


def _connection(target: Target, protocols: list[str]) -> http.client.HTTPConnection:
    """Return a connection that stands; ``protocols`` are offered over TLS."""
    # It speaks TLS because its socket does.
    connection = http.client.HTTPConnection(target.host, target.port)
    try:
        sock = socket.create_connection((target.host, target.port), CONNECT_SECONDS)
    except (OSError, ValueError) as error:
        raise not_connected(target, error) from None
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.sock = sock if target.scheme == "http" else _with_tls(target, sock, protocols)
    connection.sock.settimeout(None)
    return connection


def _with_tls(target: Target, sock: socket.socket, protocols: list[str]) -> ssl.SSLSocket:
    context = ssl.create_default_context()
    context.set_alpn_protocols(protocols)
    sock.settimeout(HANDSHAKE_SECONDS)
    try:
        return context.wrap_socket(sock, server_hostname=target.host)
    except (OSError, ValueError) as error:
        sock.close()
        raise no_tls(target, error) from None
