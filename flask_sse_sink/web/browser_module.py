"""``GET /sse-sink.js``: the module with which pages read streams."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from flask import Blueprint, Response, request

from ..config.settings import Settings
from ..description.blueprint import DescribedBlueprint
from ..description.operations import TEXT, Answer, Content, Operation, Parameter
from . import answers
from .static_text import StaticText

PATH = "/sse-sink.js"
FILE = Path(__file__).parents[1] / "static" / "sse-sink.js"

_HEADERS = {
    "Content-Type": "text/javascript; charset=utf-8",
    "X-Content-Type-Options": "nosniff",
    # Pages of every origin may import it, those too that are isolated from other origins.
    "Access-Control-Allow-Origin": "*",
    "Cross-Origin-Resource-Policy": "cross-origin",
}
_FOR_EVER = "public, max-age=31536000, immutable"
_REVALIDATED = "public, no-cache"


def browser_module() -> Blueprint:
    """Return a blueprint with the module, for any app: ``GET /sse-sink.js``.

    With ``?v=`` and the version of this package, its URL stands for this text for ever. With
    another version, or with none, caches must ask whether they have the newest text.
    """
    module = DescribedBlueprint("sse_sink_browser_module", __name__, _describe)
    text = StaticText(FILE.read_bytes())
    version = metadata.version("flask-sse-sink")

    @module.get(PATH)
    def sse_sink_js() -> Response:
        is_of_this_version = request.args.get("v") == version
        caching = _FOR_EVER if is_of_this_version else _REVALIDATED
        return text.response({**_HEADERS, "Cache-Control": caching})

    return module


def _describe(settings: Settings) -> Sequence[Operation]:
    about = "The package's version: then the URL stands for this text for ever."
    text = Answer(200, "The module.", [Content("text/javascript", TEXT)], [answers.ETAG])
    return (
        Operation(
            "GET",
            PATH,
            "browser_module",
            "The module with which pages read streams",
            [text, answers.NOT_MODIFIED],
            tag="server",
            parameters=[Parameter("v", about, TEXT)],
        ),
    )
