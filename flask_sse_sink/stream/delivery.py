"""A delivery: stored events on their way to the streams of one process."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import lru_cache

from ..event import Event, decode_envelope
from ..log import StoredEnvelope
from . import frame
from .chunk import Frame
from .formats import Format
from .memory import Memory


class Delivery(list[Event]):
    """The events that ``events_stored`` hands out, with their envelopes and frames.

    A frame is made when the first stream needs it, and shared by all streams of all sinks of one
    format. After
    the delivery, :meth:`release` lets the frames go, so that each ends with the last queue that it
    waits in, however long a receiver of the signal keeps the events. ``memory`` counts the frames.
    """

    def __init__(self, envelopes: Sequence[StoredEnvelope], memory: Memory) -> None:
        super().__init__([decode_envelope(envelope) for _, envelope in envelopes])
        self._envelopes = envelopes
        self._memory = memory
        self._frames: dict[Format, list[Frame | None]] = {}

    def frames(self, indexes: Iterable[int], format: Format = frame.message) -> list[Frame]:
        """Return the frames of the events at these indexes."""
        made = self._frames.get(format)
        if made is None:
            made = self._frames[format] = [None] * len(self)
        return [made[n] or self._make(n, format, made) for n in indexes]

    def frame(self, index: int) -> Frame:
        """Return the frame of the event at this index, with its envelope."""
        return self.frames((index,))[0]

    def _make(self, index: int, format: Format, made: list[Frame | None]) -> Frame:
        event, (_, envelope) = self[index], self._envelopes[index]
        data = format(event.id, envelope)
        new = Frame(data, event.id, _timestamp(event.created_at), self._memory)
        made[index] = new
        return new

    def release(self) -> None:
        """Keep the events alone."""
        self._frames = {}
        self._envelopes = ()


@lru_cache(maxsize=64)
def _timestamp(created_at: str) -> float:
    # The events of a batch have the same time.
    return datetime.fromisoformat(created_at).timestamp()
