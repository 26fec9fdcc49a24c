"""What several endpoints answer, as their descriptions say it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from msgspec import UNSET, Meta, Struct, UnsetType

from ..access.refusal import Reason
from ..description.operations import TEXT, Answer, Content, Header

#: An event as streams and batches have it.
EVENT: Mapping[str, object] = {
    "id": 42,
    "event_id": "evt_abc",
    "event_type": "order.created",
    "entity_id": "order_7",
    "created_at": "2026-11-25T10:00:00+00:00",
    "data": {"total": 12.5},
    "source": {"id": 1, "name": "shop"},
    "meta": {},
}

#: An event as a producer sends it.
NEW_EVENT: Mapping[str, object] = {
    "event_id": "evt_abc",
    "event_type": "order.created",
    "entity_id": "order_7",
    "data": {"total": 12.5},
    "source": "shop",
}

RETRY_AFTER = Header(
    "Retry-After", "Seconds after which to try again.", {"type": "integer", "minimum": 1}, 2
)
CHALLENGE = Header(
    "WWW-Authenticate",
    "RFC 6750: what is wrong with the token.",
    {"type": "string", "pattern": "^Bearer"},
    'Bearer error="invalid_token", error_description="expired"',
)
ETAG = Header("ETag", "Changes with the content.", TEXT)
NOT_MODIFIED = Answer(304, "It is still what `If-None-Match` names.", headers=[ETAG])
NO_STORE = Header("Cache-Control", "Not to be kept.", {"type": "string"}, "no-store")


class ProblemError(Struct):
    """One thing that is wrong with a request."""

    loc: Annotated[str, Meta(description="where it stands in the body")]
    msg: Annotated[str, Meta(description="what it is, and what to do about it")]


class Problem(Struct):
    """An error, as RFC 9457 has it."""

    type: str
    title: str
    status: Annotated[int, Meta(ge=400, le=599)]
    detail: Annotated[str, Meta(description="what is wrong, and what to do about it")]
    errors: list[ProblemError]


class RefusalProblem(Problem, kw_only=True):
    """The error of a request that isn't allowed.

    `reason` is missing where the server knows one list of tokens alone. `asked` and `granted` are
    there if the reason is `insufficient_scope`.
    """

    reason: Reason | UnsetType = UNSET
    asked: str | UnsetType = UNSET
    granted: str | UnsetType = UNSET


def problem(
    status: int,
    title: str,
    detail: str,
    *,
    about: str = "",
    headers: Sequence[Header] = (),
    errors: Sequence[Mapping[str, str]] = (),
    kind: type[Problem] = Problem,
    members: Mapping[str, str] | None = None,
) -> Answer:
    """Return the description of an error; its title and detail are the example."""
    example: dict[str, Any] = {
        "type": "about:blank",
        "title": title,
        "status": status,
        "detail": detail,
        "errors": list(errors),
        **(members or {}),
    }
    content = Content("application/problem+json", kind, {title: example})
    return Answer(status, about or f"{title}.", [content], headers)


def json(status: int, about: str, kind: Any, **examples: object) -> Answer:
    """Return the description of an answer in JSON."""
    return Answer(status, about, [Content("application/json", kind, examples)])


#: The refusals of a request that must say who sends it.
REFUSALS: tuple[Answer, ...] = (
    problem(
        401,
        "No or wrong token",
        "send the header `Authorization: Bearer TOKEN`",
        about="Nobody who is known. `reason` says why.",
        headers=[CHALLENGE, NO_STORE],
        kind=RefusalProblem,
        members={"reason": "missing"},
    ),
    problem(
        403,
        "Not granted",
        "the token doesn't grant what was asked for",
        about="The token is right, but doesn't grant what was asked for.",
        headers=[CHALLENGE, NO_STORE],
        kind=RefusalProblem,
        members={
            "reason": "insufficient_scope",
            "asked": "event_type=*",
            "granted": "event_type=order.*",
        },
    ),
)

AWAY = problem(
    503,
    "The event log is away",
    "the event log can't be opened",
    about="The event log is away, or what checks tokens isn't ready yet. Try again.",
    headers=[RETRY_AFTER],
)


def body_problems(largest: int, what: str = "") -> tuple[Answer, ...]:
    """Return the errors of a request whose body can't be read, with the largest that can be."""
    return (
        problem(408, "Request timeout", "the body didn't come in time"),
        problem(
            411,
            "Length required",
            "this server can't read a body in chunks; send a Content-Length",
            about="The server can't read a body in chunks. gunicorn can.",
        ),
        problem(
            413,
            "Too large",
            f"the body holds more than {largest} bytes",
            about=f"The body holds more than {largest} bytes{what}.",
        ),
    )
