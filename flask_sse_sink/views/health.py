"""``/healthz`` (the process answers) and ``/readyz`` (it can store and stream events)."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from flask import Blueprint, Response, jsonify

from ..exceptions import LogUnavailable
from ..log import EventLog
from ..problem import problem
from ..relay import Relay

# Proving that the log can be written costs a commit: anybody may ask, so not every time.
_FRESH_SECONDS = 1.0


def blueprint(log: Callable[[], EventLog], started: Callable[[], Relay]) -> Blueprint:
    """Return the blueprint with both endpoints.

    ``log`` returns this process's log, ``started`` its relay.
    """
    found = Blueprint("sse_sink_health", __name__)
    lock = threading.Lock()
    last: tuple[float, str] = (float("-inf"), "")

    def failure() -> str:
        """Return what is wrong, or nothing."""
        try:
            relay = started()
            log().check()
        except LogUnavailable as error:
            return str(error)
        return "" if relay.alive else f"the relay doesn't run: {relay.failure or 'it ended'}"

    @found.get("/healthz")
    def healthz() -> Response:
        return jsonify(status="alive")

    @found.get("/readyz")
    def readyz() -> Response:
        nonlocal last
        with lock:
            if time.monotonic() - last[0] > _FRESH_SECONDS:
                last = (time.monotonic(), failure())
            wrong = last[1]
        if wrong:
            return problem(503, "Not ready", wrong, retry_after=2)
        return jsonify(status="ready")

    return found
