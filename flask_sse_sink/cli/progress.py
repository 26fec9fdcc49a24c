"""Progress on standard error, on a terminal only."""

from __future__ import annotations

import io
import sys
import time
from typing import Any

import click

_PERIOD_SECONDS = 0.2


def bar(length: int, label: str) -> Any:
    """Return click's progress bar, of which nothing is seen where there is no terminal."""
    if sys.stderr.isatty():
        return click.progressbar(length=length, label=label, file=sys.stderr)
    return click.progressbar(length=length, file=io.StringIO())


class Line:
    """A line that is written again and again while something of unknown length goes on."""

    def __init__(self) -> None:
        self._is_seen = sys.stderr.isatty()
        self._next = 0.0

    def show(self, text: str) -> None:
        """Write the text, five times a second at most."""
        if self._is_seen and time.monotonic() >= self._next:
            self._next = time.monotonic() + _PERIOD_SECONDS
            click.echo(f"\r\x1b[K{text}", nl=False, err=True)

    def clear(self) -> None:
        """Remove the line, so that other messages can be written."""
        if self._is_seen:
            click.echo("\r\x1b[K", nl=False, err=True)
            self._next = 0.0
