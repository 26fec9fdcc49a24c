"""Two checkouts compared: each figure here and there, and their ratio."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import median
from typing import NamedTuple

from .columns import Column, columns
from .results import Row
from .system import THERE


class Compared(NamedTuple):
    """One figure of one scenario, in all runs: those of one run stand at the same place."""

    scenario: str
    system: str
    column: Column
    here: list[float]
    there: list[float]

    @property
    def ratio(self) -> float:
        """The median here over the median there."""
        return median(self.here) / median(self.there)

    @property
    def ratios(self) -> list[float]:
        """The ratio in each run."""
        return [here / there for here, there in zip(self.here, self.there, strict=True)]


def compare(rows: Sequence[Row]) -> Iterator[Compared]:
    """Yield each figure that was measured here and there; runs that lack one side are left out."""
    found = {(row.scenario, row.system, row.run): row for row in rows}
    for scenario, system in dict.fromkeys((row.scenario, row.system) for row in rows):
        pairs = [
            (row, found[scenario, system + THERE, row.run])
            for row in rows
            if (row.scenario, row.system) == (scenario, system)
            and (scenario, system + THERE, row.run) in found
        ]
        if not pairs:
            continue
        kind = pairs[0][0].kind
        for column in columns(kind, [row for row in rows if row.kind == kind]):
            if column.better and (compared := _compared(column, pairs)):
                yield compared


def only_in_one(rows: Sequence[Row]) -> Iterator[Row]:
    """Yield the rows of scenarios that were measured only here, or only there."""
    measured = {(row.scenario, row.system) for row in rows}
    for row in rows:
        other = (
            row.system.removesuffix(THERE) if row.system.endswith(THERE) else row.system + THERE
        )
        if (row.scenario, other) not in measured:
            yield row


def _compared(column: Column, pairs: Sequence[tuple[Row, Row]]) -> Compared | None:
    here, there = [], []
    for mine, other in pairs:
        one, two = column.value(mine), column.value(other)
        if one and two:
            here.append(one)
            there.append(two)
    if not here:
        return None
    return Compared(pairs[0][0].scenario, pairs[0][0].system, column, here, there)
