"""What a sink of type ``http_pull`` is to its consumers: its description."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, NamedTuple

from msgspec import UNSET, Meta, Struct, UnsetType

from ..config.sink_types import Route
from ..config.values import Interval
from ..description.operations import (
    ACCESS_TOKEN,
    Answer,
    Body,
    Content,
    Operation,
    Parameter,
    Schema,
)
from ..event import Event
from ..pull.parameters import MAX_ID, EventIds
from ..pull.settings import PullSettings
from ..web import answers
from .common_description import TOO_LONG, filter_parameters, let_through

#: The largest body, in bytes. A body names ids; as many as a batch may have fit in.
MAX_BODY = 4 * 2**20

_Count = Annotated[int, Meta(ge=0)]
_Time = Annotated[str, Meta(extra_json_schema={"format": "date-time"})]

_ID: Schema = {"type": "integer", "minimum": 0, "maximum": MAX_ID}
_EXAMPLE_TIME = "2026-11-25T10:01:00+00:00"
_BATCH_ID = Parameter("batch_id", "The `batch_id` of an extract.", _ID, 7, required=True)


class Missed(Struct):
    """Events that were pruned before they were confirmed. It is repeated until it is confirmed."""

    id: Annotated[int, Meta(description="of this report, for `mark-processed?missed=`")]
    count: Annotated[int | None, Meta(description="null where nobody knows it")]
    first_id: int
    last_id: int


class Batch(Struct):
    """Events that are to be confirmed."""

    batch_id: Annotated[int | None, Meta(description="null without an event")]
    events: Annotated[list[Event], Meta(description="oldest first")]
    remaining_events: Annotated[
        int, Meta(ge=0, description="how many more are free; 10001 stands for more than 10,000")
    ]
    leased_until: Annotated[_Time | UnsetType, Meta(description="with a lease: its end")] = UNSET
    attempts: Annotated[
        dict[str, _Count] | UnsetType,
        Meta(description="how often events were leased, for those that were leased before"),
    ] = UNSET
    missed: Missed | UnsetType = UNSET


class Confirmed(Struct):
    """How many events are confirmed now that were not before."""

    status: Literal["success"]
    marked_count: _Count


class Extended(Struct):
    """The new end of a lease."""

    status: Literal["success"]
    extended_count: _Count
    leased_until: _Time


class Released(Struct):
    """How many events are free again."""

    status: Literal["success"]
    released_count: _Count


class DeadLetters(Struct):
    """Events that were leased too often, and how often."""

    events: list[Event]
    attempts: dict[str, _Count]


class Retried(Struct):
    """How many dead letters are free again."""

    status: Literal["success"]
    retried_count: _Count


class _Endpoint(NamedTuple):
    """What is different from route to route; ``example`` is an answer's.

    ``statuses`` are those of errors that only some of the routes have.
    """

    name: str
    summary: str
    answer: type[Struct]
    example: dict[str, object]
    parameters: Sequence[Parameter] = ()
    body: str = ""
    statuses: frozenset[int] = frozenset()
    about: str = ""


def describe(name: str, settings: PullSettings, routes: Sequence[Route]) -> Sequence[Operation]:
    """Return the descriptions of a sink's endpoints, whose routes are in the usual order."""
    parts = _parts(settings)
    security = [ACCESS_TOKEN] if settings.access != "none" else []
    return [
        Operation(
            route.method,
            route.url,
            f"{part.name}_{name}",
            f"{part.summary} of {name}",
            [
                answers.json(200, "Done.", part.answer, answer=part.example)._replace(
                    headers=[answers.NO_STORE]
                ),
                *_errors(part, settings),
            ],
            part.about,
            "pulled sinks",
            part.parameters,
            _ids(part.body) if part.body else None,
            security,
            carries="out" if part.answer is Batch else "",
        )
        for route, part in zip(routes, parts, strict=True)
    ]


def _parts(settings: PullSettings) -> Sequence[_Endpoint]:
    size = Parameter(
        "batch_size",
        f"How many events at most; {settings.batch_size} if it is missing.",
        {"type": "integer", "minimum": 1, "maximum": settings.max_batch_size},
        settings.batch_size,
    )
    batch = frozenset((404,))
    body = frozenset((408, 411, 413))
    return (
        _Endpoint(
            "extract",
            "Extract a batch",
            Batch,
            {"batch_id": 7, "events": [answers.EVENT], "remaining_events": 42},
            [
                size,
                *filter_parameters(),
                Parameter(
                    "wait",
                    f"Without an event, wait this long for one: seconds, or `30s`; "
                    f"{settings.max_wait:g} seconds at most.",
                    _seconds(settings.max_wait),
                    float(min(5, settings.max_wait)),
                ),
                Parameter(
                    "lease",
                    "For how long others don't get these events. "
                    f"{settings.lease:g} seconds if it is missing.",
                    _seconds(Interval.most),
                    60,
                ),
            ],
            about=let_through(settings)
            + "The oldest events that aren't confirmed. Without a lease, the next extract returns "
            "them again.",
        ),
        _Endpoint(
            "mark_processed",
            "Confirm a batch",
            Confirmed,
            {"status": "success", "marked_count": 50},
            [
                _BATCH_ID._replace(
                    about="The `batch_id` of an extract. Only with `missed` it may be left out.",
                    required=False,
                ),
                Parameter("missed", "The `id` of a report of missed events, now read.", _ID),
            ],
            "The events of the batch to confirm; all of them without a body.",
            batch | body,
            "Confirmed events never come again. To confirm again does no harm, and counts 0.",
        ),
        _Endpoint(
            "extend",
            "Make a lease longer",
            Extended,
            {
                "status": "success",
                "extended_count": 50,
                "leased_until": _EXAMPLE_TIME,
            },
            [
                _BATCH_ID,
                Parameter(
                    "lease",
                    "How long the lease lasts from now on."
                    + (f" {settings.lease:g} seconds if it is missing." if settings.lease else ""),
                    {"type": "number", "exclusiveMinimum": 0, "maximum": float(Interval.most)},
                    60,
                    required=not settings.lease,
                ),
            ],
            statuses=batch,
        ),
        _Endpoint(
            "release",
            "Give a batch back",
            Released,
            {"status": "success", "released_count": 50},
            [
                _BATCH_ID,
                Parameter(
                    "delay", "For how long nobody gets its events.", _seconds(Interval.most), 5
                ),
            ],
            statuses=batch,
        ),
        _Endpoint(
            "dead",
            "Dead letters",
            DeadLetters,
            {"events": [answers.EVENT], "attempts": {"42": 3}},
            [
                size,
                Parameter("after", "Only events with a larger `id`.", _ID),
            ],
            about=f"Events that were leased {settings.max_attempts or '`max_attempts`'} times.",
        ),
        _Endpoint(
            "retry",
            "Free dead letters",
            Retried,
            {"status": "success", "retried_count": 1},
            body="The events to free; all of them without a body.",
            statuses=body,
        ),
    )


def _seconds(most: float) -> Schema:
    # The text of an interval, such as `1m 30s`, can be sent too; clients need none.
    return {"type": "number", "minimum": 0, "maximum": float(most)}


def _ids(about: str) -> Body:
    content = Content("application/json", EventIds, {"some": {"ids": [41, 42]}})
    return Body(about, [content], required=False)


def _errors(part: _Endpoint, settings: PullSettings) -> Sequence[Answer]:
    some: Any = [
        answers.problem(
            404,
            "Unknown batch",
            "8 is no batch of this sink; send the `batch_id` of an extract",
            about="The sink never had this batch.",
        ),
        *answers.body_problems(MAX_BODY),
    ]
    return [
        answers.problem(
            400,
            "Malformed batch_size",
            "'x' can't be used; send a whole number from 1 to 10000",
            about="A parameter, or the body, can't be used.",
        ),
        *(answers.REFUSALS if settings.access != "none" else ()),
        *([TOO_LONG] if part.answer is Batch else ()),
        *(each for each in some if each.status in part.statuses),
        answers.AWAY,
    ]
