"""``GET /``: what this is and which sinks there are, as JSON; for browsers, the console."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from flask import Blueprint, Response, jsonify, request

from ..config.settings import Settings, SinkSettings
from ..config.sink_types import Route, routes
from ..description.blueprint import DescribedBlueprint
from ..description.operations import TEXT, Answer, Content, Operation


def blueprint(settings: Settings, console: Callable[[], Response] | None = None) -> Blueprint:
    """Return the blueprint with the front page; ``console`` makes the page for browsers."""
    pages = DescribedBlueprint("sse_sink_pages", __name__, _describe)
    about = {
        "service": "flask-sse-sink",
        "about": "POST events to `ingest`; stream them from a sink with EventSource or curl -N.",
        "ingest": settings.ingest.path,
        "sinks": [
            _shown(name, route, settings.sink[name]) for name, route in routes(settings.sink)
        ],
    }

    @pages.get("/")
    def index() -> Response:
        accepted = request.accept_mimetypes
        wants_html = accepted.best_match(["application/json", "text/html"]) == "text/html"
        response = console() if wants_html and console is not None else jsonify(about)
        response.vary.add("Accept")
        return response

    return pages


def _describe(settings: Settings) -> Sequence[Operation]:
    contents = [Content("application/json", {"type": "object"})]
    if settings.server.console:
        contents.append(Content("text/html", TEXT))
    answer = Answer(200, "The sinks; for browsers, the console.", contents)
    return (Operation("GET", "/", "index", "The sinks", [answer], tag="server"),)


def _shown(name: str, route: Route, sink: SinkSettings) -> dict[str, object]:
    """Return what anybody may know of a sink: of a closed one its name and path alone."""
    if sink.access != "none":
        return {"name": name, "url": route.url, "access": "token"}
    return {"name": name, "url": route.url, "match": sink.match.filter.types.values()}
