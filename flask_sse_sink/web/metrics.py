"""``GET /metrics``: the metrics for Prometheus, added up over all workers."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from flask import Blueprint, Response, request

from .. import metrics
from ..config.settings import Settings
from ..description.blueprint import DescribedBlueprint
from ..description.operations import Answer, Content, Operation
from . import answers
from .problem import problem

_log = logging.getLogger(__name__)

_EXAMPLE = """# HELP sse_sink_clients Streams that are open.
# TYPE sse_sink_clients gauge
sse_sink_clients{sink="events_stream"} 3.0
"""


def blueprint(refresh: Callable[[], None] = lambda: None) -> Blueprint:
    """Return the blueprint with the endpoint; ``refresh`` sets what the metrics tell of now."""
    pages = DescribedBlueprint("sse_sink_metrics", __name__, describe)

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


def describe(settings: Settings) -> Sequence[Operation]:
    """Return the description of the endpoint."""
    text = {"type": "string"}
    contents = [
        Content("text/plain", text, {"metrics": _EXAMPLE}),
        Content("application/openmetrics-text", text),
    ]
    away = answers.problem(
        503, "Metrics are away", "they can't be read; the server's log says why"
    )
    return (
        Operation(
            "GET",
            "/metrics",
            "metrics",
            "The metrics of all workers, for Prometheus",
            [
                Answer(200, "In the format that `Accept` asks for.", contents, [answers.NO_STORE]),
                away,
            ],
            tag="server",
        ),
    )
