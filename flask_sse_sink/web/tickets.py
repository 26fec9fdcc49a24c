"""``POST /tickets``: gives whoever may read a sink a ticket, which may stand in a URL."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import msgspec
from flask import Blueprint, Response, request, url_for

from ..access import masking
from ..access.authenticate import Access, readable
from ..access.credentials import Rules, refuse_url_tokens
from ..access.principal import Principal
from ..access.refusal import Refusal
from ..access.tickets import Tickets, TicketTooLarge
from ..config.settings import TICKETS_PATH
from ..description.blueprint import DescribedBlueprint
from ..exceptions import Fault
from ..filters import Filter
from . import access, body, cors
from .body import BodyRefused
from .problem import problem
from .tickets_description import MAX_BODY, Ticket, TicketRequest, describe

_HEADERS = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}


class _Invalid(ValueError):
    """The request can't be used; the arguments are the answer's status, title and detail."""


_decode = msgspec.json.Decoder(TicketRequest).decode


def blueprint(
    who: Access, tickets: Tickets, origins_of: Mapping[str, frozenset[str]]
) -> Blueprint:
    """Return the blueprint with the endpoint.

    ``who`` says who sends a request. ``origins_of`` has for each sink that streams the origins
    whose pages may send their cookies.
    """
    # The logger of `flask run`. A logger has a filter once, however often it is added.
    logging.getLogger("werkzeug").addFilter(masking.mask_record)
    endpoint = DescribedBlueprint("sse_sink_tickets", __name__, describe)
    mask_tickets(endpoint)

    def give() -> Response:
        try:
            wanted, asked = _wanted(origins_of)
            principal = _sender(who, wanted.sink, origins_of[wanted.sink])
            events = readable(principal, wanted.sink, asked)
            ticket, seconds = tickets.make(principal, wanted.sink, events)
        except Refusal as refusal:
            access.record(refusal, "a ticket", request.remote_addr)
            response = access.refusal_response(refusal)
        except BodyRefused as error:
            response = problem(error.status, error.title, error.detail, headers=error.headers)
        except TicketTooLarge as error:
            fault = Fault("", "narrow it by entity_id, event_type or source")
            response = problem(422, "Too much for a ticket", str(error), faults=[fault])
        except _Invalid as error:
            response = problem(*error.args)
        else:
            answer = Ticket(ticket, int(seconds), stream_url(wanted.sink, ticket))
            response = Response(
                msgspec.json.encode(answer) + b"\n", content_type="application/json"
            )
        response.headers.update(_HEADERS)
        return response

    endpoint.add_url_rule(TICKETS_PATH, "give", give, methods=["POST"])
    origins = sorted(frozenset().union(*origins_of.values()))
    if origins:
        cors.allow(endpoint, origins, access.EXPOSED_HEADERS, True, ["POST"])
    return endpoint


def stream_url(sink: str, ticket: str) -> str:
    """Return the URL of a sink's stream with a ticket, for the current request's host."""
    return url_for(f"{sink}.stream", ticket=ticket)


def mask_tickets(blueprint: Blueprint) -> None:
    """Hide the tickets of this blueprint's requests from logs, and from the hooks of the app."""

    def mask(endpoint: str | None, values: dict[str, object] | None) -> None:
        masking.mask_environ(request.environ)

    # Flask calls these before every hook of the app.
    blueprint.url_value_preprocessor(mask)


def _wanted(origins_of: Mapping[str, frozenset[str]]) -> tuple[TicketRequest, Filter]:
    """Return what the request wants, and the filter of it.

    :raises BodyRefused: its body can't be read.
    :raises _Invalid: it wants no ticket for a sink that there is.
    """
    if request.mimetype != "application/json":
        # Only this type makes a browser ask first whether a page of another origin may send it.
        raise _Invalid(415, "Wrong content type", "send `Content-Type: application/json`")
    try:
        wanted = _decode(body.read(request, MAX_BODY))
        asked = wanted.filter()
    except msgspec.ValidationError as error:
        raise _Invalid(422, "Not a request for a ticket", str(error)[:500]) from None
    except (msgspec.DecodeError, RecursionError):
        raise _Invalid(400, "Not JSON", 'send e.g. {"sink": "inbox"}') from None
    except ValueError as error:
        raise _Invalid(422, "Not a request for a ticket", str(error)[:500]) from None
    if wanted.sink not in origins_of:
        raise _Invalid(
            422, "Not a request for a ticket", f"{wanted.sink[:80]!r} is no sink that streams"
        )
    return wanted, asked


def _sender(who: Access, sink: str, origins: frozenset[str]) -> Principal:
    """Return who asks for a ticket of the sink, whose credentialed origins these are.

    A page of another origin gets one with a token in its header alone: a browser adds cookies to
    its requests, and with them what the app knows of its user.

    :raises Refusal: nobody who is known.
    """
    rules = Rules(sink, cookies=True, origins=origins, needs_origin=True)
    origin = request.headers.get("Origin")
    own = f"{request.scheme}://{request.host}"
    is_foreign = origin not in (None, own) and origin not in origins
    if is_foreign or (origin is None and request.headers.get("Sec-Fetch-Site") == "cross-site"):
        refuse_url_tokens(access.credentials_of(request, ""))
        rules = Rules()
    return access.authenticate(who, rules)
