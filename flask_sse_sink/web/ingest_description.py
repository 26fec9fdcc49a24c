"""What ``POST /ingest`` is to producers: its description."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from ..cloudevents.schema import CLOUD_EVENT, EXAMPLE
from ..config.settings import Settings
from ..description.operations import (
    ACCESS_TOKEN,
    INGEST_TOKEN,
    TEXT,
    Answer,
    Body,
    Content,
    Header,
    Operation,
    Parameter,
    Schema,
)
from ..submission import Submission
from . import answers
from .cloudevents import BATCH, STRUCTURED
from .trace import PARENT, STATE

_ABOUT = """\
Stores one event or a batch, all or nothing, and has it streamed. The answer comes when the events
are stored for good.

An event is known again by its `source` and `event_id`: a repeat stores and streams nothing, and is
answered with the id that the event has already. So a producer that got no answer sends the same
again.

Any other content type is data of a CloudEvent in binary mode, if the headers `ce-specversion`,
`ce-id`, `ce-source` and `ce-type` have its attributes.
"""

_SECOND = {"event_type": "user.login", "entity_id": "user_1", "data": {"ip": "192.0.2.1"}}


class Accepted(Struct):
    """What became of the events of a request."""

    accepted: Annotated[int, Meta(ge=0, description="events that are new, and stored now")]
    duplicates: Annotated[int, Meta(ge=0, description="events that were stored already")]
    ids: Annotated[list[int], Meta(description="the ids of all, in the order sent")]


def contents() -> Sequence[Content]:
    """Return the bodies that are taken."""
    one, two = answers.NEW_EVENT, _SECOND
    lines = "".join(msgspec.json.encode(event).decode() + "\n" for event in (one, two))
    one_or_more = Submission | Annotated[list[Submission], Meta(min_length=1)]
    text = {"type": "string", "description": "one event a line"}
    return (
        Content("application/json", one_or_more, {"one event": one, "a batch": [one, two]}),
        Content("application/x-ndjson", text, {"one event a line": lines}, items=Submission),
        Content("application/ndjson", text, {"one event a line": lines}, items=Submission),
        Content(STRUCTURED, CLOUD_EVENT, {"a CloudEvent": EXAMPLE}),
        Content(
            BATCH,
            {"type": "array", "items": CLOUD_EVENT},
            {"a batch of CloudEvents": [EXAMPLE]},
        ),
    )


def describe(settings: Settings) -> Sequence[Operation]:
    """Return the description of the endpoint."""
    ingest = settings.ingest
    is_closed = ingest.auth != "none"
    return (
        Operation(
            "POST",
            str(ingest.path),
            "ingest",
            "Publish events",
            [*_answers(settings), *(_refusals(settings) if is_closed else ())],
            _ABOUT,
            "ingest",
            _headers(settings),
            Body(
                f"{ingest.max_body} bytes and {ingest.max_batch} events at most, in UTF-8.",
                contents(),
            ),
            _publishers(settings) if is_closed else (),
            carries="in",
        ),
        *(_handshake(settings) if ingest.webhook_senders else ()),
    )


def _headers(settings: Settings) -> Sequence[Parameter]:
    packed: Schema = {"type": "string", "enum": ["gzip", "identity"]}
    packing = Parameter("Content-Encoding", "How the body is packed.", packed, place="header")
    if not settings.ingest.trace:
        return (packing,)
    about = "Kept in the `meta` of the events. A malformed one is ignored."
    return packing, *(Parameter(name, about, TEXT, place="header") for name in (PARENT, STATE))


def _handshake(settings: Settings) -> Sequence[Operation]:
    about = "Says with headers whether this sender of webhooks may publish."
    sender = Parameter(
        "WebHook-Request-Origin", "The sender's name.", TEXT, "events.example", "header"
    )
    headers = [
        Header("Allow", "The methods of the endpoint.", TEXT, "OPTIONS, POST"),
        Header("WebHook-Allowed-Origin", "The sender's name, if it may.", TEXT, "events.example"),
        Header("WebHook-Allowed-Rate", "As often as it likes, if it may.", TEXT, "*"),
    ]
    return (
        Operation(
            "OPTIONS",
            str(settings.ingest.path),
            "handshake",
            "Ask whether a sender of webhooks may publish",
            [Answer(200, about, headers=headers)],
            tag="ingest",
            parameters=[sender],
        ),
    )


def _answers(settings: Settings) -> Sequence[Answer]:
    ingest = settings.ingest
    return (
        answers.json(
            201,
            "Stored for good. At least one event is new.",
            Accepted,
            stored={"accepted": 2, "duplicates": 0, "ids": [41, 42]},
        ),
        answers.json(
            200,
            "All events were stored before.",
            Accepted,
            repeated={"accepted": 0, "duplicates": 2, "ids": [41, 42]},
        ),
        answers.problem(400, "Not JSON", "not JSON: it ends too soon", about="Not JSON, or cut."),
        *answers.body_problems(ingest.max_body, f", or more than {ingest.max_batch} events"),
        answers.problem(
            415,
            "Wrong content type",
            "text/plain can't be read; send `Content-Type: application/json`",
            about="A `Content-Type` or a `Content-Encoding` that can't be read.",
        ),
        answers.problem(
            422,
            "Not a valid event",
            "[3].event_type: Expected `str` of length >= 1",
            about="Something in it is no event. `errors` names each by its index in the batch.",
            errors=[{"loc": "[3].event_type", "msg": "Expected `str` of length >= 1"}],
        ),
        answers.AWAY,
    )


def _publishers(settings: Settings) -> Sequence[str]:
    if settings.access.tokens or settings.access.issuers:
        return INGEST_TOKEN, ACCESS_TOKEN
    return (INGEST_TOKEN,)


def _refusals(settings: Settings) -> Sequence[Answer]:
    unknown, not_granted = answers.REFUSALS
    # Each of ingest.tokens may publish everything.
    return (unknown, not_granted) if ACCESS_TOKEN in _publishers(settings) else (unknown,)
