"""Generated parts of a page: they stand between two comments, which readers don't see."""

from __future__ import annotations

import re

BEGIN = "<!-- {name}: written by `make docs` -->"
END = "<!-- end of {name} -->"


def replaced(text: str, name: str, part: str) -> str:
    """Return a page's text with this part in place of the one between its comments.

    :raises ValueError: the page doesn't have both comments once.
    """
    begin, end = BEGIN.format(name=name), END.format(name=name)
    between = re.compile(f"{re.escape(begin)}\n.*?{re.escape(end)}\n", re.DOTALL)
    if len(between.findall(text)) != 1:
        raise ValueError(f"the page needs the lines {begin!r} and {end!r} once")
    return between.sub(lambda _: f"{begin}\n\n{part.strip()}\n\n{end}\n", text)


def table(headings: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """Return a table in Markdown.

    :raises ValueError: a cell has a ``|``, which the site and GitHub escape in different ways.
    """
    lines = [headings, ("---",) * len(headings), *rows]
    if bad := [cell for row in lines for cell in row if "|" in cell]:
        raise ValueError(f"a cell of a table can't have a |; say it in other words: {bad[0]}")
    return "\n".join(f"| {' | '.join(row)} |".replace("|  |", "| |") for row in lines)
