"""Probes: numbered frames at known times, by which a client sees how they get through.

A client that asks for a probe (``?probe=10``) learns from their times of arrival whether something
on the way holds frames back, and from what they say how its request arrived here.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from . import frame

#: The most frames of one probe: a stream is not to be kept busy by asking for it.
MAX_FRAMES = 10
#: The seconds between two frames.
PAUSE_SECONDS = 0.2

_NUMBER = re.compile(r"[0-9]{1,4}")
_SHOWN = 80


def parse_probe(text: str) -> int:
    """Return how many frames a request asks for, at most :data:`MAX_FRAMES`; none for "".

    :raises ValueError: it is no number; the message tells how to write one.
    """
    if not text:
        return 0
    if not _NUMBER.fullmatch(text):
        raise ValueError(f"{text[:_SHOWN]!r} is no number of frames; write e.g. probe=10")
    return min(int(text), MAX_FRAMES)


class Probe:
    """The frames of one probe, the first of them due at once.

    ``about`` is what each frame tells beside its number and the time.
    """

    __slots__ = ("_about", "_clock", "_count", "_due_at", "_sent")

    def __init__(
        self,
        count: int,
        about: Mapping[str, object],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._count = count
        self._about = about
        self._clock = clock
        self._due_at = clock()
        self._sent = 0

    @classmethod
    def of(
        cls, environ: Mapping[str, Any], count: int, heartbeat_timeout: float, direct: bool
    ) -> Probe:
        """Return a probe whose frames tell how the request of this environment arrived.

        ``direct`` says whether the stream has a direct socket.
        """
        last_event_id = environ.get("HTTP_LAST_EVENT_ID")
        about = {
            "protocol": environ.get("SERVER_PROTOCOL"),
            "last_event_id": None if last_event_id is None else last_event_id[:_SHOWN],
            "heartbeat_timeout": float(heartbeat_timeout),
            "direct": direct,
        }
        return cls(count, about)

    @property
    def is_complete(self) -> bool:
        """Return whether the last frame was taken."""
        return self._sent >= self._count

    def seconds_left(self) -> float:
        """Return in how many seconds the next frame is due; 0 or less where it is."""
        return self._due_at - self._clock()

    def frame(self) -> bytes:
        """Return the next frame. It has no id, so that a client comes back to where it was."""
        self._sent += 1
        self._due_at = self._clock() + PAUSE_SECONDS
        now = datetime.now(UTC).isoformat(timespec="microseconds")
        data = {"number": self._sent, "count": self._count, "time": now, **self._about}
        return frame.encode(msgspec.json.encode(data), event="probe")
