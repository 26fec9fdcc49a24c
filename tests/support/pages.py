"""The pages of the documentation: their text, headings and links."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import yaml

from support.processes import ROOT

_FENCE = re.compile(r"^ *```.*?^ *```", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`[^`\n]*`")
_LINK = re.compile(r"!?\[(?:[^\[\]]|\[[^\]]*\])*\]\(([^()\s]+)\)")
_HEADING = re.compile(r"^#+ +(.*?) *$", re.MULTILINE)


def pages() -> list[Path]:
    """Return every page of Markdown of the repository: what a reader may open."""
    return sorted(
        [
            *ROOT.glob("*.md"),
            *(ROOT / "docs").rglob("*.md"),
            ROOT / "bench/README.md",
            ROOT / "examples/README.md",
        ]
    )


def name(page: Path) -> str:
    """Return a page's path in the repository."""
    return page.relative_to(ROOT).as_posix()


def outside() -> dict[str, str]:
    """Return the site's names of files that stand outside of ``docs``, by their paths."""
    names: dict[str, str] = yaml.safe_load((ROOT / "mkdocs.yml").read_text())["extra"]["outside"]
    return names


def site_name(page: Path) -> str:
    """Return a page's name in the site, which ends in ``.md``; "" where it isn't in the site."""
    path = name(page)
    return outside().get(path, path.removeprefix("docs/") if path.startswith("docs/") else "")


def prose(page: Path) -> str:
    """Return a page's text without its blocks of code."""
    return _FENCE.sub("", page.read_text())


def links(page: Path) -> Iterator[str]:
    """Yield the targets of a page's links and images."""
    for match in _LINK.finditer(_CODE.sub("`…`", prose(page))):
        yield match[1]


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub and the site make them."""
    found: set[str] = set()
    for heading in _HEADING.findall(prose(page)):
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        anchor = re.sub(r"[^\w\- ]", "", text).replace(" ", "-")
        number = 1
        while (unique := anchor if number == 1 else f"{anchor}-{number - 1}") in found:
            number += 1
        found.add(unique)
    return found
