"""Events: what goes into the log, and what is stored.

The log stores a :class:`NewEvent` as an :class:`Event`, written as its *envelope*: one line of
JSON. ``data`` and ``meta`` are kept as JSON text: numbers keep their digits, and nothing is
decoded only to be encoded again.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta, Raw, Struct


class Source(Struct, frozen=True):
    """Who publishes: the log's id for it and the name it goes by."""

    id: int
    name: str


class Event(Struct, frozen=True):
    """A stored event. The order of the fields is the order of the envelope's keys.

    ``id`` rises strictly in the order of commits; ``created_at`` is ISO 8601 in UTC, with
    ``+00:00``.
    """

    id: int
    event_id: Annotated[str, Meta(description="the producer's id, or one that was made for it")]
    event_type: str
    entity_id: Annotated[str | None, Meta(description="whom or what the event is about")]
    created_at: Annotated[str, Meta(extra_json_schema={"format": "date-time"})]
    data: Annotated[Raw, Meta(description="any JSON")]
    source: Source
    meta: Annotated[Raw, Meta(extra_json_schema={"type": "object"})]


class NewEvent(Struct, frozen=True):
    """A checked event that isn't stored yet. Made by :mod:`flask_sse_sink.submission`.

    ``data`` and ``meta`` are JSON text on one line, ``meta`` always an object. ``source`` is the
    source's name. ``occurred_at`` is ISO 8601, None where the producer didn't say.
    """

    event_type: str
    event_id: str
    entity_id: str | None
    data: str
    source: str
    meta: str
    occurred_at: str | None

    def as_event(self, id: int, created_at: str, source: Source) -> Event:
        """Return the event that the log stores: this one with what the log adds to it."""
        return Event(
            id,
            self.event_id,
            self.event_type,
            self.entity_id,
            created_at,
            Raw(self.data),
            source,
            Raw(self.meta),
        )


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Event).decode


def encode_envelope(event: Event) -> bytes:
    """Return the event's envelope: one line of UTF-8 JSON."""
    return _encode(event)


def decode_envelope(envelope: bytes) -> Event:
    """Return the event of an envelope that :func:`encode_envelope` made.

    :raises msgspec.MsgspecError: it is no envelope.
    """
    return _decode(envelope)
