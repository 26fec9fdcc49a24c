"""``GET /``: what this is and which sinks there are, as JSON or as a page."""

from __future__ import annotations

from flask import Blueprint, Response, jsonify, make_response, render_template, request

from ..config.settings import Settings, stream_url


def blueprint(settings: Settings) -> Blueprint:
    """Return the blueprint with the front page."""
    found = Blueprint("sse_sink_pages", __name__, template_folder="../templates")
    sinks = [
        {"name": name, "url": stream_url(name, sink), "match": sink.match.filter.patterns()}
        for name, sink in settings.sink.items()
    ]
    about = {
        "service": "flask-sse-sink",
        "about": "POST events to `ingest`; stream them from a sink with EventSource or curl -N.",
        "ingest": settings.ingest.path,
        "sinks": sinks,
    }

    @found.get("/")
    def index() -> Response:
        accepted = request.accept_mimetypes
        if accepted.best_match(["application/json", "text/html"]) == "text/html":
            response = make_response(render_template("sse_sink/index.html", **about))
        else:
            response = jsonify(about)
        response.vary.add("Accept")
        return response

    return found
