"""Errors as the body of a response. Rule: RFC 9457 "Problem Details for HTTP APIs"."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable
from http import HTTPStatus

import msgspec
from flask import Response

from ..exceptions import Fault, LogUnavailable

_log = logging.getLogger(__name__)

# A cause is logged this often at most, however many clients ask.
_LOGGED_SECONDS = 1.0
_logged: dict[str, float] = {}
_lock = threading.Lock()


def problem(
    status: int,
    title: str,
    detail: str,
    *,
    faults: Iterable[Fault] = (),
    retry_after: int | None = None,
    headers: dict[str, str] | None = None,
) -> Response:
    """Return a response that says what went wrong, for people and, in ``errors``, for programs.

    ``retry_after`` is in seconds.
    """
    body: dict[str, object] = {
        "type": "about:blank",
        "title": title,
        "status": HTTPStatus(status).value,
        "detail": detail,
        "errors": [{"loc": fault.loc, "msg": fault.msg} for fault in faults],
    }
    response = Response(
        msgspec.json.encode(body) + b"\n",
        status,
        headers=headers,
        content_type="application/problem+json",
    )
    if retry_after is not None:
        response.headers["Retry-After"] = str(retry_after)
    return response


def public_cause(error: LogUnavailable) -> str:
    """Return what clients are told of the error; the whole of it goes to the log.

    Each cause is logged once a second at most.
    """
    now = time.monotonic()
    with _lock:
        due = now - _logged.get(error.public, float("-inf")) >= _LOGGED_SECONDS
        if due:
            _logged[error.public] = now
    if due:
        _log.error("clients are told that %s: %s", error.public, error)
    return error.public
