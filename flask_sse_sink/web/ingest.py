"""``POST /ingest``: stores the events of a request, and answers after that."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec
from flask import Blueprint, Request, Response, request

from .. import submission
from ..access.authenticate import Access
from ..access.credentials import HEADER_ONLY
from ..access.grants import PUBLISH_EVERYTHING, Grants
from ..access.refusal import Reason, Refusal
from ..config.settings import IngestSettings
from ..description.blueprint import DescribedBlueprint
from ..event import NewEvent, Source
from ..exceptions import Fault, InvalidEvent, LogUnavailable
from ..log import Appended
from . import access, body, cloudevents, trace, webhook
from .body import BodyRefused
from .ingest_description import Accepted, describe
from .problem import problem, public_cause
from .timed import timed

_DECODERS = {
    "application/json": submission.decode,
    "application/x-ndjson": submission.decode_lines,
    "application/ndjson": submission.decode_lines,
}
_ACCEPTED = (*_DECODERS, cloudevents.STRUCTURED, cloudevents.BATCH)

# Characters of the grants that an answer shows.
_SHOWN = 1000


class _Refusal(Exception):
    """Ends the reading of a request; ``response`` is the answer to the client."""

    def __init__(self, response: Response) -> None:
        super().__init__(response.status)
        self.response = response


def blueprint(
    settings: IngestSettings,
    publish: Callable[[Sequence[NewEvent]], Appended],
    publishers: Access,
) -> Blueprint:
    """Return the blueprint with the ingest endpoint.

    ``publish`` stores a batch, all or nothing, and has it streamed. It raises
    :exc:`~flask_sse_sink.exceptions.LogUnavailable` if it stored nothing. ``publishers`` says who
    sends a request, and what they may publish.
    """
    endpoint = DescribedBlueprint("sse_sink_ingest", __name__, describe)

    @timed
    def ingest() -> Response:
        try:
            grants = PUBLISH_EVERYTHING
            if settings.auth != "none":
                grants = _authorize(settings, publishers)
            events = _events(settings, grants.own_source or submission.DEFAULT_SOURCE)
            _check_granted(events, grants)
            if settings.trace:
                events = trace.noted(events, request.environ)
            # A batch of CloudEvents may be empty.
            result = publish(events) if events else Appended([], 0)
        except _Refusal as refusal:
            return refusal.response
        except BodyRefused as error:
            return problem(error.status, error.title, error.detail, headers=error.headers)
        except InvalidEvent as error:
            status, title = (400, "Not JSON") if error.malformed else (422, "Not a valid event")
            return problem(status, title, str(error)[:500], faults=error.faults)
        except LogUnavailable as error:
            return problem(503, "The event log is away", public_cause(error), retry_after=2)
        answer = Accepted(result.accepted, result.duplicates, result.ids)
        status = 201 if result.accepted else 200
        return Response(
            msgspec.json.encode(answer) + b"\n", status, content_type="application/json"
        )

    def handshake() -> Response:
        may_publish = settings.auth == "none" or settings.tokens or publishers.is_configured
        return webhook.answer(request, settings.webhook_senders if may_publish else ())

    endpoint.add_url_rule(
        settings.path, "ingest", ingest, methods=["POST"], provide_automatic_options=False
    )
    endpoint.add_url_rule(settings.path, "handshake", handshake, methods=["OPTIONS"])
    return endpoint


def _authorize(settings: IngestSettings, publishers: Access) -> Grants:
    """Return what the sender of the request may publish.

    :raises _Refusal: nothing, or it isn't known who that is.
    """
    try:
        # Cookies and tickets never count here.
        principal = access.authenticate(publishers, HEADER_ONLY)
        if not principal.grants.publish:
            raise _not_granted("to publish", principal.grants)
    except Refusal as refusal:
        if publishers.is_configured:
            raise _refused(refusal) from None
        access.record(refusal, "publishing", request.remote_addr)
        raise _Refusal(_without_access(settings)) from None
    return principal.grants


def _without_access(settings: IngestSettings) -> Response:
    """Return the answer to a wrong token where ``ingest.tokens`` are the only ones there are."""
    if not settings.tokens:
        detail = (
            "no token is configured, so nobody may publish; "
            "set ingest.tokens, or ingest.auth: none to let everybody"
        )
    else:
        detail = "send the header `Authorization: Bearer TOKEN` with one of ingest.tokens"
    return problem(401, "No or wrong token", detail, headers={"WWW-Authenticate": "Bearer"})


def _check_granted(events: list[NewEvent], grants: Grants) -> None:
    """Check that every event may be published.

    :raises _Refusal: one of them may not.
    """
    publishable = grants.publishable
    if publishable.everything:
        return
    faults = [
        Fault(f"[{index}]", f"the token doesn't grant to publish {_description(event)}")
        for index, event in enumerate(events)
        if not publishable.matches(event.as_event(0, "", Source(0, event.source)))
    ]
    if faults:
        asked = f"to publish {len(faults)} of {len(events)} events"
        raise _refused(_not_granted(asked, grants), faults[: submission.MAX_FAULTS])


def _description(event: NewEvent) -> str:
    entity = f"&entity_id={event.entity_id}" if event.entity_id is not None else ""
    return f"event_type={event.event_type}{entity}&source={event.source}"


def _not_granted(asked: str, grants: Grants) -> Refusal:
    return Refusal(
        Reason.INSUFFICIENT_SCOPE,
        "the token doesn't grant this; nothing was stored",
        asked=asked,
        granted=grants.publishable.query()[:_SHOWN],
    )


def _refused(refusal: Refusal, faults: Sequence[Fault] = ()) -> _Refusal:
    access.record(refusal, "publishing", request.remote_addr)
    return _Refusal(access.refusal_response(refusal, faults))


def _events(settings: IngestSettings, source: str) -> list[NewEvent]:
    """Return the events in the request's body; ``source`` is that of events which name none.

    :raises BodyRefused: the body can't be read.
    :raises InvalidEvent: it isn't JSON, or holds something that is no event.
    :raises _Refusal: it has another content type, or no event, or too many.
    """
    # Flask's `request` looks up the request of this thread each time that it is used.
    current: Request = request._get_current_object()  # type: ignore[attr-defined] # a proxy
    decode = _decoder(current)
    events = decode(body.read(current, settings.max_body), source)
    if len(events) > settings.max_batch:
        detail = f"{len(events)} events; send at most {settings.max_batch} (ingest.max_batch)"
        raise _Refusal(problem(413, "Too many events", detail))
    if not events and current.mimetype != cloudevents.BATCH:
        raise _Refusal(problem(422, "No event", "the body holds no event; send one or more"))
    return events


def _decoder(current: Request) -> cloudevents.Decode:
    """Return what decodes the request's body.

    :raises _Refusal: its content type isn't known.
    """
    if not cloudevents.is_binary(current.environ):
        # The header as most producers send it; Werkzeug's reading of its parameters costs more.
        plain = _DECODERS.get(current.environ.get("CONTENT_TYPE", ""))
        if plain is not None:
            return plain
    decode = cloudevents.decoder(current) or _DECODERS.get(current.mimetype)
    if decode is None:
        raise _Refusal(
            problem(
                415,
                "Wrong content type",
                f"{current.mimetype or 'nothing'} can't be read; send "
                "`Content-Type: application/json`, or application/x-ndjson for one event a line, "
                "or CloudEvents in JSON",
                headers={"Accept": ", ".join(_ACCEPTED)},
            )
        )
    return decode
