"""What ``POST /tickets`` takes and answers, and its description."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from ..access.selection_json import from_json
from ..config.settings import TICKETS_PATH, Settings
from ..config.sink_types import routes
from ..description.operations import ACCESS_TOKEN, COOKIE, Body, Content, Operation
from ..filters import Filter
from ..filters.exact import VALUE_SCHEMA
from ..filters.patterns import PATTERN_SCHEMA
from . import answers

#: The largest body, in bytes.
MAX_BODY = 64 * 1024

_Value = Annotated[str, Meta(extra_json_schema=VALUE_SCHEMA)]
_Pattern = Annotated[str, Meta(extra_json_schema=PATTERN_SCHEMA)]
_Values = _Value | list[_Value] | None

_ABOUT = """\
Gives whoever may read a sink a ticket: a short-lived text for `?ticket=` in the URL of the stream.
An `EventSource` needs one, as it can't send a header. A ticket may be narrowed, and opens streams
any number of times until it expires.

Other than for streams, a cookie counts only with the header `Origin`.
"""


class TicketRequest(Struct, forbid_unknown_fields=True):
    """The sink, and what the ticket is narrowed to."""

    sink: str
    event_type: (
        Annotated[str, Meta(extra_json_schema={"maxLength": 0})] | _Pattern | list[_Pattern] | None
    ) = None
    entity_id: _Values = None
    source: _Values = None

    def filter(self) -> Filter:
        """Return what the ticket is narrowed to.

        :raises ValueError: a value can't be one of its kind.
        """
        values = {
            "event_type": self.event_type,
            "entity_id": self.entity_id,
            "source": self.source,
        }
        # An empty value is as none, as in a query.
        return Filter((from_json({name: value for name, value in values.items() if value}),))


class Ticket(Struct):
    """A ticket, and the URL of the stream that it opens."""

    ticket: str
    expires_in: Annotated[int, Meta(ge=0, description="seconds")]
    url: str


def describe(settings: Settings) -> Sequence[Operation]:
    """Return the description of the endpoint, if any sink streams."""
    streams = {name: route.url for name, route in routes(settings.sink) if route.stream}
    if not streams:
        return ()
    sink, url = next(iter(streams.items()))
    wanted = msgspec.defstruct(
        TicketRequest.__name__,
        [("sink", Literal[tuple(streams)])],
        bases=(TicketRequest,),
        namespace={"__doc__": TicketRequest.__doc__},
    )
    examples = {
        "all that may be read": {"sink": sink},
        "narrowed": {"sink": sink, "event_type": ["order.*"]},
    }
    given = {"ticket": "eyJ…", "expires_in": 60, "url": f"{url}?ticket=eyJ…"}
    return (
        Operation(
            "POST",
            TICKETS_PATH,
            "tickets",
            "Get a ticket for a stream",
            [
                answers.json(200, "The ticket.", Ticket, given=given)._replace(
                    headers=[answers.NO_STORE]
                ),
                answers.problem(400, "Not JSON", 'send e.g. {"sink": "inbox"}'),
                *answers.REFUSALS,
                *answers.body_problems(MAX_BODY),
                answers.problem(
                    415, "Wrong content type", "send `Content-Type: application/json`"
                ),
                answers.problem(
                    422,
                    "Not a request for a ticket",
                    "'inbox' is no sink that streams",
                    about="Something in it can't be used, or is too much for a ticket.",
                ),
                answers.AWAY,
            ],
            _ABOUT,
            "access",
            body=Body(
                "The sink, and what to narrow it to.",
                [Content("application/json", wanted, examples)],
            ),
            security=[ACCESS_TOKEN, COOKIE],
        ),
    )
