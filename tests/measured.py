"""A plugin: what tests measure, shown as a table at the end of the run."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

Measured = Callable[[str, str], None]

_rows: list[tuple[str, str, str]] = []


@pytest.fixture
def measured(request: pytest.FixtureRequest) -> Measured:
    """Note a figure: what was measured, and the result with its unit."""
    way = request.node.funcargs.get("both_ways", "direct")

    def note(what: str, result: str) -> None:
        named = what if way == "direct" else f"{what} ({way})"
        _rows.append((request.node.nodeid, named, result))

    return note


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if not _rows:
        return
    terminalreporter.section("measured")
    for _, what, result in sorted(_rows):
        terminalreporter.write_line(f"{what:80} {result}")
    if name := os.environ.get("MEASURED"):
        Path(name).write_text(json.dumps(sorted(_rows), indent=1))
