"""``/healthz`` (the process answers) and ``/readyz`` (it can store and stream events)."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from flask import Blueprint, Response, jsonify

from ..exceptions import LogUnavailable
from ..log import EventLog
from .problem import problem, public_cause

# Proving that the log can be written costs a commit: anybody may ask, so not every time.
_FRESH_SECONDS = 1.0


def blueprint(log: Callable[[], EventLog], failure: Callable[[], str]) -> Blueprint:
    """Return the blueprint with both endpoints.

    ``log`` returns this process's log, ``failure`` what else is wrong, or nothing. Anybody may
    read the answers: what is wrong is told in short, and the log has the whole of it.
    """
    found = Blueprint("sse_sink_health", __name__)
    lock = threading.Lock()
    last: tuple[float, str] = (float("-inf"), "")

    def unwritable() -> str:
        """Return why the log can't be written, or nothing."""
        nonlocal last
        with lock:
            if time.monotonic() - last[0] > _FRESH_SECONDS:
                try:
                    log().check()
                    last = time.monotonic(), ""
                except LogUnavailable as error:
                    last = time.monotonic(), public_cause(error)
            return last[1]

    @found.get("/healthz")
    def healthz() -> Response:
        return jsonify(status="alive")

    @found.get("/readyz")
    def readyz() -> Response:
        wrong = failure() or unwritable()
        if wrong:
            return problem(503, "Not ready", wrong, retry_after=2)
        return jsonify(status="ready")

    return found
