"""The id of a request: taken from ``X-Request-Id`` or made, answered, and named in log lines."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from flask import Blueprint, Flask, Response, has_request_context, request

from ..ids import new_id

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

HEADER = "X-Request-Id"

# No white space, quotes or brackets: an id can't look like another part of a log line.
_SAFE = re.compile(r"[A-Za-z0-9._~:/+=@-]{1,128}")
_KEY = "sse_sink.request_id"
# Where an app whose every answer has an id says so.
_INSTALLED = "sse_sink_request_id"

#: The loggers of this package that are used while a request is answered.
LOGGERS = tuple(
    logging.getLogger(f"flask_sse_sink.{name}")
    for name in (
        "stream.admission",
        "stream.direct_socket",
        "stream.response",
        "web.access",
        "web.metrics",
        "web.problem",
    )
)


def of(environ: dict[str, Any]) -> str:
    """Return the id of a request: what its client sent if that can be used, else one of ours."""
    id: str | None = environ.get(_KEY)
    if id is None:
        sent = environ.get("HTTP_X_REQUEST_ID", "")
        usable = sent and _SAFE.fullmatch(sent)
        id = environ[_KEY] = sent if usable else new_id()
    return id


def answering(app: WSGIApplication) -> WSGIApplication:
    """Return a WSGI app, each of whose answers names the id of its request.

    Flask's ``after_request`` would do the same in several times the time.
    """

    def call(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        id = of(environ)

        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            return start_response(status, [*headers, (HEADER, id)], exc_info)

        return app(environ, start)

    return call


def answer(response: Response) -> Response:
    """Add the id of the current request to the answer of a view: for ``after_request``."""
    response.headers.add(HEADER, of(request.environ))
    return response


def suffix(id: str) -> str:
    """Return what stands at the end of a log line about the request of this id."""
    return f" request_id={id}"


def note(record: logging.LogRecord) -> bool:
    """Add the id of the current request, if there is one, to a line of the log: a filter."""
    if has_request_context():
        id = of(request.environ)
        record.request_id = id
        record.msg = f"{record.msg}{suffix(id)}"
    return True


def note_in_logs() -> None:
    """Add the id to the lines of this package. A logger has a filter once."""
    for logger in LOGGERS:
        logger.addFilter(note)


def install(app: Flask) -> None:
    """Have each answer of an app name the request's id, and each line of the app's own log."""
    app.extensions[_INSTALLED] = True
    app.wsgi_app = answering(app.wsgi_app)  # type: ignore[method-assign, assignment]
    app.logger.addFilter(note)


def install_for(blueprint: Blueprint, app: Flask) -> None:
    """Have the answers of a blueprint of this app name the request's id."""
    if _INSTALLED not in app.extensions:
        blueprint.after_request(answer)
