"""``GET /``: what this is and which sinks there are, as JSON or as a page."""

from __future__ import annotations

from flask import Blueprint, Response, jsonify, make_response, render_template, request

from ..config.settings import Settings, SinkSettings
from ..config.sink_types import Route, routes


def blueprint(settings: Settings) -> Blueprint:
    """Return the blueprint with the front page."""
    pages = Blueprint("sse_sink_pages", __name__, template_folder="../templates")
    sink_routes = routes(settings.sink)
    about = {
        "service": "flask-sse-sink",
        "about": "POST events to `ingest`; stream them from a sink with EventSource or curl -N.",
        "ingest": settings.ingest.path,
        "sinks": [_shown(name, route, settings.sink[name]) for name, route in sink_routes],
    }
    page = {
        "ingest": settings.ingest.path,
        "routes": [
            route._replace(about="needs a token") if _is_closed(settings.sink[name]) else route
            for name, route in sink_routes
        ],
        "stream": next((route for _, route in sink_routes if route.stream), None),
    }

    @pages.get("/")
    def index() -> Response:
        accepted = request.accept_mimetypes
        if accepted.best_match(["application/json", "text/html"]) == "text/html":
            response = make_response(render_template("sse_sink/index.html", **page))
        else:
            response = jsonify(about)
        response.vary.add("Accept")
        return response

    return pages


def _shown(name: str, route: Route, sink: SinkSettings) -> dict[str, object]:
    """Return what anybody may know of a sink: of a closed one its name and path alone."""
    if _is_closed(sink):
        return {"name": name, "url": route.url, "access": "token"}
    return {"name": name, "url": route.url, "match": sink.match.filter.types.values()}


def _is_closed(sink: SinkSettings) -> bool:
    return sink.access != "none"
