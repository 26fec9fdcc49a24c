"""Answers that begin before the whole body of their request has come."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from ..stream.direct_socket import RESPONSE_KEY
from ..stream.session import OPENED_KEY
from .http_connection import HttpConnection
from .joined_response import join

_App = Callable[[dict[str, Any], Any], Iterable[bytes]]


def attach(request: Any, connection: HttpConnection) -> None:
    """Note the connection of a request, for the app that :func:`with_response` returns."""
    request.sse_sink_connection = connection


def with_response(app: _App) -> _App:
    """Return the app, which then finds gunicorn's response object in its environment.

    An answer that begins before the whole body has come closes the connection: the rest of the
    body stands where the next request would.
    """

    def call(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        response = start_response.__self__
        environ[RESPONSE_KEY] = response
        join(response)
        request = response.req
        connection: HttpConnection | None = getattr(request, "sse_sink_connection", None)
        if connection is not None and connection.on_opened is not None:
            environ[OPENED_KEY], connection.on_opened = connection.on_opened, None
        if connection is None or not _is_unread(request, connection):
            return app(environ, start_response)

        def start(status: str, headers: Any, exc_info: Any = None) -> Any:
            if _is_unread(request, connection):
                connection.is_refused = True
                response.force_close()
            return start_response(status, headers, exc_info)

        return app(environ, start)

    return call


def _is_unread(request: Any, connection: HttpConnection) -> bool:
    """Return whether bytes of the body are still to come, or where it ends is unknown."""
    body = request.body
    reader = connection.parser.unreader
    if reader.continue_due or getattr(body, "failed", False):
        return True
    length = getattr(body.reader, "length", None)
    if length is not None:
        return bool(length > reader.buffered())
    return getattr(body.reader, "parser", None) is not None
