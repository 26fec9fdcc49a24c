"""Figures divided by those of a base: a peer, or the same with one client."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Hashable, Sequence
from typing import NamedTuple

from .results import Row
from .scenario import NO_HEARTBEATS

Value = Callable[[Row], float | None]


class Ratio(NamedTuple):
    """One kind of ratio; its column stands behind that of the figure which is divided."""

    heading: str
    of: str
    """The heading of the figure."""
    is_base: Callable[[Row], bool]
    key: Callable[[Row], Hashable]
    """Rows are divided by the base with an equal key."""

    def value(self, figure: Value, rows: Sequence[Row]) -> Value | None:
        """Return the ratio's value in these rows, ``None`` if no base is among them."""
        bases: dict[Hashable, list[float]] = {}
        for row in rows:
            number = figure(row)
            if self.is_base(row) and number:
                bases.setdefault(self.key(row), []).append(number)
        if not bases:
            return None
        medians = {key: statistics.median(numbers) for key, numbers in bases.items()}

        def ratio(row: Row) -> float | None:
            number, base = figure(row), medians.get(self.key(row))
            return number / base if number is not None and base else None

        return ratio


def _to_peers(of: str, *names: str) -> tuple[Ratio, ...]:
    return tuple(
        Ratio(f"× {name}", of, _is_system(name), lambda row: row.scenario) for name in names
    )


def _is_system(name: str) -> Callable[[Row], bool]:
    return lambda row: row.system == name


RATIOS: dict[str, tuple[Ratio, ...]] = {
    "fanout": _to_peers("CPU µs/delivery", "nchan", "sse-starlette"),
    "ingest": _to_peers("CPU µs/event", "flask", "flask-gthread"),
    "connect": _to_peers("CPU µs/connect", "generator", "generator-worker"),
    "own": (
        Ratio(
            "× 1 client",
            "CPU µs/event",
            lambda row: row.clients == 1,
            lambda row: (row.system, row.criterion, row.workers),
        ),
    ),
    "heartbeat": (
        Ratio(
            "× without",
            "p99 ms",
            lambda row: (row.heartbeat_seconds or 0) >= NO_HEARTBEATS,
            lambda row: (row.system, row.clients),
        ),
    ),
}
