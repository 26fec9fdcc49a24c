"""Gives the ready server's app the live console: at ``/``, and at the paths of its streams."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Flask, Response, request
from flask.typing import ResponseReturnValue

from ..config.settings import SinkSettings
from ..config.sink_types import Route, routes
from ..description.blueprint import DescribedBlueprint
from ..runtime import Runtime
from ..sinks.base import Sink
from ..sinks.sse import SSE
from ..web import console, console_description


def add_pages(app: Flask, runtime: Runtime) -> Callable[[], Response]:
    """Have a browser that opens a stream's URL get the console with this sink selected.

    Return what makes the page where no sink is selected.
    """
    data = _page_data(runtime)
    for name, sink in runtime.sinks.items():
        if isinstance(sink, SSE):
            endpoint = f"{name}.stream"
            view = app.view_functions[endpoint]
            app.view_functions[endpoint] = _with_page(view, data, name)
            blueprint = sink.blueprint
            if isinstance(blueprint, DescribedBlueprint):
                blueprint.describe = console_description.with_page(blueprint.describe)
    return lambda: console.page(data)


def open_sinks(runtime: Runtime) -> list[str]:
    """Return the names of the sinks of which anybody may know more than the name."""
    return [name for name, sink in runtime.settings.sink.items() if sink.access == "none"]


def _with_page(
    view: Callable[..., Any], data: dict[str, object], name: str
) -> Callable[[], ResponseReturnValue]:
    """Return a view that answers with the page if a browser opens the URL, else as ``view``."""

    def respond() -> ResponseReturnValue:
        response: Response = console.page(data, name) if console.wants_page(request) else view()
        response.headers.add("Vary", "Accept")
        return response

    return respond


def _page_data(runtime: Runtime) -> dict[str, object]:
    settings = runtime.settings
    urls: dict[str, list[Route]] = {}
    for name, route in routes(settings.sink):
        urls.setdefault(name, []).append(route)
    return {
        "ingest": settings.ingest.path,
        "publish_needs_token": settings.ingest.auth != "none",
        "tickets": runtime.tickets is not None,
        "sinks": [
            _shown(sink, settings.sink[name], urls[name]) for name, sink in runtime.sinks.items()
        ],
    }


def _shown(sink: Sink, settings: SinkSettings, urls: list[Route]) -> dict[str, object]:
    """Return what the page knows of a sink: of a closed one its name and paths alone."""
    is_stream = isinstance(sink, SSE)
    paths = [{"method": route.method, "url": route.url} for route in urls]
    known = {
        "name": sink.name,
        "stream": is_stream,
        "closed": settings.access != "none",
        "url": urls[0].url,
        "routes": paths,
    }
    if settings.access != "none":
        return known
    return known | {
        "routes": [path | {"about": route.about} for path, route in zip(paths, urls, strict=True)],
        "match": settings.match.filter.types.values(),
        "replay": isinstance(sink, SSE) and sink.settings.replay.on,
    }
