"""Progress on standard error, on a terminal only."""

from __future__ import annotations

import io
import sys
import time
from typing import Any

import click

_PERIOD_SECONDS = 0.2


def bar(length: int, label: str) -> Any:
    """Return click's progress bar.

    Nothing is seen of it where there is no terminal, or where the length is 0: unknown.
    """
    if length and sys.stderr.isatty():
        return click.progressbar(length=length, label=label, file=sys.stderr)
    return click.progressbar(length=length, file=io.StringIO())


class Line:
    """A line that is written again and again while something of unknown length goes on.

    Where ``beside_bar`` is true, a progress bar is shown, and no text in place of it.
    """

    def __init__(self, beside_bar: bool = False) -> None:
        self._is_seen = sys.stderr.isatty()
        self._next = float("inf") if beside_bar else 0.0

    def show(self, text: str) -> None:
        """Write the text, five times a second at most."""
        if self._is_seen and time.monotonic() >= self._next:
            self._next = time.monotonic() + _PERIOD_SECONDS
            click.echo(f"\r\x1b[K{text}", nl=False, err=True)

    def clear(self) -> None:
        """Remove the line, or the bar, so that another message can be written in its place."""
        if self._is_seen:
            click.echo("\r\x1b[K", nl=False, err=True)
