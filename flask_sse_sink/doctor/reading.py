"""A stream that is being read: what came when, and how it ended."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from datetime import datetime
from typing import NamedTuple

from .frames import Decompressor, Frame, FrameReader
from .wire import READ_ERRORS, Answer

#: How many frames a probe has, and the seconds between two of them.
PROBE_FRAMES = 10
PROBE_PAUSE_SECONDS = 0.2
# How many of the first frames and arrivals are kept.
_KEPT = 100


class ProbeFrame(NamedTuple):
    """A frame of a probe: when it came, and what it says.

    ``at`` is a time on the monotonic clock, ``sent_at`` one of the server's clock, in seconds.
    """

    at: float
    number: int
    sent_at: float
    protocol: str
    last_event_id: str | None
    heartbeat_timeout: float | None
    direct: bool | None


class Reading:
    """Reads one answer on a thread of its own until it ends or :meth:`close` is called.

    ``opened_at`` is when the request was sent. Times are on the monotonic clock.
    """

    def __init__(self, answer: Answer, opened_at: float) -> None:
        self.answer = answer
        self.opened_at = opened_at
        #: When bytes came, the first :data:`_KEPT` times, and the last time.
        self.arrivals: list[float] = []
        self._longest_silence = 0.0
        self.frames: list[Frame] = []
        self.probe: list[ProbeFrame] = []
        #: When the stream ended without being asked to, None while it goes on.
        self.ended_at: float | None = None
        #: Whether the body is compressed in a way that can't be read here.
        self.is_opaque = False
        self._decompressor = Decompressor(answer.header("content-encoding").lower())
        self._reader = FrameReader()
        self._changed = threading.Condition()
        self._is_closed = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def last_byte_at(self) -> float:
        """Return when bytes came last, or when the stream was opened."""
        return self.arrivals[-1] if self.arrivals else self.opened_at

    @property
    def seconds_open(self) -> float:
        """Return for how long the stream is open, or was."""
        return (self.ended_at or time.monotonic()) - self.opened_at

    @property
    def parting(self) -> str:
        """Return the word with which the server itself ended the stream, "" where it didn't."""
        last = self.frames[-1] if self.frames else None
        is_word = last is not None and last.event == "info"
        return last.data if last and is_word and last.data in ("closing", "expired") else ""

    @property
    def longest_silence(self) -> float:
        """Return the longest time between two arrivals so far."""
        since_last = (self.ended_at or time.monotonic()) - self.last_byte_at
        return max(self._longest_silence, since_last)

    def wait(self, condition: Callable[[], bool], until: float) -> bool:
        """Wait until the condition holds or the stream ended, at most until this time."""
        with self._changed:
            return self._changed.wait_for(
                lambda: condition() or self.ended_at is not None,
                max(0.0, until - time.monotonic()),
            )

    def wait_for_probe(self, seconds: float) -> bool:
        """Return whether every frame of a probe came in time."""
        until = time.monotonic() + seconds
        self.wait(lambda: len(self.probe) >= PROBE_FRAMES, until)
        return len(self.probe) >= PROBE_FRAMES

    def close(self) -> None:
        """Stop reading, and close the connection."""
        with self._changed:
            self._is_closed = True
        self.answer.cut()
        self._thread.join()
        self.answer.close()

    def _run(self) -> None:
        try:
            while data := self.answer.read():
                self._take(data, time.monotonic())
        except READ_ERRORS:
            pass
        with self._changed:
            if not self._is_closed:
                self.ended_at = time.monotonic()
            self._changed.notify_all()

    def _take(self, data: bytes, now: float) -> None:
        frames = self._reader.feed(self._decompressor.feed(data))
        probe = [each for frame in frames if (each := _probe_frame(frame, now)) is not None]
        with self._changed:
            self._longest_silence = max(self._longest_silence, now - self.last_byte_at)
            # A busy stream would fill the memory: the first and the last tell enough.
            self.arrivals = [*self.arrivals[:_KEPT], now]
            self.frames = [*self.frames[:_KEPT], *frames[-_KEPT:]]
            self.probe = [*self.probe, *probe][:PROBE_FRAMES]
            self.is_opaque = not self._decompressor.is_known
            self._changed.notify_all()


def _probe_frame(frame: Frame, now: float) -> ProbeFrame | None:
    """Return a frame of a probe, None where it is another frame."""
    if frame.event != "probe":
        return None
    try:
        values = json.loads(frame.data)
        timeout = values.get("heartbeat_timeout")
        return ProbeFrame(
            now,
            int(values["number"]),
            datetime.fromisoformat(values["time"]).timestamp(),
            str(values.get("protocol")),
            values.get("last_event_id"),
            None if timeout is None else float(timeout),
            values.get("direct"),
        )
    except (AttributeError, KeyError, TypeError, ValueError):
        return None
