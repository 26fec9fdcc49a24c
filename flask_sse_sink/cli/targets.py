"""Where the commands publish events to: the configured log, or a server."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import click
import msgspec

from ..event import NewEvent
from ..log import Appended
from ..runtime import Runtime
from ..submission import DEFAULT_SOURCE
from .lines import Unpublished

if TYPE_CHECKING:
    from .remote import RemoteServer

_INGEST_PATH = "/ingest"
_NDJSON = "application/x-ndjson"
# Refusals of a batch for what it holds.
_UNFIT = frozenset({400, 413, 422})


class _Answer(msgspec.Struct):
    """What ``POST /ingest`` answers."""

    ids: list[int] = []
    duplicates: int = 0


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Answer).decode


class LogTarget:
    """The log that the configuration names; events are streamed by the servers that use it."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def publish(self, events: Sequence[NewEvent]) -> Appended:
        """Store the events."""
        sourced = [
            event if event.source else msgspec.structs.replace(event, source=DEFAULT_SOURCE)
            for event in events
        ]
        return self._runtime.publish(sourced)


class ServerTarget:
    """A server's ingest endpoint. An event without a source gets the one that the server gives."""

    def __init__(self, server: RemoteServer, url: str) -> None:
        self._server = server
        # A URL with a path is that of the endpoint itself.
        self._url = url if urlsplit(url).path.strip("/") else url.rstrip("/") + _INGEST_PATH

    def publish(self, events: Sequence[NewEvent]) -> Appended:
        """Send the events; what was sent before and not answered is found by its event_id."""
        from .remote import Refused

        body = b"\n".join(map(_submission, events))
        try:
            answer = self._server.post(self._url, body, _NDJSON)
        except Refused as refusal:
            faults = refusal.problem.faults
            status = refusal.problem.status
            if status in _UNFIT or faults:
                is_forbidden = status == HTTPStatus.FORBIDDEN
                raise Unpublished(refusal.message, faults, is_forbidden) from refusal
            raise
        try:
            decoded = _decode(answer)
            if len(decoded.ids) != len(events):
                raise ValueError
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise click.ClickException(
                f"{self._url}: its answer isn't that of an ingest endpoint; mend the URL"
            ) from error
        return Appended(decoded.ids, decoded.duplicates)


def _submission(event: NewEvent) -> bytes:
    """Return an event as a producer sends it, on one line."""
    fields: dict[str, object] = {
        "event_type": event.event_type,
        "event_id": event.event_id,
        "data": msgspec.Raw(event.data.encode()),
        "meta": msgspec.Raw(event.meta.encode()),
    }
    for name in ("entity_id", "source", "occurred_at"):
        if value := getattr(event, name):
            fields[name] = value
    return _encode(fields)
