"""Types of settings with a text format of their own, such as ``30s`` or ``64KiB``."""

from __future__ import annotations

import math
import re
from typing import Any, ClassVar, Self

import msgspec
from pytimeparse.timeparse import timeparse

from ..filters import Filter, parse

_SIZE_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9} | {
    "KIB": 2**10,
    "MIB": 2**20,
    "GIB": 2**30,
}


class Value:
    """The base class of settings with a text format of their own."""

    @classmethod
    def read(cls, value: object) -> Self:
        """Return the setting for a value that was read from the configuration.

        :raises ValueError: the value is not allowed; the message says what to write instead.
        """
        raise NotImplementedError

    @staticmethod
    def schema() -> dict[str, Any]:
        """Return the JSON Schema of the values that :meth:`read` accepts."""
        raise NotImplementedError


class Interval(Value, float):
    """Seconds, from a number or from text such as ``"30s"``, ``"1m 30s"``, ``"1h"``, ``"500ms"``.

    ``least`` and ``most`` are the bounds, in seconds; a subclass may narrow them.
    """

    least: ClassVar[float] = 0
    most: ClassVar[float] = 100 * 365 * 86400

    @classmethod
    def read(cls, value: object) -> Self:
        seconds = _seconds(value)
        if seconds is None or not math.isfinite(seconds):
            raise ValueError(
                f'{show(value)} is not an interval; write seconds or e.g. "30s", "1m 30s", "1h"'
            )
        if not cls.least <= seconds <= cls.most:
            raise ValueError(
                f"{show(value)} is out of bounds; "
                f"write at least {cls.least:g} and at most {cls.most:g} seconds"
            )
        return cls(seconds)

    @staticmethod
    def schema() -> dict[str, Any]:
        return {"type": ["number", "string"], "examples": [30, "30s", "1m 30s", "1h", "500ms"]}


class Pause(Interval):
    """An interval for which a thread waits: never zero, and a day at most."""

    least = 0.01
    most = 86400


class Size(Value, int):
    """Bytes, from a whole number or from text such as ``"64KiB"`` or ``"1MB"``."""

    @classmethod
    def read(cls, value: object) -> Self:
        count = 0
        if isinstance(value, int) and not isinstance(value, bool):
            count = value
        elif isinstance(value, str) and (
            parts := re.fullmatch(r"(\d{1,15}(?:\.\d{1,9})?) ?([A-Za-z]*)", value.strip())
        ):
            count = int(float(parts[1]) * _SIZE_UNITS.get(parts[2].upper(), 0))
        if not 1 <= count <= 2**40:
            raise ValueError(f'{show(value)} is not a size; write bytes or e.g. "64KiB", "1MiB"')
        return cls(count)

    @staticmethod
    def schema() -> dict[str, Any]:
        return {"type": ["integer", "string"], "examples": [65536, "64KiB", "1MiB"]}


class Match(Value):
    """A filter of event types, from one pattern or a list of patterns."""

    def __init__(self, filter: Filter) -> None:
        self.filter = filter

    @classmethod
    def read(cls, value: object) -> Self:
        patterns = [value] if isinstance(value, str) else value
        if not isinstance(patterns, list) or not all(isinstance(p, str) for p in patterns):
            raise ValueError(f'{show(value)} is not a pattern; write e.g. "user.*", or a list')
        if not patterns:
            raise ValueError('is an empty list; write "*" to let every event through')
        return cls(parse(patterns))

    @staticmethod
    def schema() -> dict[str, Any]:
        one = {"type": "string", "examples": ["*", "user.*", "user.login"]}
        return {"anyOf": [one, {"type": "array", "items": one, "minItems": 1}]}


class ReplayBound(Value):
    """Whether a sink replays events that were stored before a client connected, and how many.

    ``on`` says whether it replays at all. ``seconds`` limits the replay to events that are not
    older, ``count`` to that many of the newest events; None sets no limit.
    """

    def __init__(
        self, on: bool = True, seconds: float | None = None, count: int | None = None
    ) -> None:
        self.on = on
        self.seconds = seconds
        self.count = count

    def __str__(self) -> str:
        return f"{self.on} {self.seconds} {self.count}"

    @classmethod
    def read(cls, value: object) -> Self:
        # A value from an environment variable is always text.
        if isinstance(value, bool) or value in ("true", "false"):
            return cls(value in (True, "true"))
        try:
            count = int(value) if isinstance(value, (int, str)) else 0
        except ValueError:
            seconds = _seconds(value)
            if seconds and math.isfinite(seconds):
                return cls(seconds=seconds)
        else:
            if 1 <= count < 2**63:
                return cls(count=count)
        raise ValueError(
            f"{show(value)} doesn't say how far back to replay; write true, false, "
            'a number of events, or an interval, e.g. "1h"'
        )

    @staticmethod
    def schema() -> dict[str, Any]:
        return {"type": ["boolean", "integer", "string"], "examples": [True, False, "1h", 10000]}


def default(value: Value) -> Any:
    """Return a field of a Struct with this default.

    msgspec leaves such a default out of the JSON Schema, where it couldn't encode the value.
    """
    return msgspec.field(default_factory=lambda: value)


def in_words(seconds: float) -> str:
    """Return an interval as the configuration may write it, in the largest unit that fits."""
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= length and seconds % length == 0:
            return f"{seconds / length:g}{unit}"
    return f"{seconds:g}s"


def show(value: object) -> str:
    """Return a value as an error message shows it: short, and as YAML writes it."""
    if isinstance(value, str) and "@" in value:
        # It may be a URL with a password, and one that no parser can take apart.
        return f'"{value.partition("://")[0][:20]}://…"' if "://" in value else "text with an @"
    if isinstance(value, str):
        return f'"{value}"' if len(value) <= 80 else f'"{value[:80]}…"'
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value) if abs(value) < 1e15 else "a huge number"
    if isinstance(value, (list, dict)):
        return "a list" if isinstance(value, list) else "a section"
    return f"a {type(value).__name__}"


def _seconds(value: object) -> float | None:
    """Return the seconds that a number or a text stands for, None where it stands for none."""
    if isinstance(value, bool):
        return None
    if isinstance(value, (int, float)):
        return float(value) if abs(value) < 1e15 else math.inf
    if not isinstance(value, str) or not value.strip() or len(value) > 100:
        return None
    # Some releases of pytimeparse raise AttributeError for a line feed.
    text = " ".join(value.split())
    if re.fullmatch(r"\d+(\.\d+)?([eE][+-]?\d{1,3})?", text):
        return float(text)
    # pytimeparse knows no milliseconds, so they are cut off first.
    parts = re.fullmatch(r"(?P<rest>.*?)(?P<ms>\d+(?:\.\d+)?) ?ms", text)
    if not parts:
        return _whole_seconds(text)
    rest = _whole_seconds(parts["rest"].strip()) if parts["rest"].strip() else 0.0
    return None if rest is None else rest + float(parts["ms"]) / 1000


def _whole_seconds(text: str) -> float | None:
    seconds = timeparse(text)
    return None if seconds is None else float(seconds)
