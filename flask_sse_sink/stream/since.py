"""Since when a client wants events: an interval such as ``10m``, or a time."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from ..config.values import Interval
from ..log.protocol import now_us

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# A "+" of the offset, which a query that isn't encoded turns into a space.
_LOST_PLUS = re.compile(r"(.+[T ].+:?\d\d\S*) (\d\d(?::?\d\d)?)")


def parse_since(text: str) -> int:
    """Return the time that a text stands for, in microseconds since the epoch.

    An interval is written as in the configuration, and ends now. A time is ISO 8601; without an
    offset it is in UTC.

    :raises ValueError: it is neither; the message tells how to write them.
    """
    text = text.strip()
    try:
        return now_us() - round(Interval.read(text) * 1_000_000)
    except ValueError:
        pass
    try:
        time = datetime.fromisoformat(_LOST_PLUS.sub(r"\1+\2", text) if " " in text else text)
        if time.tzinfo is None:
            time = time.replace(tzinfo=UTC)
        return (time - _EPOCH) // timedelta(microseconds=1)
    except (ValueError, OverflowError):
        raise ValueError(
            f"{text[:80]!r} is no time; write how long ago it was, e.g. `10m`, `1h 30m` or "
            "`2 days`, or when, e.g. `2026-11-25T10:00:00Z`"
        ) from None
