"""``/healthz`` (the process answers) and ``/readyz`` (it can store and stream events)."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Literal

from flask import Blueprint, Response, jsonify
from msgspec import Struct

from ..config.settings import Settings
from ..description.blueprint import DescribedBlueprint
from ..description.operations import Operation
from ..exceptions import LogUnavailable
from ..log import EventLog
from . import answers
from .problem import problem, public_cause

# A check of the log costs a commit, and anybody may ask for one: its result is kept this long.
_FRESH_SECONDS = 1.0


def blueprint(log: Callable[[], EventLog], failure: Callable[[], str]) -> Blueprint:
    """Return the blueprint with both endpoints.

    ``log`` returns this process's log, ``failure`` what else is wrong, "" where nothing is.
    Anybody may read the answers, so they name a problem in short; the server's log has the rest.
    """
    health = DescribedBlueprint("sse_sink_health", __name__, describe)
    log_check = _LogCheck(log)

    @health.get("/healthz")
    def healthz() -> Response:
        return jsonify(status="alive")

    @health.get("/readyz")
    def readyz() -> Response:
        detail = failure() or log_check.failure()
        if detail:
            return problem(503, "Not ready", detail, retry_after=2)
        return jsonify(status="ready")

    return health


class Alive(Struct):
    """The process answers."""

    status: Literal["alive"]


class Ready(Struct):
    """Events can be stored and streamed."""

    status: Literal["ready"]


def describe(settings: Settings) -> Sequence[Operation]:
    """Return the descriptions of both endpoints."""
    return (
        Operation(
            "GET",
            "/healthz",
            "healthz",
            "Whether the process answers",
            [answers.json(200, "It does.", Alive, alive={"status": "alive"})],
            tag="server",
        ),
        Operation(
            "GET",
            "/readyz",
            "readyz",
            "Whether events can be stored and streamed",
            [
                answers.json(200, "They can.", Ready, ready={"status": "ready"}),
                answers.problem(
                    503,
                    "Not ready",
                    "the event log can't be opened",
                    about="They can't; `detail` says why.",
                    headers=[answers.RETRY_AFTER],
                ),
            ],
            tag="server",
        ),
    )


class _LogCheck:
    """Checks that the log can be written, once a second at most. Any thread may ask."""

    def __init__(self, log: Callable[[], EventLog]) -> None:
        self._log = log
        self._lock = threading.Lock()
        self._checked_at = float("-inf")
        self._failure = ""

    def failure(self) -> str:
        """Return why the log can't be written, "" if it can."""
        with self._lock:
            if time.monotonic() - self._checked_at > _FRESH_SECONDS:
                try:
                    self._log().check()
                    self._failure = ""
                except LogUnavailable as error:
                    self._failure = public_cause(error)
                self._checked_at = time.monotonic()
            return self._failure
