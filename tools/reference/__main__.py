"""Writes the generated parts of the documentation: ``python -m tools.reference``."""

from __future__ import annotations

from pathlib import Path

from . import PARTS, fresh

DOCS = Path(__file__).parents[2] / "docs"

if __name__ == "__main__":
    for name in PARTS:
        page = DOCS / name
        page.write_text(fresh(name, page.read_text()))
