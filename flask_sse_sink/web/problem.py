"""Errors as the body of a response. Rule: RFC 9457 "Problem Details for HTTP APIs"."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus

import msgspec
from flask import Response

from ..exceptions import Fault, LogUnavailable

_log = logging.getLogger(__name__)

_PERIOD_SECONDS = 1.0


def problem(
    status: int,
    title: str,
    detail: str,
    *,
    faults: Iterable[Fault] = (),
    retry_after: int | None = None,
    headers: dict[str, str] | None = None,
    members: Mapping[str, object] | None = None,
) -> Response:
    """Return a response that tells people, and programs in ``errors``, what went wrong.

    ``retry_after`` is in seconds; ``members`` are more keys of the body.
    """
    body: dict[str, object] = {
        "type": "about:blank",
        "title": title,
        "status": HTTPStatus(status).value,
        "detail": detail,
        "errors": [{"loc": fault.loc, "msg": fault.msg} for fault in faults],
        **(members or {}),
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


class Throttle:
    """Lets one line of each kind a second into the log. ``clock`` returns seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._logged_at: dict[str, float] = {}
        self._lock = threading.Lock()

    def allows(self, kind: str) -> bool:
        """Return whether a line of this kind may be logged now; if so, it is noted as logged."""
        now = self._clock()
        with self._lock:
            if now - self._logged_at.get(kind, float("-inf")) < _PERIOD_SECONDS:
                return False
            self._logged_at[kind] = now
            return True


class CauseLog:
    """Logs why the event log is away, each cause once a second at most, however many clients ask.

    ``clock`` returns seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._throttle = Throttle(clock)

    def add(self, error: LogUnavailable) -> None:
        """Log the error unless its cause was logged within the last second."""
        if not self._throttle.allows(error.public):
            return
        _log.error("clients are told that %s: %s", error.public, error)


#: What this process has logged.
causes = CauseLog()


def public_cause(error: LogUnavailable) -> str:
    """Return the short cause that clients may read; the log of the server gets the whole error."""
    causes.add(error)
    return error.public
