"""The direct lane: a stream's socket, where others than its own thread may write to it.

Waking a thread costs some ten times what the write itself does. So whoever has an event writes
it, where it is certain that nobody stands between the stream and its socket.
"""

from __future__ import annotations

import socket
import ssl
import sys
from collections.abc import Callable, Mapping
from typing import Any, Self

from . import capacity
from .connection import Connection

#: Where our worker puts gunicorn's response object in a request's WSGI environment.
RESPONSE_KEY = "sse_sink.response"

#: The flag with which a send takes what the kernel has room for, and never waits.
NOW: int = getattr(socket, "MSG_DONTWAIT", 0)


class DirectSocket:
    """The socket of a response that gunicorn's gthread worker sends in HTTP/1.1's chunked coding.

    ``send`` is the socket's own; what is given to it must be whole chunks.
    """

    __slots__ = ("send", "_socket", "_response", "_environ")

    def __init__(
        self, connection: socket.socket, response: Any, environ: dict[str, Any] | None = None
    ) -> None:
        self.send: Callable[[bytes, int], int] = connection.send
        self._socket = connection
        self._response = response
        self._environ = environ

    @classmethod
    def of(cls, environ: dict[str, Any]) -> Self | None:
        """Return the request's lane, None where only the server itself can write to the client.

        That is so with TLS, HTTP/2, HTTP/1.0, any server that isn't known, and without the
        interpreter's lock, which :class:`~flask_sse_sink.outbox.Outbox` counts on.
        """
        if not getattr(sys, "_is_gil_enabled", lambda: True)():
            return None
        connection = environ.get("gunicorn.socket")
        # The type itself: a TLS socket and gevent's are others.
        if not NOW or type(connection) is not socket.socket:
            return None
        # HTTP_VERSION would be a header that anybody can send.
        if environ.get("SERVER_PROTOCOL") != "HTTP/1.1":
            return None
        if not capacity.is_a(capacity.gunicorn_worker(), "ThreadWorker"):
            return None
        response = _response(environ)
        return None if response is None else cls(connection, response, environ)

    def opens(self, size: int) -> bool:
        """Return whether the ``size`` bytes that were yielded until now went out as they were.

        Or did something on the way hold them back, compress or frame them in another way?
        """
        response, self._response = self._response, None
        environ, self._environ = self._environ, None
        if environ is not None:
            # Hints can't be sent any more, and what sends them takes half a kilobyte.
            environ.pop("wsgi.early_hints", None)
        encoded = any(name.lower() == "content-encoding" for name, _ in response.headers)
        return bool(response.chunked and response.sent == size and not encoded)

    def finish(self, rest: memoryview) -> None:
        """Write the rest of a chunk; wait as long as it takes.

        :raises OSError: the peer is gone.
        """
        self._socket.sendall(rest)

    def cut(self) -> None:
        """See that nothing comes after half a chunk, where the peer would take it for the rest."""
        Connection(self._socket).cut()


def why_none(environ: Mapping[str, Any]) -> str:
    """Return why no request of this server can have a lane, with the cure.

    Empty where others can, as it is for this client's protocol alone, and where no server stands
    behind the request that is meant for more than a try.
    """
    worker = capacity.gunicorn_worker()
    if "werkzeug.socket" in environ or environ.get("SERVER_PROTOCOL") != "HTTP/1.1":
        return ""
    if not getattr(sys, "_is_gil_enabled", lambda: True)():
        return "this Python runs without its global lock; use one that has it"
    if worker is None:
        # A test client names no server.
        server = environ.get("SERVER_SOFTWARE") or ("ASGI" if "asgi.scope" in environ else "")
        return server and f"it is known for gunicorn alone, and this is {server}"
    if not capacity.is_a(worker, "ThreadWorker"):
        return f"gunicorn's worker class is {type(worker).__name__}; use --worker-class gthread"
    if isinstance(environ.get("gunicorn.socket"), ssl.SSLSocket):
        return "gunicorn itself speaks TLS; leave that to a proxy before it"
    if _response(environ) is None:
        version = getattr(sys.modules.get("gunicorn"), "__version__", "")
        return f"gunicorn {version} doesn't hand out its response; use 25.0 or newer"
    return ""


def _response(environ: Mapping[str, Any]) -> Any:
    """Return gunicorn's own response to the request, which counts the bytes of its body."""
    if (response := environ.get(RESPONSE_KEY)) is not None:
        return response
    module = sys.modules.get("gunicorn.http.wsgi")
    # gunicorn's own workers hand it to nobody, but this function of theirs has hold of it.
    hints = environ.get("wsgi.early_hints")
    for cell in getattr(hints, "__closure__", None) or ():
        if module is not None and isinstance(cell.cell_contents, module.Response):
            return cell.cell_contents
    return None
