"""What a sink of type ``sse`` is to its clients: its description."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from ..cloudevents.schema import CLOUD_EVENT, EXAMPLE
from ..description.operations import (
    ACCESS_TOKEN,
    COOKIE,
    TEXT,
    TICKET,
    Answer,
    Content,
    Frame,
    Header,
    Operation,
    Parameter,
    Schema,
)
from ..event import Event
from ..filters import MAX_VALUES
from ..stream import frame
from ..stream.probe import MAX_FRAMES
from ..stream.settings import SSESettings
from ..stream.subscription import EARLIEST, LAST_ID_PARAMETERS
from ..web import answers
from .common_description import TOO_LONG, filter_parameters, let_through

#: The header with which a sink with replay tells the log's identity: ids are of that log alone.
LOG_HEADER = "Sse-Sink-Log"

_ABOUT = """\
The stream begins with `info: connected` and has no end. Only events come that are stored after \
that. When nothing was written for {heartbeat}, a heartbeat comes.

`HEAD` answers the headers alone.
"""
_REPLAY = """
A client that comes back sends the id of the last frame that it read, and gets what it missed \
first. What is no longer kept is told with `info: missed`.
"""

_LAST_ID: Schema = {"type": "string", "pattern": rf"^([0-9]{{1,18}}|{EARLIEST})?$"}
_LAST_ID_ABOUT = (
    f"The id of the last frame that the client read, or `{EARLIEST}` for all events that are "
    "kept. The header `Last-Event-ID` counts before the query"
)
_MISSED = """missed {"count":3,"first_id":5,"last_id":7}"""


_PROBE = Parameter(
    "probe",
    f"How many frames of a probe to send, {MAX_FRAMES} at most: their times of arrival tell "
    "whether something on the way holds frames back.",
    {"type": "integer", "minimum": 0, "maximum": 9999},
    10,
)

_INFO = Parameter(
    "info",
    "`settings` asks for a frame with the sink's settings. Other values do nothing.",
    TEXT,
    "settings",
)


class ProbeFrame(Struct):
    """One frame of a probe, and how the request arrived at the server."""

    number: Annotated[int, Meta(ge=1, le=MAX_FRAMES)]
    count: Annotated[int, Meta(ge=1, le=MAX_FRAMES)]
    time: Annotated[str, Meta(extra_json_schema={"format": "date-time"})]
    protocol: str | None
    last_event_id: str | None
    heartbeat_timeout: float
    direct: Annotated[bool, Meta(description="whether events are sent past the stream's thread")]


_PROBE_EXAMPLE = {
    "number": 1,
    "count": 10,
    "time": "2026-11-25T10:00:00.000000+00:00",
    "protocol": "HTTP/1.1",
    "last_event_id": None,
    "heartbeat_timeout": 30.0,
    "direct": True,
}


def describe(name: str, settings: SSESettings, path: str) -> Sequence[Operation]:
    """Return the description of a sink's stream."""
    is_closed = settings.access != "none"
    has_replay = settings.replay.on
    about = _ABOUT.format(heartbeat=f"{settings.heartbeat_timeout:g} seconds")
    return (
        Operation(
            "GET",
            path,
            f"stream_{name}",
            f"Stream {name}",
            [_stream(settings), *_errors(settings)],
            let_through(settings) + about + (_REPLAY if has_replay else ""),
            "streams",
            [*filter_parameters(), *(_position() if has_replay else ()), _PROBE, _INFO],
            security=[ACCESS_TOKEN, TICKET, COOKIE] if is_closed else (),
            carries="out",
        ),
    )


def _stream(settings: SSESettings) -> Answer:
    headers = [
        Header("Cache-Control", "Not to be kept or changed.", TEXT, "no-cache, no-transform"),
        Header("X-Accel-Buffering", "nginx isn't to hold it back.", TEXT, "no"),
    ]
    if settings.replay.on:
        about = "The identity of the log that the ids are of. Send it as `log`."
        headers.append(Header(LOG_HEADER, about, TEXT))
    if settings.cors_origins:
        about = "The page's origin, if it is one of `cors_origins`."
        headers.append(Header("Access-Control-Allow-Origin", about, TEXT))
    frames = _frames(settings)
    event = msgspec.json.encode(_message(settings).example)
    retry_ms = round(settings.retry * 1000)
    example = (frame.connected(retry_ms) + frame.message(42, event) + frame.HEARTBEAT).decode()
    content = Content("text/event-stream", TEXT, {"stream": example}, frames=frames)
    return Answer(200, "The stream.", [content], headers)


def _frames(settings: SSESettings) -> list[Frame]:
    replays = settings.replay.on
    frames = [
        Frame("connected", "info", "The stream is open.", {"const": "connected"}, "connected"),
        _message(settings),
        Frame(
            "settings",
            "info",
            "The sink's settings, after `connected`, for a client that asks for them.",
            {"pattern": r"^settings \{.*\}$"},
            'settings {"heartbeat_timeout":30.0,"retry":3.0,"log":null}',
        ),
        Frame(
            "missed",
            "info",
            "Events that this client doesn't get: how many (`null` if that isn't known), the "
            "first and the last id of them, and a `reason`.",
            {"pattern": r"^missed \{.*\}$"},
            _MISSED,
        ),
        Frame("heartbeat", "heartbeat", "The stream still works.", {"const": "ping"}, "ping"),
        Frame("probe", "probe", "A frame of a probe.", ProbeFrame, _PROBE_EXAMPLE),
        Frame("closing", "info", "The server ends the stream.", {"const": "closing"}, "closing"),
        Frame("busy", "info", "No stream now; come back.", {"const": "busy"}, "busy"),
    ]
    if settings.access != "none":
        about = "The token ends, or was revoked: so does the stream."
        frames.append(Frame("expired", "info", about, {"const": "expired"}, "expired"))
    # With replay a client can go on after each of these.
    with_id = ("connected", "missed", "heartbeat") if replays else ()
    return [each._replace(has_id=each.has_id or each.name in with_id) for each in frames]


def _message(settings: SSESettings) -> Frame:
    event = Frame("message", "message", "An event.", Event, answers.EVENT, has_id=True)
    if settings.format != "cloudevents":
        return event
    json = {"contentMediaType": "application/json", "contentSchema": CLOUD_EVENT}
    return event._replace(about="An event, as a CloudEvent.", data=json, example=EXAMPLE)


def _position() -> Sequence[Parameter]:
    first, *others = LAST_ID_PARAMETERS
    names = ", ".join(f"`{name}`" for name in others)
    header = Parameter("Last-Event-ID", f"{_LAST_ID_ABOUT}.", _LAST_ID, "42", "header")
    return (
        header,
        Parameter(
            first,
            f"{_LAST_ID_ABOUT}. Some libraries call it {names}.",
            _LAST_ID,
            "42",
            aliases=others,
        ),
        Parameter(
            "since",
            "Without an id: events that were stored in this time (`10m`, `1h 30m`), or since this "
            "time (ISO 8601).",
            TEXT,
            "10m",
        ),
        Parameter(
            "log",
            f"The identity of the log that the id is of, as the header `{LOG_HEADER}` had it.",
            TEXT,
        ),
    )


def _errors(settings: SSESettings) -> Sequence[Answer]:
    malformed = answers.problem(
        400,
        "Malformed event_type",
        '\'a*\' is not a pattern; write "*", a prefix like "user.*", or an exact type',
        about=f"A parameter can't be used, or there are more than {MAX_VALUES} values.",
    )
    unavailable = answers.problem(
        503,
        "Too many clients",
        "all 1000 streams are taken",
        about="All places are taken, the server stops, or the log is away. Come back later. An "
        "`EventSource` gets `info: busy` in the place of what is soon over.",
        headers=[answers.RETRY_AFTER],
    )
    refusals = answers.REFUSALS if settings.access != "none" else ()
    return (malformed, *refusals, TOO_LONG, unavailable)
