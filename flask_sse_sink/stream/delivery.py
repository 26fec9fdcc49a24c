"""A delivery: stored events on their way to the streams of one process."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache

from ..event import Event, decode_envelope
from ..log import StoredEnvelope
from . import frame
from .chunk import Frame
from .memory import Memory


class Delivery(list[Event]):
    """The events that ``events_stored`` hands out, with their envelopes and frames.

    A frame is made when the first stream needs it, and shared by all streams of all sinks. After
    the delivery, :meth:`release` lets the frames go, so that each ends with the last queue that it
    waits in, however long a receiver of the signal keeps the events. ``memory`` counts the frames.
    """

    def __init__(self, envelopes: Sequence[StoredEnvelope], memory: Memory) -> None:
        super().__init__([decode_envelope(envelope) for _, envelope in envelopes])
        self._envelopes = envelopes
        self._memory = memory
        self._frames: list[Frame | None] = [None] * len(self)

    def frame(self, index: int) -> Frame:
        """Return the frame of the event at this index."""
        made = self._frames[index]
        if made is None:
            event, (_, envelope) = self[index], self._envelopes[index]
            data = frame.message(event.id, envelope)
            made = Frame(data, event.id, _timestamp(event.created_at), self._memory)
            self._frames[index] = made
        return made

    def release(self) -> None:
        """Keep the events alone."""
        self._frames = [None] * len(self)
        self._envelopes = ()


@lru_cache(maxsize=64)
def _timestamp(created_at: str) -> float:
    # The events of a batch have the same time.
    return datetime.fromisoformat(created_at).timestamp()
