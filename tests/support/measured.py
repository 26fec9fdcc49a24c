"""A plugin: what tests measure, shown as a table at the end of the run."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

Measured = Callable[[str, str], None]

_PROPERTY = "measured"


@pytest.fixture
def measured(request: pytest.FixtureRequest) -> Measured:
    """Note a figure: what was measured, and the result with its unit."""
    way = request.node.funcargs.get("both_ways", "direct")

    def note(what: str, result: str) -> None:
        row = what if way == "direct" else f"{what} ({way})"
        # Properties of a test reach the process that reports, whichever one ran the test.
        request.node.user_properties.append((_PROPERTY, (row, result)))

    return note


def _pair(value: object) -> tuple[str, str]:
    assert isinstance(value, (tuple, list))
    return value[0], value[1]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    rows = [
        (report.nodeid, *_pair(value))
        for reports in terminalreporter.stats.values()
        for report in reports
        if isinstance(report, pytest.TestReport) and report.when == "call"
        for name, value in report.user_properties
        if name == _PROPERTY
    ]
    if not rows:
        return
    terminalreporter.section("measured")
    for _, what, result in sorted(rows):
        terminalreporter.write_line(f"{what:80} {result}")
    if name := os.environ.get("MEASURED"):
        Path(name).write_text(json.dumps(sorted(rows), indent=1))
