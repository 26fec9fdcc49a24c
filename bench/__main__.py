"""The command line: ``python -m bench``."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from . import report
from .clients import raise_descriptor_limit
from .machine import machine, versions
from .measure import Measurement, Row, folder_for
from .peers import SYSTEMS
from .scenarios import SCENARIOS, WINDOW, Scenario
from .system import ROOT, Setting, System
from .wire import BadAnswer


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Measures this project and its peers on loopback, one after the other.",
    )
    add = parser.add_argument
    add("--all", action="store_true", help="every scenario, every system: twenty minutes")
    add(
        "--only",
        action="append",
        default=[],
        metavar="SYSTEM",
        choices=[each.name for each in SYSTEMS],
        help="only this system; may be repeated",
    )
    add(
        "--scenario",
        action="append",
        default=[],
        metavar="NAME",
        help="only this scenario, or those that begin with it; may be repeated",
    )
    add("--workers", type=int, help="worker processes, where a system can have several")
    add("--project", type=Path, default=Path(os.environ.get("BENCH_PROJECT", ROOT)))
    add("--folder", type=Path, default=ROOT / "data", help="where logs are kept while it runs")
    add("--results", type=Path, default=report.RESULTS, help="where results are written")
    add("--list", action="store_true", help="print systems and scenarios, and measure nothing")
    return parser.parse_args()


def chosen(options: argparse.Namespace) -> list[Scenario]:
    """Return the scenarios that were asked for.

    :raises SystemExit: there is none of such a name.
    """
    if not options.scenario:
        return [each for each in SCENARIOS if each.default or options.all]
    found = []
    for name in options.scenario:
        exact = [each for each in SCENARIOS if each.name == name]
        these = exact or [each for each in SCENARIOS if each.name.startswith(name)]
        if not these:
            raise SystemExit(f"no scenario {name!r}: see python -m bench --list")
        found += [each for each in these if each not in found]
    return found


def suits(system: System, scenario: Scenario, options: argparse.Namespace) -> bool:
    if scenario.filters and not system.filters or scenario.batch and not system.batches:
        return False
    if scenario.clients > 1000 and system.most_clients:
        return False
    asked = options.all or options.scenario
    return bool(asked or not scenario.systems or system.name in scenario.systems)


def groups(scenarios: Sequence[Scenario]) -> list[list[Scenario]]:
    """Return the scenarios by the server that they share: ingest shares that of one client."""
    found: dict[tuple[int, int, int], list[Scenario]] = {}
    for each in scenarios:
        found.setdefault((max(each.clients, 1), each.filters, each.others), []).append(each)
    return list(found.values())


def show(row: Row) -> None:
    """Print a row's main figures, as soon as it is there."""
    said = []
    for name, value, digits in (
        ("events/s", row.events_per_second, 0),
        ("deliveries/s", row.deliveries_per_second, 0),
        ("µs CPU", row.cpu_us, 2),
        ("ms p50", row.p50_ms, 2),
        ("ms p99", row.p99_ms, 2),
        ("KiB/client", row.memory_kib, 1),
        ("connects/s", row.connects_per_second, 0),
        ("% CPU", row.cpu_percent if row.scenario.startswith("idle") else None, 2),
    ):
        if value is not None:
            said.append(f"{value:,.{digits}f} {name}")
    if row.missing:
        said.append(f"{row.missing:,} MISSING")
    print(f"  {row.scenario:18} {', '.join([*said, *row.notes])}", flush=True)


def measure(
    options: argparse.Namespace, folder: Path
) -> tuple[list[Row], dict[str, str], list[System]]:
    rows: list[Row] = []
    left_out: dict[str, str] = {}
    measured: list[System] = []
    for system in SYSTEMS:
        if options.only and system.name not in options.only:
            continue
        if why := system.missing(options.project):
            left_out[system.name] = f"left out: {why}"
            print(f"{system.name} {left_out[system.name]}", flush=True)
            continue
        scenarios = [each for each in chosen(options) if suits(system, each, options)]
        if not scenarios:
            continue
        measured.append(system)
        print(f"{system.name}: {system.about}", flush=True)
        for number, group in enumerate(groups(scenarios)):
            clients = max(each.clients for each in group)
            clients = min(clients, system.most_clients or clients)
            setting = Setting(
                folder_for(folder, f"{system.name}-{number}"),
                clients,
                options.workers,
                options.project,
            )
            try:
                for row in Measurement(system, setting, group).run():
                    rows.append(row)
                    show(row)
            except KeyboardInterrupt:
                left_out["interrupted"] = f"while {system.name} was measured"
                return rows, left_out, measured
            except (OSError, RuntimeError, BadAnswer) as error:
                name = f"{system.name}, {group[0].name} and what shares its server"
                left_out[name] = f"failed: {error}"
                print(f"  {left_out[name]}", flush=True)
    return rows, left_out, measured


def main() -> None:
    options = arguments()
    if options.list:
        for system in SYSTEMS:
            print(f"{system.name:20} {system.missing(options.project) or system.about}")
        print()
        for each in SCENARIOS:
            print(f"{each.name:20} {'by default' if each.default else ''}".rstrip())
        return
    files = raise_descriptor_limit()
    options.project = options.project.resolve()
    began = datetime.now(UTC)
    clock = time.monotonic()
    about = machine()
    options.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bench-", dir=options.folder) as folder:
        rows, left_out, measured = measure(options, Path(folder).resolve())
    seconds = time.monotonic() - clock
    packages = dict.fromkeys(name for system in measured for name in system.packages)
    result: dict[str, Any] = {
        "began": began.isoformat(timespec="seconds"),
        "seconds": round(seconds, 1),
        "machine": {**about, "open_files": files},
        "versions": versions(packages, options.project),
        "parameters": {
            "arguments": sys.argv[1:],
            "window": WINDOW,
            "workers": options.workers,
            "scenarios": [asdict(each) for each in chosen(options)],
        },
        "systems": {system.name: system.about for system in measured},
        "left_out": left_out,
        "rows": [asdict(row) for row in rows],
    }
    print(report.text(result))
    text = json.dumps(result, indent=1, ensure_ascii=False) + "\n"
    options.results.mkdir(parents=True, exist_ok=True)
    dated = options.results / f"{began:%Y-%m-%dT%H-%M-%SZ}.json"
    for path in (dated, options.results / "latest.json"):
        path.write_text(text)
    print(f"\n{seconds:.0f} s; written to {dated}")
    draw(result, options.results / "fanout.svg")


def draw(result: dict[str, Any], path: Path) -> None:
    """Draw the chart, if matplotlib is there and the result holds what it shows."""
    try:
        from . import chart
    except ImportError:
        print("no chart: matplotlib isn't installed")
        return
    if chart.draw(result, path):
        print(f"drawn into {path}")


if __name__ == "__main__":
    main()
