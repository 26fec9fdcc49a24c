"""Apps in this process, and streams from them without a server."""

from __future__ import annotations

from collections.abc import Callable

from flask import Flask

from flask_sse_sink.extension import runtime_of
from flask_sse_sink.submission import new_event
from support.stream import AppStream

#: Makes an app whose sections of the configuration are the keyword arguments.
MakeApp = Callable[..., Flask]
#: Opens a stream of an app, with a query and a path.
Listen = Callable[..., AppStream]


def publish(app: Flask, *event_types: str) -> list[int]:
    """Store one event after the other, and return their ids."""
    append = runtime_of(app).publish
    return [append([new_event(name)]).ids[0] for name in event_types]
