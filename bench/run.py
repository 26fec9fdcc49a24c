"""The order in which systems are measured, and the rows of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from . import report
from .measure import measure
from .results import Row
from .scenario import Scenario, groups
from .system import Setting, System, Unsuited
from .wire import BadAnswer


@dataclass(frozen=True)
class Options:
    """How to measure."""

    folder: Path
    """Where the servers keep their files."""
    runs: int = 1
    workers: int | None = None
    seconds: float | None = None
    """How long each scenario lasts, instead of its own time."""
    clients: int | None = None
    """The most clients, instead of each scenario's own number."""
    only_default: bool = False
    """Whether a scenario is measured only with its default systems."""


@dataclass
class Run:
    """A run of the benchmark, and what has come of it."""

    options: Options
    systems: Sequence[System]
    scenarios: Sequence[Scenario]
    rows: list[Row] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)

    def measure(self) -> None:
        """Measure all; a failure is noted in ``left_out``, and the others are measured."""
        for system in self.systems:
            if why := system.missing():
                self.left_out[system.label] = f"left out: {why}"
        try:
            for number, (run, system, group) in enumerate(self._plan()):
                print(f"{system.label}, run {run}" if self.options.runs > 1 else system.label)
                self._measure(system, group, run, self.options.folder / f"{number}-{system.name}")
        except KeyboardInterrupt:
            self.left_out["interrupted"] = "not everything was measured"

    def _plan(self) -> Iterator[tuple[int, System, list[Scenario]]]:
        """Yield systems with scenarios that share a server; the systems take turns."""
        for group in groups(self.scenarios):
            for run in range(1, self.options.runs + 1):
                for system in self.systems:
                    suitable = [each for each in group if self._suits(system, each)]
                    if suitable and system.label not in self.left_out:
                        yield run, system, suitable

    def _suits(self, system: System, scenario: Scenario) -> bool:
        return system.name in (scenario.default if self.options.only_default else scenario.systems)

    def _measure(self, system: System, group: list[Scenario], run: int, folder: Path) -> None:
        folder.mkdir()
        if self.options.seconds:
            group = [dataclasses.replace(each, seconds=self.options.seconds) for each in group]
        if self.options.clients:
            group = [each.with_clients(self.options.clients) for each in group]
        clients = max(each.clients + each.replaying for each in group)
        setting = Setting(
            folder=folder,
            clients=min(clients, system.most_clients or clients),
            workers=self.options.workers or group[0].workers,
            sink=group[0].sink,
        )
        try:
            for row in measure(system, setting, group):
                row.run = run
                self.rows.append(row)
                print(f"  {report.line(row)}", flush=True)
        except Unsuited as error:
            names = ", ".join(each.name for each in group)
            self.left_out[f"{system.label}, {names}"] = f"left out: {error}"
            print(f"  left out: {error}", flush=True)
        except (OSError, RuntimeError, BadAnswer) as error:
            names = ", ".join(each.name for each in group)
            self.left_out[f"{system.label}, run {run} of {names}"] = f"failed: {error}"
            print(f"  failed: {error}", flush=True)
