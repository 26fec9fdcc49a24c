"""What the times of arrival show: frames that are held back, and streams that are cut."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from itertools import pairwise
from typing import NamedTuple

from .reading import PROBE_FRAMES, ProbeFrame, Reading

# Frames that come closer together than this came as one.
_TOGETHER_SECONDS = 0.05
# How much longer than another one a frame must have taken, to have been held back.
_HELD_SECONDS = 0.3
# In how few groups the frames of a probe come then. A single stall of a second makes more.
_FEW_GROUPS = 4
# Differences that are closer together than this tell nothing.
_ALIKE_SECONDS = 0.4

IDLE, TOTAL, UNCLEAR = "idle", "total", "unclear"


def are_held_back(frames: Sequence[ProbeFrame]) -> bool:
    """Return whether the frames of a whole probe waited for later ones on their way.

    The clocks of both sides may differ: only differences count.
    """
    delays = [frame.at - frame.sent_at for frame in frames]
    return (
        max(delays) - min(delays) > _HELD_SECONDS
        and groups([frame.at for frame in frames]) <= _FEW_GROUPS
    )


def groups(times: Sequence[float]) -> int:
    """Return how many groups of arrivals there are, those close together being one."""
    return bool(times) + sum(
        after - before > _TOGETHER_SECONDS for before, after in pairwise(times)
    )


class Cut(NamedTuple):
    """How streams were cut: by silence or by age, and after how many seconds of it."""

    kind: str
    seconds: float


class Course(NamedTuple):
    """The times of one stream; ``ended_at`` is None where it wasn't cut."""

    opened_at: float
    last_byte_at: float
    ended_at: float | None

    @classmethod
    def of(cls, reading: Reading) -> Course:
        """Return the times of a stream so far."""
        return cls(reading.opened_at, reading.last_byte_at, reading.ended_at)

    @property
    def age(self) -> float:
        """Return at which age it was cut."""
        return (self.ended_at or 0.0) - self.opened_at

    @property
    def silence(self) -> float:
        """Return after how long a silence it was cut."""
        return (self.ended_at or 0.0) - self.last_byte_at


def judge(chatty: Course, idle: Course, now: float) -> Cut | None:
    """Return what cut the two streams, None where neither was.

    They were opened at different times, and got their last bytes at different times, too. So a
    limit of age cuts them at the same age, and a limit of silence after the same silence. What
    cuts both at one moment, such as a restart, is unclear.
    """
    if chatty.ended_at is not None and idle.ended_at is not None:
        ages, silences = abs(chatty.age - idle.age), abs(chatty.silence - idle.silence)
        if abs(ages - silences) < _ALIKE_SECONDS:
            return Cut(UNCLEAR, idle.age)
        if ages < silences:
            return Cut(TOTAL, min(chatty.age, idle.age))
        return Cut(IDLE, max(chatty.silence, idle.silence))
    if idle.ended_at is not None:
        # The other one is older, and would have been cut before: it wasn't silent as long.
        other_silence = now - chatty.last_byte_at
        return Cut(IDLE if other_silence < idle.silence else UNCLEAR, idle.silence)
    if chatty.ended_at is not None:
        is_older = now - idle.opened_at < chatty.age
        return Cut(TOTAL if is_older else UNCLEAR, chatty.age)
    return None


class Verdict(StrEnum):
    """How the frames of a probe came."""

    PROMPT = "prompt"  #: each at its time
    HELD = "held"  #: some waited for later ones, or never came
    ABSENT = "absent"  #: there were none
    CUT = "cut"  #: the stream ended before the last one


def verdict(reading: Reading) -> Verdict:
    """Return how the frames of a stream's probe came, once they should have."""
    if reading.ended_at is not None and len(reading.probe) < PROBE_FRAMES:
        return Verdict.CUT
    if reading.is_opaque:
        # The bytes can't be read, but come often enough.
        is_prompt = groups(reading.arrivals) > _FEW_GROUPS
        return Verdict.PROMPT if is_prompt else Verdict.HELD
    if not reading.probe:
        return Verdict.ABSENT
    if len(reading.probe) < PROBE_FRAMES or are_held_back(reading.probe):
        return Verdict.HELD
    return Verdict.PROMPT
