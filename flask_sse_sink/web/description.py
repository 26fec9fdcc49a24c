"""``GET /openapi.json`` and ``GET /asyncapi.json``: the descriptions of an app's endpoints."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import metadata
from typing import Any

import msgspec
from flask import Blueprint, Flask, Response, current_app, request

from ..config.settings import Settings
from ..config.sink_types import routes
from ..description import asyncapi, openapi
from ..description.blueprint import DescribedBlueprint, operations
from ..description.openapi import VERSIONS, About, Version
from ..description.operations import (
    ACCESS_TOKEN,
    COOKIE,
    INGEST_TOKEN,
    TICKET,
    Answer,
    Content,
    Header,
    Operation,
    Parameter,
    Schema,
)
from . import answers, request_id
from .problem import problem

OPENAPI_PATH = "/openapi.json"
ASYNCAPI_PATH = "/asyncapi.json"

# How the text of a document ends.
_END = b"\n}\n"

_ABOUT = """\
Events come in by `POST` and are stored once, in order. Sinks stream them to whoever holds a \
connection, or give them out in batches that are confirmed.

Every error is `application/problem+json` (RFC 9457). Its `detail` says what is wrong and what to \
do; `errors` says it for each part of a body.
"""


_TAGS = {
    "ingest": "Events come in.",
    "streams": "Events go out at once, to clients that hold a connection.",
    "pulled sinks": "Events go out in batches, which consumers confirm.",
    "access": "How a client shows that it may read.",
    "server": "The server itself: its health, metrics, pages and descriptions.",
}


def openapi_document(
    app: Flask, settings: Settings, url: str, version: Version = VERSIONS[0]
) -> dict[str, Any]:
    """Return the OpenAPI document of the app's described endpoints.

    ``url`` is the one that their paths are below. It may be relative to the document's own.
    """
    return _openapi(app, settings, version) | {"servers": _openapi_servers(url)}


def asyncapi_document(app: Flask, settings: Settings, url: str) -> dict[str, Any]:
    """Return the AsyncAPI document of the app's endpoints that carry events.

    ``url`` is the absolute one that their paths are below.
    """
    return _asyncapi(app, settings) | {"servers": _asyncapi_servers(url)}


def _openapi(app: Flask, settings: Settings, version: Version) -> dict[str, Any]:
    schemes = security_schemes(settings)
    return openapi.document(_about(), operations(app, settings), schemes, version)


def _asyncapi(app: Flask, settings: Settings) -> dict[str, Any]:
    return asyncapi.document(_about(), operations(app, settings), security_schemes(settings))


def _openapi_servers(url: str) -> object:
    return [{"url": url}]


def _asyncapi_servers(url: str) -> object:
    # The host may be whatever a client has sent, which urlsplit() may refuse.
    scheme, _, rest = url.partition("://")
    host, _, path = rest.partition("/")
    server = {"host": host, "protocol": scheme}
    if path.strip("/"):
        server["pathname"] = f"/{path.strip('/')}"
    return {"this": server}


def address(settings: Settings) -> str:
    """Return the URL that the server has by its settings alone."""
    host, port = settings.server.host, settings.server.port
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def security_schemes(settings: Settings) -> dict[str, Schema]:
    """Return the ways to say who sends a request, as they are configured.

    Issuers, tokens and their names aren't in them: anybody may read this.
    """
    access = settings.access
    schemes: dict[str, Schema] = {}
    if settings.ingest.auth != "none":
        schemes[INGEST_TOKEN] = _bearer("One of `ingest.tokens`. It may publish everything.")
    is_closed = {name: sink.access != "none" for name, sink in settings.sink.items()}
    if any(is_closed.values()) or access.tokens or access.issuers:
        schemes[ACCESS_TOKEN] = _bearer("A token that grants to read or to publish some events.")
        if access.issuers:
            schemes[ACCESS_TOKEN]["bearerFormat"] = "JWT"
    if any(route.stream and is_closed[name] for name, route in routes(settings.sink)):
        if access.secret.values:
            about = "What `POST /tickets` gave for this sink. For streams alone."
            schemes[TICKET] = _key("query", TICKET, about)
        if access.cookie:
            about = "The access token, in a cookie. For streams and for `POST /tickets` alone."
            schemes[COOKIE] = _key("cookie", str(access.cookie), about)
    return schemes


def _bearer(about: str) -> Schema:
    return {"type": "http", "scheme": "bearer", "description": about}


def _key(place: str, name: str, about: str) -> Schema:
    return {"type": "apiKey", "in": place, "name": name, "description": about}


def _about() -> About:
    id = Header(
        request_id.HEADER,
        "The request's id, as its client sent it in this header, or a new one. Log lines name it.",
        {"type": "string"},
        "7f3c",
    )
    version = metadata.version("flask-sse-sink")
    return About("flask-sse-sink", version, _ABOUT, _TAGS, [id])


def blueprint(settings: Callable[[], Settings]) -> Blueprint:
    """Return the blueprint with both documents; ``settings`` returns those of the app."""
    pages = DescribedBlueprint("sse_sink_description", __name__, _describe)
    # To make a document takes milliseconds, and anybody may ask for one. So the texts are kept,
    # without the server's URL, which may differ from request to request.
    texts: dict[str, bytes] = {}

    @pages.get(OPENAPI_PATH)
    def openapi_json() -> Response:
        version = request.args.get("version", VERSIONS[0])
        if version not in VERSIONS:
            detail = f"{version[:80]!r} is none of {', '.join(VERSIONS)}; send one of these"
            return problem(400, "Malformed version", detail)
        if version not in texts:
            texts[version] = text(_openapi(current_app, settings(), version))
        return _response(texts[version], _openapi_servers(request.script_root or "/"))

    @pages.get(ASYNCAPI_PATH)
    def asyncapi_json() -> Response:
        if "asyncapi" not in texts:
            texts["asyncapi"] = text(_asyncapi(current_app, settings()))
        # HTTP/1.0 needs no Host.
        url = request.root_url if request.host else address(settings())
        return _response(texts["asyncapi"], _asyncapi_servers(url))

    return pages


def _response(document: bytes, servers: object) -> Response:
    """Return the response with a document that has these servers, as its last member."""
    added = b',\n  "servers": ' + msgspec.json.encode(servers)
    body = document.removesuffix(_END) + added + _END
    response = Response(body, content_type="application/json")
    # It changes with the configuration: caches may keep it, and ask whether it is still right.
    response.headers["Cache-Control"] = "no-cache"
    response.add_etag()
    response.make_conditional(request)
    return response


def text(document: dict[str, Any]) -> bytes:
    """Return a document as it is served and printed."""
    formatted: bytes = msgspec.json.format(msgspec.json.encode(document), indent=2)
    return formatted + b"\n"


def _describe(settings: Settings) -> Sequence[Operation]:
    about = (
        "Its `ETag` changes with the configuration: send it as `If-None-Match`, and the answer "
        "is `304` while nothing has changed."
    )
    version = Parameter(
        "version",
        f"The version of OpenAPI, `{VERSIONS[0]}` if it is missing. Only in 3.2 a document can "
        "say what a stream consists of.",
        {"type": "string", "enum": list(VERSIONS)},
        VERSIONS[-1],
    )
    return (
        Operation(
            "GET",
            OPENAPI_PATH,
            "openapi",
            "This description, as OpenAPI",
            [
                *_answers({"openapi": "3.1.1"}),
                answers.problem(400, "Malformed version", "'2' is none of 3.1, 3.2"),
            ],
            about,
            "server",
            [version],
        ),
        Operation(
            "GET",
            ASYNCAPI_PATH,
            "asyncapi",
            "The endpoints that carry events, as AsyncAPI",
            _answers({"asyncapi": "3.0.0"}),
            about,
            "server",
        ),
    )


def _answers(example: dict[str, str]) -> Sequence[Answer]:
    content = Content("application/json", {"type": "object"}, {"beginning": example})
    return Answer(200, "The document.", [content], [answers.ETAG]), answers.NOT_MODIFIED
