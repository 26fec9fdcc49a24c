"""``POST /ingest``: stores the events of a request, and answers after that."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Sequence

import msgspec
from flask import Blueprint, Request, Response, request

from .. import submission
from ..config.settings import IngestSettings
from ..event import NewEvent
from ..exceptions import InvalidEvent, LogUnavailable
from ..log import Appended
from . import body
from .body import BodyRefused
from .problem import problem, public_cause

_DECODERS = {
    "application/json": submission.decode,
    "application/x-ndjson": submission.decode_lines,
    "application/ndjson": submission.decode_lines,
}


class _Refusal(Exception):
    """Ends the reading of a request; ``response`` is the answer to the client."""

    def __init__(self, response: Response) -> None:
        super().__init__(response.status)
        self.response = response


def blueprint(
    settings: IngestSettings, publish: Callable[[Sequence[NewEvent]], Appended]
) -> Blueprint:
    """Return the blueprint with the ingest endpoint.

    ``publish`` stores a batch, all or nothing, and has it streamed. It raises
    :exc:`~flask_sse_sink.exceptions.LogUnavailable` if it stored nothing.
    """
    tokens = [token.encode() for token in settings.tokens]
    endpoint = Blueprint("sse_sink_ingest", __name__)

    def ingest() -> Response:
        try:
            if settings.auth != "none":
                _authorize(tokens)
            result = publish(_events(settings))
        except _Refusal as refusal:
            return refusal.response
        except BodyRefused as error:
            return problem(error.status, error.title, error.detail, headers=error.headers)
        except InvalidEvent as error:
            status, title = (400, "Not JSON") if error.malformed else (422, "Not a valid event")
            return problem(status, title, str(error)[:500], faults=error.faults)
        except LogUnavailable as error:
            return problem(503, "The event log is away", public_cause(error), retry_after=2)
        answer = {
            "accepted": result.accepted,
            "duplicates": result.duplicates,
            "ids": result.ids,
        }
        status = 201 if result.accepted else 200
        return Response(
            msgspec.json.encode(answer) + b"\n", status, content_type="application/json"
        )

    endpoint.add_url_rule(settings.path, "ingest", ingest, methods=["POST"])
    return endpoint


def _authorize(tokens: list[bytes]) -> None:
    """Check that the request has one of the tokens.

    :raises _Refusal: it hasn't.
    """
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    sent = given.strip().encode("utf-8", "surrogateescape")
    # Compare every token, so that the time taken reveals nothing about any of them.
    matches = [hmac.compare_digest(sent, token) for token in tokens]
    if scheme.lower() == "bearer" and any(matches):
        return
    if not tokens:
        detail = (
            "no token is configured, so nobody may publish; "
            "set ingest.tokens, or ingest.auth: none to let everybody"
        )
    else:
        detail = "send the header `Authorization: Bearer TOKEN` with one of ingest.tokens"
    raise _Refusal(
        problem(401, "No or wrong token", detail, headers={"WWW-Authenticate": "Bearer"})
    )


def _events(settings: IngestSettings) -> list[NewEvent]:
    """Return the events in the request's body.

    :raises BodyRefused: the body can't be read.
    :raises InvalidEvent: it isn't JSON, or holds something that is no event.
    :raises _Refusal: it has another content type, or no event, or too many.
    """
    # Flask's `request` looks up the request of this thread each time that it is used.
    current: Request = request._get_current_object()  # type: ignore[attr-defined] # a proxy
    # The header as most producers send it; Werkzeug's reading of its parameters costs much more.
    decode = _DECODERS.get(current.environ.get("CONTENT_TYPE", "")) or _DECODERS.get(
        current.mimetype
    )
    if decode is None:
        raise _Refusal(
            problem(
                415,
                "Wrong content type",
                f"{current.mimetype or 'nothing'} can't be read; send "
                "`Content-Type: application/json`, or application/x-ndjson for one event a line",
                headers={"Accept": ", ".join(_DECODERS)},
            )
        )
    events = decode(body.read(current, settings.max_body))
    if len(events) > settings.max_batch:
        detail = f"{len(events)} events; send at most {settings.max_batch} (ingest.max_batch)"
        raise _Refusal(problem(413, "Too many events", detail))
    if not events:
        raise _Refusal(problem(422, "No event", "the body holds no event; send one or more"))
    return events
