"""Draws a result: processor time a delivery and latency, by system, at 1,000 clients.

python -m bench.chart [RESULT.json [CHART.svg]]
"""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from .results import FOLDER, Result, Row, newest, read

SCENARIO = "fanout-1000-20"
# A grey and two hues that stand out from white and from black alike.
_INK = "#808892"
_OURS = "#e8743b"
_OTHERS = "#4a90c2"


def draw(result: Result, path: Path) -> bool:
    """Draw the first run's rows into an SVG without a background; return whether there are any."""
    rows = [
        row for row in result.rows if row.scenario == SCENARIO and row.deliveries and row.run == 1
    ]
    if not rows:
        return False
    # The salt makes equal files of equal results: a chart under version control changes only
    # with its result.
    style: Any = {"svg.hashsalt": "bench", "font.size": 11, "text.color": _INK}
    with matplotlib.rc_context(style):
        figure = Figure(figsize=(9, 0.42 * len(rows) + 1.3), layout="constrained")
        left, right = figure.subplots(1, 2, sharey=True)
        names = [_label(row) for row in rows]
        colours = [_OURS if row.system.startswith("sse-sink") else _OTHERS for row in rows]
        _bars(left, names, [_cpu(row) for row in rows], colours)
        left.set_title("server CPU, µs a delivery", color=_INK, fontsize=12)
        _bars(right, names, [row.p50_ms or 0.0 for row in rows], colours)
        right.set_title("latency p50, ms", color=_INK, fontsize=12)
        left.invert_yaxis()
        figure.supxlabel(
            "1,000 clients, 20 events/s, log scale; shorter is better", color=_INK, fontsize=10
        )
        figure.savefig(path, transparent=True, metadata={"Date": None})
    return True


def _label(row: Row) -> str:
    if row.clients == 1000:
        return row.system
    return f"{row.system} ({row.clients} clients)"


def _cpu(row: Row) -> float:
    """Return the processor time of the server and of its helpers."""
    return (row.cpu_us or 0.0) + sum(row.helper_cpu_us.values())


def _bars(axes: Axes, names: list[str], values: list[float], colours: list[str]) -> None:
    bars = axes.barh(names, values, color=colours, height=0.66)
    axes.bar_label(bars, [f"{value:,.3g}" for value in values], padding=4, color=_INK)
    axes.set_xscale("log")
    axes.set_xlim(10 ** _floor(min(values)), max(values) * 4)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.tick_params(colors=_INK, which="both", length=0)
    axes.grid(axis="x", color=_INK, alpha=0.25)
    axes.set_axisbelow(True)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _floor(least: float) -> int:
    """Return the exponent of a power of ten below the least value, so that its bar is seen."""
    return math.floor(math.log10(least / 2))


def main() -> None:
    source = Path(sys.argv[1]) if len(sys.argv) > 1 else newest()
    target = Path(sys.argv[2]) if len(sys.argv) > 2 else FOLDER / "fanout.svg"
    if not draw(read(source), target):
        raise SystemExit(f"{source} holds no {SCENARIO}")
    print(f"drawn into {target}")


if __name__ == "__main__":
    main()
