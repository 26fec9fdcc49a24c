"""The formats in which a sink streams events: what makes an event's frame from its envelope."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from ..cloudevents import encoding
from ..event import decode_envelope
from . import frame

#: Returns the frame of a stored event, from its id and its envelope.
Format: TypeAlias = Callable[[int, bytes], bytes]


def cloud_event(id: int, envelope: bytes) -> bytes:
    """Return the frame of a stored event with a CloudEvent as its data."""
    return frame.message(id, encoding.encode(decode_envelope(envelope)))


#: Each format by its name in the settings.
FORMATS: dict[str, Format] = {"envelope": frame.message, "cloudevents": cloud_event}
