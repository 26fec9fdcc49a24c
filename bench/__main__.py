"""The command line: ``python -m bench``."""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

from . import peers, report
from .clients import raise_descriptor_limit
from .machine import commit, machine, versions
from .results import FOLDER, Result, write
from .run import Options, Run
from .scenario import WINDOW, Scenario
from .scenarios import COMPARED, SCENARIOS, named
from .system import ROOT, System


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Measures this project beside its peers, or two checkouts of it, on loopback.",
    )
    add = parser.add_argument
    add("--all", action="store_true", help="every scenario with every system that it suits")
    add(
        "--only",
        action="append",
        default=[],
        metavar="SYSTEM",
        choices=[each.name for each in peers.systems(ROOT)],
        help="only this system; may be repeated",
    )
    add(
        "--scenario",
        action="append",
        default=[],
        metavar="NAME",
        help="only this scenario, or all whose names begin so; may be repeated",
    )
    add("--against", type=Path, metavar="PATH", help="compare with another checkout, in turn")
    add("--runs", type=int, default=1, help="repetitions; tables show the medians")
    add("--seconds", type=float, help="how long each scenario lasts, to try it")
    add("--clients", type=int, help="the most clients of a scenario, to try it")
    add("--workers", type=int, help="worker processes, if a system can have several")
    add("--project", type=Path, default=ROOT, metavar="PATH", help="the checkout to measure")
    add("--folder", type=Path, default=ROOT / "data", help="where servers keep their files")
    add("--results", type=Path, default=FOLDER, help="where results are written")
    add("--list", action="store_true", help="print systems and scenarios, and measure nothing")
    return parser.parse_args()


def chosen_scenarios(options: argparse.Namespace) -> list[Scenario]:
    """Return the scenarios that were asked for.

    :raises SystemExit: there is none of such a name.
    """
    names = options.scenario or (COMPARED if options.against else ())
    if not names:
        return [each for each in SCENARIOS if each.default or options.all]
    try:
        return named(names)
    except KeyError as error:
        raise SystemExit(f"no scenario {error}: see python -m bench --list") from None


def chosen_systems(options: argparse.Namespace) -> list[System]:
    """Return the systems that were asked for.

    :raises SystemExit: one of them can't be compared with another checkout.
    """
    project = options.project.resolve()
    if not options.against:
        found = peers.systems(project)
        return [each for each in found if not options.only or each.name in options.only]
    here = {each.name: each for each in peers.checkout(project)}
    there = {each.name: each for each in peers.checkout(options.against.resolve())}
    systems: list[System] = []
    for name in options.only or ["sse-sink"]:
        if name not in here:
            raise SystemExit(f"--against compares checkouts of this project, not {name}")
        there[name].there = True
        systems += [here[name], there[name]]
    return systems


def show_list(systems: list[System]) -> None:
    for system in systems:
        print(f"{system.name:20} {system.missing() or system.about}")
    print()
    for each in SCENARIOS:
        print(f"{each.name:28} {'by default' if each.default else ''}".rstrip())


def measure(options: argparse.Namespace) -> Result:
    """Measure what was asked for."""
    began, clock = datetime.now(UTC), time.monotonic()
    scenarios, systems = chosen_scenarios(options), chosen_systems(options)
    about = {**machine(), "open_files": raise_descriptor_limit()}
    options.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bench-", dir=options.folder) as folder:
        run = Run(
            Options(
                folder=Path(folder).resolve(),
                runs=options.runs,
                workers=options.workers,
                seconds=options.seconds,
                clients=options.clients,
                only_default=not (options.all or options.scenario or options.against),
            ),
            systems,
            scenarios,
        )
        run.measure()
    measured = {row.system for row in run.rows}
    systems = [each for each in systems if each.label in measured]
    packages = dict.fromkeys(name for system in systems for name in system.packages)
    return Result(
        began=began.isoformat(timespec="seconds"),
        seconds=round(time.monotonic() - clock, 1),
        machine=about,
        versions={**versions(packages), **commits(options)},
        parameters={
            "arguments": sys.argv[1:],
            "window": WINDOW,
            "workers": options.workers,
            "scenarios": [asdict(each) for each in scenarios],
        },
        systems={system.label: system.about for system in systems},
        left_out=run.left_out,
        rows=run.rows,
    )


def commits(options: argparse.Namespace) -> dict[str, str]:
    """Return the commits of the checkouts that are measured."""
    found = {"commit": commit(options.project)}
    if options.against:
        found["commit there"] = commit(options.against)
    return found


def draw(result: Result, path: Path) -> None:
    """Draw the chart, if matplotlib is there and the result holds what it shows."""
    try:
        from . import chart
    except ImportError:
        print("no chart: matplotlib isn't installed")
        return
    if chart.draw(result, path):
        print(f"drawn into {path}")


def terminate(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def main() -> None:
    # So that a terminated benchmark ends its servers, too.
    signal.signal(signal.SIGTERM, terminate)
    options = arguments()
    if options.list:
        show_list(peers.systems(options.project.resolve()))
        return
    result = measure(options)
    print(f"\n{report.text(result)}")
    if not result.rows:
        raise SystemExit("nothing was measured")
    path = write(result, options.results)
    print(f"\n{result.seconds:.0f} s; written to {path}")
    if not options.against:
        draw(result, options.results / "fanout.svg")


if __name__ == "__main__":
    main()
