"""The socket of a stream, where threads other than the stream's own may write to it.

Waking a thread costs about ten times what a write costs. So the thread that has an event writes
the event itself, where nothing stands between the stream and its socket.
"""

from __future__ import annotations

import logging
import socket
import ssl
import sys
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from .connection import Connection
from .direct_send import DONT_WAIT
from .wsgi_server import gunicorn_worker, is_worker_class

_log = logging.getLogger(__name__)

#: Where our worker puts gunicorn's response object in a request's WSGI environment.
RESPONSE_KEY = "sse_sink.response"


class DirectSocket:
    """The socket of a response that gunicorn's gthread worker sends in HTTP/1.1's chunked coding.

    ``send`` is the socket's own; it must be given whole chunks.
    """

    __slots__ = ("_environ", "_response", "_socket", "send")

    def __init__(
        self, connection: socket.socket, response: Any, environ: dict[str, Any] | None = None
    ) -> None:
        self.send: Callable[[bytes, int], int] = connection.send
        self._socket = connection
        self._response = response
        self._environ = environ

    def opens(self, size: int) -> bool:
        """Return whether the ``size`` bytes of the body so far went out unchanged.

        They didn't where something on the way held them back, compressed them or framed them in
        another way. To be called once.
        """
        response, self._response = self._response, None
        environ, self._environ = self._environ, None
        if environ is not None:
            # Early hints can't be sent any more, and what sends them takes half a kilobyte.
            environ.pop("wsgi.early_hints", None)
        encoded = any(name.lower() == "content-encoding" for name, _ in response.headers)
        return bool(response.chunked and response.sent == size and not encoded)

    def finish(self, rest: memoryview) -> None:
        """Write the rest of a chunk; wait as long as it takes.

        :raises OSError: the peer is gone.
        """
        self._socket.sendall(rest)

    def cut(self) -> None:
        """Cut the connection after half a chunk: the peer would take more bytes for the rest."""
        Connection(self._socket).cut()


class Obstacle(NamedTuple):
    """Why a request has no direct socket.

    ``reason``, with the cure, is empty where only this request has none, since its protocol rules
    it out, and where the server is one for development or tests.
    """

    reason: str = ""


def direct_socket(environ: dict[str, Any]) -> DirectSocket | Obstacle:
    """Return the direct socket of a request, or why only the server may write to the client.

    A direct socket needs HTTP/1.1 without TLS from gunicorn's gthread worker, and the
    interpreter's lock, on which :class:`~flask_sse_sink.stream.direct_send.DirectSender` relies.
    """
    # SERVER_PROTOCOL, not HTTP_VERSION, which would be a header that any client can send.
    if "werkzeug.socket" in environ or environ.get("SERVER_PROTOCOL") != "HTTP/1.1":
        return Obstacle()
    if not getattr(sys, "_is_gil_enabled", lambda: True)():
        return Obstacle("this Python runs without its global lock; use one that has it")
    # Our own worker hands out the response, and is a gthread worker.
    if RESPONSE_KEY not in environ and (obstacle := _obstacle_of_server(environ)) is not None:
        return obstacle
    connection = environ.get("gunicorn.socket")
    if isinstance(connection, ssl.SSLSocket):
        return Obstacle("gunicorn itself speaks TLS; leave that to a proxy before it")
    response = _gunicorn_response(environ)
    if response is None:
        version = getattr(sys.modules.get("gunicorn"), "__version__", "")
        return Obstacle(f"gunicorn {version} doesn't hand out its response; use 25.0 or newer")
    if not DONT_WAIT or not isinstance(connection, socket.socket):
        return Obstacle()
    # The system's own call: gevent's sockets have another.
    if type(connection).send is not socket.socket.send:
        return Obstacle()
    return DirectSocket(connection, response, environ)


def _obstacle_of_server(environ: Mapping[str, Any]) -> Obstacle | None:
    worker = gunicorn_worker()
    if worker is None:
        return Obstacle(_other_server(environ))
    if not is_worker_class(worker, "ThreadWorker"):
        name = type(worker).__name__
        return Obstacle(f"gunicorn's worker class is {name}; use --worker-class gthread")
    return None


def _other_server(environ: Mapping[str, Any]) -> str:
    # A test client names no server.
    server = environ.get("SERVER_SOFTWARE") or ("ASGI" if "asgi.scope" in environ else "")
    return server and f"it is known for gunicorn alone, and this is {server}"


def _gunicorn_response(environ: Mapping[str, Any]) -> Any:
    """Return gunicorn's own response to the request, which counts the bytes of its body."""
    if (response := environ.get(RESPONSE_KEY)) is not None:
        return response
    module = sys.modules.get("gunicorn.http.wsgi")
    # gunicorn's own workers hand the response out nowhere, but this function of theirs has it.
    hints = environ.get("wsgi.early_hints")
    for cell in getattr(hints, "__closure__", None) or ():
        if module is not None and isinstance(cell.cell_contents, module.Response):
            return cell.cell_contents
    return None


class DirectSockets:
    """Finds the direct sockets of requests, unless ``enabled`` is false.

    Each reason why requests have none is logged once.
    """

    def __init__(self, enabled: bool) -> None:
        self._enabled = enabled
        self._logged: set[str] = set()

    def of(self, environ: dict[str, Any]) -> DirectSocket | None:
        """Return the direct socket of a request, None where it has none."""
        if not self._enabled:
            return None
        answer = direct_socket(environ)
        if isinstance(answer, DirectSocket):
            return answer
        if answer.reason and answer.reason not in self._logged:
            self._logged.add(answer.reason)
            _log.warning(
                "events aren't sent directly: %s. Until then each event wakes the thread of each "
                "stream, at some ten times the cost. (server.direct_send: false says that this "
                "is meant)",
                answer.reason,
            )
        return None
