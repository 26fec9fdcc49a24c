"""``GET /metrics``: the metrics for Prometheus, added up over all workers."""

from __future__ import annotations

import logging
from collections.abc import Callable

from flask import Blueprint, Response, request

from .. import metrics
from .problem import problem

_log = logging.getLogger(__name__)


def blueprint(refresh: Callable[[], None] = lambda: None) -> Blueprint:
    """Return the blueprint with the endpoint; ``refresh`` sets what the metrics tell of now."""
    pages = Blueprint("sse_sink_metrics", __name__)

    @pages.get("/metrics")
    def expose() -> Response:
        try:
            refresh()
            body, content_type = metrics.expose(request.headers.get("Accept", ""))
        except Exception as error:
            # The folder of the counts is gone, or its files are damaged.
            _log.error("metrics can't be read: %s: %s", type(error).__name__, error)
            detail = "they can't be read; the server's log says why"
            return problem(503, "Metrics are away", detail)
        return Response(body, content_type=content_type, headers={"Cache-Control": "no-store"})

    return pages
