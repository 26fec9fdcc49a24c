"""``GET /``: what this is and which sinks there are, as JSON or as a page."""

from __future__ import annotations

from flask import Blueprint, Response, jsonify, make_response, render_template, request

from ..config.settings import Settings
from ..config.sink_types import routes


def blueprint(settings: Settings) -> Blueprint:
    """Return the blueprint with the front page."""
    pages = Blueprint("sse_sink_pages", __name__, template_folder="../templates")
    sink_routes = routes(settings.sink)
    about = {
        "service": "flask-sse-sink",
        "about": "POST events to `ingest`; stream them from a sink with EventSource or curl -N.",
        "ingest": settings.ingest.path,
        "sinks": [
            {
                "name": name,
                "url": route.url,
                "match": settings.sink[name].match.filter.types.values(),
            }
            for name, route in sink_routes
        ],
    }
    page = {
        "ingest": settings.ingest.path,
        "routes": [route for _, route in sink_routes],
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
