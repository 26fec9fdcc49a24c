"""Draws a result: processor time a delivery and latency, by system, at 1,000 clients.

python -m bench.chart [RESULT.json [CHART.svg]]
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, NullFormatter

from .report import RESULTS

matplotlib.use("svg")

from matplotlib import pyplot  # noqa: E402

SCENARIO = "fanout-1000-20"
# A grey and two hues that stand out from white and from black alike.
_INK = "#808892"
_OURS = "#e8743b"
_OTHERS = "#4a90c2"


def draw(result: dict[str, Any], path: Path) -> bool:
    """Draw the result into an SVG without a background; return whether it holds what is drawn."""
    rows = [row for row in result["rows"] if row["scenario"] == SCENARIO and row["deliveries"]]
    if not rows:
        return False
    # The same file from the same result, so that a version-controlled chart changes with it only.
    style: Any = {"svg.hashsalt": "bench", "font.size": 11, "text.color": _INK}
    with matplotlib.rc_context(style):
        figure, (left, right) = pyplot.subplots(
            1, 2, figsize=(9, 0.42 * len(rows) + 1.3), sharey=True, layout="constrained"
        )
        names = [_label(row) for row in rows]
        colours = [_OURS if row["system"].startswith("sse-sink") else _OTHERS for row in rows]
        _bars(left, names, [_cpu(row) for row in rows], colours)
        left.set_title("server CPU, µs a delivery", color=_INK, fontsize=12)
        _bars(right, names, [row["p50_ms"] for row in rows], colours)
        right.set_title("latency p50, ms", color=_INK, fontsize=12)
        left.invert_yaxis()
        figure.supxlabel(
            "1,000 clients, 20 events/s, log scale; shorter is better", color=_INK, fontsize=10
        )
        figure.savefig(path, transparent=True, metadata={"Date": None})
        pyplot.close(figure)
    return True


def _label(row: dict[str, Any]) -> str:
    name: str = row["system"]
    return name if row["clients"] == 1000 else f"{name} ({row['clients']} clients)"


def _cpu(row: dict[str, Any]) -> float:
    """Return the processor time of the server and of what it needs beside it."""
    return float(row["cpu_us"] + sum(row["helper_cpu_us"].values()))


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
    """Return the power of ten below the least value, so that its bar can be seen."""
    power = 0
    while 10**power > least / 2:
        power -= 1
    while 10 ** (power + 1) <= least / 2:
        power += 1
    return power


def main() -> None:
    source = Path(sys.argv[1]) if len(sys.argv) > 1 else RESULTS / "latest.json"
    target = Path(sys.argv[2]) if len(sys.argv) > 2 else RESULTS / "fanout.svg"
    if not draw(json.loads(source.read_text()), target):
        raise SystemExit(f"{source} holds no {SCENARIO}")
    print(f"drawn into {target}")


if __name__ == "__main__":
    main()
