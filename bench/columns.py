"""The figures of each kind of scenario: what tables show, and what comparisons compare."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Literal, NamedTuple

from .ratios import RATIOS, Value
from .results import Row


class Column(NamedTuple):
    """One figure of a row."""

    heading: str
    value: Value
    digits: int = 0
    better: Literal["less", "more"] | None = None
    """Which direction is better; ``None`` if the figure isn't compared."""


def _cpu_event(row: Row) -> float | None:
    # Without filters it tells nothing that the cost of a delivery doesn't.
    return row.cpu_us_per_event if (row.filters or 0) > 1 or row.helper_cpu_us else None


def _redis(row: Row) -> float | None:
    return row.helper_cpu_us.get("redis")


def _redis_event(row: Row) -> float | None:
    cost = _redis(row)
    if cost is None or not row.events or row.deliveries is None:
        return None
    return cost * row.deliveries / row.events


def _mib(row: Row) -> float | None:
    if row.events is None or row.bytes_per_delivery is None:
        return None
    return row.events * row.bytes_per_delivery / 2**20


def _step(name: str, better: Literal["less"] | None = None) -> Column:
    return Column(f"{name} µs", lambda row: row.steps_us.get(name), 2, better)


def _gap(name: str) -> Column:
    return Column(
        f"{name} gap s",
        lambda row: row.gap_seconds.get(name),
        2,
        "less" if name == "max" else None,
    )


_FANOUT = (
    Column("clients", lambda row: row.clients),
    Column("events/s", lambda row: row.events_per_second, 1),
    Column("deliveries/s", lambda row: row.deliveries_per_second, 0, "more"),
    Column("CPU µs/delivery", lambda row: row.cpu_us, 2, "less"),
    Column("CPU µs/event", _cpu_event),
    Column("Redis µs/event", _redis_event, 0),
    Column("p50 ms", lambda row: row.p50_ms, 2, "less"),
    Column("p99 ms", lambda row: row.p99_ms, 2, "less"),
    Column("missing", lambda row: row.missing),
    Column("load µs", lambda row: row.load_cpu_us, 2),
    Column("load %", lambda row: row.load_percent),
    Column("bytes", lambda row: row.bytes_per_delivery),
    Column("replayed MiB/s", lambda row: row.replayed_mib_per_second),
)
COLUMNS: dict[str, tuple[Column, ...]] = {
    "fanout": _FANOUT,
    "memory": (
        Column("clients", lambda row: row.clients),
        Column("KiB/client", lambda row: row.memory_kib, 1, "less"),
        Column("Redis KiB/client", lambda row: row.helper_memory_kib.get("redis"), 1),
    ),
    "connect": (
        Column("clients", lambda row: row.clients),
        Column("seconds", lambda row: row.seconds, 2),
        Column("connects/s", lambda row: row.connects_per_second, 0, "more"),
        Column("CPU µs/connect", lambda row: row.cpu_us, 0, "less"),
    ),
    "idle": (
        Column("clients", lambda row: row.clients),
        Column("CPU % of a core", lambda row: row.cpu_percent, 2, "less"),
    ),
    "ingest": (
        Column("events a POST", lambda row: row.batch),
        Column("producers", lambda row: row.producers),
        Column("events/s", lambda row: row.events_per_second, 0, "more"),
        Column("CPU µs/event", lambda row: row.cpu_us, 1, "less"),
        Column("Redis µs/event", _redis, 1),
        Column("load %", lambda row: row.load_percent),
    ),
    "replay": (
        Column("events", lambda row: row.events),
        Column("seconds", lambda row: row.seconds, 2),
        Column("events/s", lambda row: row.events_per_second, 0, "more"),
        Column("CPU µs/event", lambda row: row.cpu_us, 2, "less"),
        Column("Redis µs/event", _redis, 2),
        Column("MiB", _mib),
        Column("server MiB", lambda row: row.server_mib, 0, "less"),
    ),
    "own": (
        Column("clients", lambda row: row.clients),
        Column("events/s", lambda row: row.rate),
        Column("CPU µs/event", lambda row: row.cpu_us_per_event, 0, "less"),
        Column("p50 ms", lambda row: row.p50_ms, 2, "less"),
        Column("p99 ms", lambda row: row.p99_ms, 2, "less"),
        Column("missing", lambda row: row.missing),
        Column("idle CPU %", lambda row: row.idle_percent, 2),
        Column("load %", lambda row: row.load_percent),
    ),
    "heartbeat": (
        Column("clients", lambda row: row.clients),
        Column("timeout s", lambda row: row.heartbeat_seconds),
        Column("idle CPU %", lambda row: row.idle_percent, 2, "less"),
        *(_gap(name) for name in ("min", "median", "max")),
        Column("p50 ms", lambda row: row.p50_ms, 2, "less"),
        Column("p99 ms", lambda row: row.p99_ms, 2, "less"),
        Column("missing", lambda row: row.missing),
        Column("load %", lambda row: row.load_percent),
    ),
    "reconnect": (
        Column("clients", lambda row: row.clients),
        Column("all back s", lambda row: row.returned_seconds, 2, "less"),
        Column("all events s", lambda row: row.seconds, 2, "less"),
        Column("CPU µs/client", lambda row: row.cpu_us, 0, "less"),
        Column("missing", lambda row: row.missing),
        Column("repeated", lambda row: row.repeated),
        Column("ingest p99 ms", lambda row: row.p99_ms, 1, "less"),
        Column("calm p99 ms", lambda row: row.calm_p99_ms, 1),
        Column("load %", lambda row: row.load_percent),
    ),
    "steps": (
        Column("events a POST", lambda row: row.batch),
        *(_step(name) for name in ("view", "decode", "store", "read back", "encode", "join")),
        _step("all", "less"),
    ),
}


def figure(column: Column, rows: Sequence[Row]) -> float | None:
    """Return the median of the column's figures in these rows; ``None`` if there is none."""
    found = [value for row in rows if (value := column.value(row)) is not None]
    return statistics.median(found) if found else None


def columns(kind: str, rows: Sequence[Row]) -> list[Column]:
    """Return the columns of a table with these rows: those in which some row has a figure.

    A figure is followed by its ratios to bases that are among the rows.
    """
    found: list[Column] = []
    for column in COLUMNS[kind]:
        if figure(column, rows) is not None:
            found.append(column)
        for ratio in RATIOS.get(kind, ()):
            if ratio.of == column.heading and (value := ratio.value(column.value, rows)):
                found.append(Column(ratio.heading, value, 2, column.better))
    return found
