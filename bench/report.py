"""Rows as tables: for the terminal, and in Markdown.

    python -m bench.report [RESULT.json]

prints the tables of a result in Markdown, of ``bench/results/latest.json`` by default.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parent / "results"
BASES = ("nchan", "sse-starlette")
_SATURATED = 85.0

Line = list[str]


def tables(result: dict[str, Any]) -> Iterable[tuple[str, list[Line]]]:
    """Yield each table's title and its lines, the headings first."""
    rows: list[dict[str, Any]] = result["rows"]
    fanouts = [row for row in rows if row["deliveries"] is not None]
    for scenario in dict.fromkeys(row["scenario"] for row in fanouts):
        found = [row for row in fanouts if row["scenario"] == scenario]
        yield scenario, _fanout(found, per_event=scenario.startswith("spread"))
    for title, kind, make in (
        ("memory", "memory-", _memory),
        ("connects", "connect-", _connects),
        ("idle", "idle-", _idle),
        ("ingest, no clients", "ingest-", _ingest),
    ):
        found = [row for row in rows if row["scenario"].startswith(kind)]
        if found:
            yield title, make(found)


def _fanout(rows: list[dict[str, Any]], *, per_event: bool) -> list[Line]:
    column = "cpu_us_per_event" if per_event else "cpu_us"
    bases = [] if per_event else [name for name in BASES if _of(rows, name, column)]
    head = ["system", "clients", "events/s", "deliveries/s"]
    head += ["CPU µs/event" if per_event else "CPU µs/delivery"]
    head += [f"× {name}" for name in bases]
    head += ["p50 ms", "p99 ms", "missing", "load µs", "load %", "bytes"]
    lines = [head]
    for row in rows:
        line = [_name(row), f"{row['clients']:,}"]
        line += [_number(row["events_per_second"], 1), _number(row["deliveries_per_second"], 0)]
        line += [_number(row[column], 2) + _helpers(row)]
        for name in bases:
            base = _of(rows, name, column)
            line += [_number(row[column] / base, 2) if row[column] and base else "–"]
        line += [_number(row["p50_ms"], 2), _number(row["p99_ms"], 2), f"{row['missing']:,}"]
        saturated = "*" if (row["load_percent"] or 0) > _SATURATED else ""
        line += [_number(row["load_cpu_us"], 2), _number(row["load_percent"], 0) + saturated]
        line += [_number(row["bytes_per_delivery"], 0)]
        lines.append(line)
    return lines


def _memory(rows: list[dict[str, Any]]) -> list[Line]:
    return _simple(
        rows,
        [("KiB/client", lambda row: _number(row["memory_kib"], 1) + _helpers(row, "memory_kib"))],
    )


def _connects(rows: list[dict[str, Any]]) -> list[Line]:
    return _simple(
        rows,
        [
            ("seconds", lambda row: _number(row["seconds"], 2)),
            ("connects/s", lambda row: _number(row["connects_per_second"], 0)),
            ("CPU µs/connect", lambda row: _number(row["cpu_us"], 0)),
        ],
    )


def _idle(rows: list[dict[str, Any]]) -> list[Line]:
    return _simple(rows, [("CPU % of a core", lambda row: _number(row["cpu_percent"], 2))])


def _ingest(rows: list[dict[str, Any]]) -> list[Line]:
    return _simple(
        rows,
        [
            ("events a POST", lambda row: str(row["batch"])),
            ("producers", lambda row: str(row["producers"])),
            ("events/s", lambda row: _number(row["events_per_second"], 0)),
            ("CPU µs/event", lambda row: _number(row["cpu_us"], 1) + _helpers(row)),
            ("load %", lambda row: _number(row["load_percent"], 0)),
        ],
        clients=False,
    )


def _simple(
    rows: list[dict[str, Any]],
    columns: Sequence[tuple[str, Callable[[dict[str, Any]], str]]],
    clients: bool = True,
) -> list[Line]:
    lines = [["system", *(["clients"] if clients else []), *(name for name, _ in columns)]]
    for row in rows:
        line = [_name(row), *([f"{row['clients']:,}"] if clients else [])]
        lines.append([*line, *(make(row) for _, make in columns)])
    return lines


def _of(rows: list[dict[str, Any]], system: str, column: str) -> float:
    return next((row[column] or 0.0 for row in rows if row["system"] == system), 0.0)


def _helpers(row: dict[str, Any], column: str = "cpu_us") -> str:
    return "".join(f" + {own:,.1f} {name}" for name, own in row[f"helper_{column}"].items())


def _name(row: dict[str, Any]) -> str:
    name: str = row["system"]
    return name if row["workers"] == 1 else f"{name} ({row['workers']} workers)"


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:,.{digits}f}"


def notes(result: dict[str, Any]) -> list[str]:
    """Return what the tables can't hold, a line each."""
    found = [f"{name}: {why}" for name, why in result["left_out"].items()]
    for row in result["rows"]:
        found += [f"{row['scenario']}, {row['system']}: {note}" for note in row["notes"]]
        if row["repeated"]:
            found.append(f"{row['scenario']}, {row['system']}: {row['repeated']} repeated")
    if any((row["load_percent"] or 0) > _SATURATED for row in result["rows"]):
        found.append("*: the load generator was busy, and may have been the limit")
    return found


def text(result: dict[str, Any]) -> str:
    """Return the tables for a terminal."""
    parts = []
    for title, lines in tables(result):
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        parts.append(f"\n{title}")
        for line in lines:
            cells = [line[0].ljust(widths[0])]
            cells += [cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)]
            parts.append("  " + "  ".join(cells).rstrip())
    parts += ["", *notes(result)]
    return "\n".join(parts)


def markdown(result: dict[str, Any]) -> str:
    """Return the tables in Markdown, and what was measured where."""
    machine, when = result["machine"], result["began"]
    parts = [f"Measured {when} on {machine['cpus']} × {machine['cpu']}, {machine['system']}."]
    for title, lines in tables(result):
        parts += ["", f"**{title}**", ""]
        head, *rest = lines
        rule = ["---", *["---:"] * (len(head) - 1)]
        parts += [f"| {' | '.join(line)} |" for line in (head, rule, *rest)]
    parts += ["", *(f"- {note}" for note in notes(result))]
    return "\n".join(parts)


def main() -> None:
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else RESULTS / "latest.json"
    print(markdown(json.loads(path.read_text())))


if __name__ == "__main__":
    main()
