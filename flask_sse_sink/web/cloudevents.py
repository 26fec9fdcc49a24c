"""CloudEvents among the requests to the ingest endpoint: which mode a request has.

Rule: CloudEvents 1.0.2, HTTP protocol binding, 3 "HTTP Message Mapping".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeAlias

from flask import Request

from ..cloudevents import binary, structured
from ..event import NewEvent

#: The content types of structured and of batch mode.
STRUCTURED = "application/cloudevents+json"
BATCH = "application/cloudevents-batch+json"

#: Decodes a request's body. A CloudEvent names its source, so the second argument has no effect.
Decode: TypeAlias = Callable[[bytes, str], list[NewEvent]]

_PREFIX = "application/cloudevents"
_HEADER = "HTTP_CE_"


def is_binary(environ: Mapping[str, Any]) -> bool:
    """Return whether a request has a header with an attribute that every CloudEvent has."""
    return (
        "HTTP_CE_SPECVERSION" in environ
        or "HTTP_CE_ID" in environ
        or "HTTP_CE_TYPE" in environ
        or "HTTP_CE_SOURCE" in environ
    )


def decoder(request: Request) -> Decode | None:
    """Return what decodes the request, None where it is no CloudEvent, or of another format.

    What the body says in structured mode wins over the headers.
    """
    mimetype = request.mimetype
    if mimetype == STRUCTURED:
        return _structured
    if mimetype == BATCH:
        return _batch
    if is_binary(request.environ) and not mimetype.startswith(_PREFIX):
        return partial(_binary, request.environ)
    return None


def _structured(body: bytes, source: str) -> list[NewEvent]:
    return [structured.decode(body)]


def _batch(body: bytes, source: str) -> list[NewEvent]:
    return structured.decode_batch(body)


def _binary(environ: Mapping[str, Any], body: bytes, source: str) -> list[NewEvent]:
    headers = {
        key.removeprefix(_HEADER).lower(): value
        for key, value in environ.items()
        if key.startswith(_HEADER)
    }
    return [binary.decode(headers, environ.get("CONTENT_TYPE", ""), body)]
