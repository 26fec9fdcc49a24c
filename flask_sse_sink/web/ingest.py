"""``POST /ingest``: events come in, are stored, and only then answered."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Sequence

import msgspec
from flask import Blueprint, Response, request

from .. import event as envelope
from ..config.settings import IngestSettings
from ..event import NewEvent
from ..exceptions import InvalidEvent, LogUnavailable
from ..log import Appended
from . import body
from .body import BodyRefused
from .problem import problem, public_cause

_DECODERS = {
    "application/json": envelope.decode,
    "application/x-ndjson": envelope.decode_lines,
    "application/ndjson": envelope.decode_lines,
}


class _Refusal(Exception):
    """Carries a finished answer out of the reading of a request."""

    def __init__(self, response: Response) -> None:
        super().__init__(response.status)
        self.response = response


def blueprint(
    settings: IngestSettings, append: Callable[[Sequence[NewEvent]], Appended]
) -> Blueprint:
    """Return the blueprint with the ingest endpoint.

    ``append`` stores a batch and sees that it is streamed.
    """
    tokens = [token.encode() for token in settings.tokens]
    found = Blueprint("sse_sink_ingest", __name__)

    def ingest() -> Response:
        try:
            if settings.auth != "none":
                _authorize(tokens)
            result = append(_events(settings))
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

    found.add_url_rule(settings.path, "ingest", ingest, methods=["POST"])
    return found


def _authorize(tokens: list[bytes]) -> None:
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    sent = given.strip().encode("utf-8", "surrogateescape")
    # Every token is compared, so that the time taken doesn't tell which one came close.
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
    decode = _DECODERS.get(request.mimetype)
    if decode is None:
        raise _Refusal(
            problem(
                415,
                "Wrong content type",
                f"{request.mimetype or 'nothing'} can't be read; send "
                "`Content-Type: application/json`, or application/x-ndjson for one event a line",
                headers={"Accept": ", ".join(_DECODERS)},
            )
        )
    events = decode(body.read(request, settings.max_body))
    if len(events) > settings.max_batch:
        detail = f"{len(events)} events; send at most {settings.max_batch} (ingest.max_batch)"
        raise _Refusal(problem(413, "Too many events", detail))
    if not events:
        raise _Refusal(problem(422, "No event", "the body holds no event; send one or more"))
    return events
