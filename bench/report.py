"""A result as tables: for the terminal, and in Markdown.

    python -m bench.report [RESULT.json]

prints the tables of a result in Markdown; without a file, those of the newest one.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median

from tabulate import tabulate

from .columns import COLUMNS, columns, figure
from .compare import compare, only_in_one
from .results import Result, Row, newest, read
from .system import THERE

_SATURATED = 85.0
_KINDS = (
    "memory",
    "connect",
    "idle",
    "own",
    "heartbeat",
    "ingest",
    "reconnect",
    "replay",
    "steps",
)
"""The kinds of scenarios with one table each, in their order."""

Table = list[list[str]]
"""The headings, then the lines."""


def tables(result: Result) -> Iterator[tuple[str, Table]]:
    """Yield each table and its title."""
    if any(row.system.endswith(THERE) for row in result.rows):
        yield "this checkout (here) and the other one (there)", _comparison(result.rows)
        for title, table in _tables(list(only_in_one(result.rows))):
            yield f"{title}, measured in one checkout alone", table
        return
    yield from _tables(result.rows)


def _tables(rows: Sequence[Row]) -> Iterator[tuple[str, Table]]:
    fanouts = [row for row in rows if row.kind == "fanout"]
    for scenario in dict.fromkeys(row.scenario for row in fanouts):
        yield scenario, _table([row for row in fanouts if row.scenario == scenario])
    for kind in _KINDS:
        if found := [row for row in rows if row.kind == kind]:
            yield kind, _table(found)


def _table(rows: Sequence[Row]) -> Table:
    """Return a line for each scenario and system, with the medians of its runs."""
    shown = columns(rows[0].kind, rows)
    lines = [["system", *(column.heading for column in shown)]]
    runs: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        runs.setdefault((row.scenario, row.system), []).append(row)
    for found in runs.values():
        cells = [_number(figure(column, found), column.digits) for column in shown]
        lines.append([_name(found[0]), *cells])
    return lines


def _comparison(rows: Sequence[Row]) -> Table:
    """Return a line for each figure: medians, with the least and the greatest of the runs."""
    lines = [["scenario", "figure", "better", "here", "there", "here/there"]]
    for each in compare(rows):
        scenario = each.scenario if each.system == "sse-sink" else f"{each.scenario} {each.system}"
        digits = each.column.digits
        lines.append(
            [
                scenario,
                each.column.heading,
                each.column.better or "",
                f"{_number(median(each.here), digits)} ({_spread(each.here, digits)})",
                f"{_number(median(each.there), digits)} ({_spread(each.there, digits)})",
                f"{_number(each.ratio, 2)} ({_spread(each.ratios, 2)})",
            ]
        )
    return lines


def _name(row: Row) -> str:
    return row.system if row.workers == 1 else f"{row.system} ({row.workers} workers)"


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:,.{digits}f}"


def _spread(values: Sequence[float], digits: int) -> str:
    return f"{_number(min(values), digits)}–{_number(max(values), digits)}"


def line(row: Row) -> str:
    """Return a row's main figures in one line, for printing as soon as they are there."""
    cells = [
        f"{_number(column.value(row), column.digits)} {column.heading}"
        for column in COLUMNS[row.kind]
        if column.better and column.value(row) is not None
    ]
    return f"{row.scenario:27} {', '.join([*cells, *row_notes(row)])}"


def row_notes(row: Row) -> list[str]:
    """Return what a row's figures don't tell."""
    found = list(row.notes)
    if row.missing:
        found.append(f"{row.missing:,} deliveries MISSING")
    if row.repeated:
        found.append(f"{row.repeated:,} deliveries repeated")
    if (row.load_percent or 0) > _SATURATED:
        found.append(f"the load generator used {row.load_percent:.0f} % of a core: a limit itself")
    return found


def notes(result: Result) -> list[str]:
    """Return what the tables don't tell, a line each."""
    found = [f"{name}: {why}" for name, why in result.left_out.items()]
    for row in result.rows:
        found += [f"{row.scenario}, {row.system}: {note}" for note in row_notes(row)]
    return list(dict.fromkeys(found))


def text(result: Result) -> str:
    """Return the tables for a terminal."""
    parts = [f"{title}\n\n{_format(table, 'simple')}" for title, table in tables(result)]
    return "\n\n".join([*parts, "\n".join(notes(result))])


def markdown(result: Result) -> str:
    """Return the tables in Markdown, and when and where they were measured."""
    machine = result.machine
    parts = [
        f"Measured {result.began} on {machine['cpus']} × {machine['cpu']}, {machine['system']}."
    ]
    parts += [f"**{title}**\n\n{_format(table, 'pipe')}" for title, table in tables(result)]
    return "\n\n".join([*parts, "\n".join(f"- {note}" for note in notes(result))])


def _format(table: Table, style: str) -> str:
    numbers = len(table[0]) - 1
    formatted: str = tabulate(
        table[1:],
        table[0],
        tablefmt=style,
        colalign=("left", *["right"] * numbers),
        disable_numparse=True,
    )
    return formatted


def main() -> None:
    print(markdown(read(Path(sys.argv[1]) if len(sys.argv) > 1 else newest())))


if __name__ == "__main__":
    main()
