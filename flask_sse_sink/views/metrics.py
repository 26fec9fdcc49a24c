"""``GET /metrics``: for Prometheus, the sums of all workers."""

from __future__ import annotations

from flask import Blueprint, Response, request

from .. import metrics


def blueprint() -> Blueprint:
    """Return the blueprint with the endpoint."""
    found = Blueprint("sse_sink_metrics", __name__)

    @found.get("/metrics")
    def expose() -> Response:
        body, content_type = metrics.expose(request.headers.get("Accept", ""))
        return Response(body, content_type=content_type, headers={"Cache-Control": "no-store"})

    return found
