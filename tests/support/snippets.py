"""The blocks of code on a page of the documentation, and what their comments tell the tests.

A comment stands directly above its block, where readers of the page don't see it:

- ``<!-- file: NAME -->``: later commands find the block as this file.
- ``<!-- in the background -->``: the commands stay open, as a server or a stream does.
- ``<!-- not run: REASON -->``
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_BLOCK = re.compile(
    r"(?P<comments>(?:^ *<!--[^\n]*-->\n)*)^(?P<indent> *)```(?P<language>[^\n]*)\n"
    r"(?P<text>.*?)^ *```$",
    re.MULTILINE | re.DOTALL,
)
_COMMENT = re.compile(r"<!-- (?P<word>file|in the background|not run)(?:: (?P<value>.+?))? -->")
_TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(\+00:00|Z)"


@dataclass(frozen=True)
class Block:
    """One block of code. ``line`` is where it begins on the page."""

    language: str
    text: str
    line: int
    file: str = ""
    in_background: bool = False
    not_run: str = ""


@dataclass(frozen=True)
class Command:
    """A command of a block, and what it prints according to the page."""

    text: str
    printed: str


def blocks(page: Path) -> Iterator[Block]:
    """Yield the blocks of a page in their order.

    :raises ValueError: a comment above a block isn't one of those that this module knows.
    """
    text = page.read_text()
    for match in _BLOCK.finditer(text):
        comments = {}
        for comment in match["comments"].splitlines():
            if not (parts := _COMMENT.fullmatch(comment.strip())):
                raise ValueError(f"{page.name}: {comment} is no comment that the tests know")
            comments[parts["word"]] = parts["value"] or ""
        indent = len(match["indent"])
        yield Block(
            match["language"].strip(),
            "".join(line[indent:] for line in match["text"].splitlines(keepends=True)),
            text.count("\n", 0, match.start("text")),
            file=comments.get("file", ""),
            in_background="in the background" in comments,
            not_run=comments.get("not run", ""),
        )


def commands(block: Block) -> list[Command]:
    """Return the commands of a block: those after ``$``, or all of a script as one."""
    if block.language != "console":
        return [Command(block.text, "")]
    found: list[tuple[list[str], list[str]]] = []
    continues = False
    for line in block.text.splitlines():
        if continues or line.startswith("$ "):
            if not continues:
                found.append(([], []))
            found[-1][0].append(line if continues else line[2:])
            continues = _continues("\n".join(found[-1][0]))
        else:
            found[-1][1].append(line)
    return [Command("\n".join(words), "\n".join(printed)) for words, printed in found]


def _continues(command: str) -> bool:
    """Return whether the command goes on in the next line."""
    return command.endswith("\\") or command.count("'") % 2 == 1


def plain(printed: str) -> str:
    """Return what was printed without what differs from run to run: names of events, times."""
    lines = [
        line.rstrip()
        for line in printed.splitlines()
        # A log's lines, and what `make` prints where it has to install packages first.
        if not re.match(r"\[\d{4}-.*\[INFO\]|Setting up \.venv", line)
    ]
    text = "\n".join(lines).strip()
    text = re.sub(r"evt_[0-9a-f]{32}", "evt_", text)
    text = re.sub(r"^retry: \d+$", "retry: ", text, flags=re.MULTILINE)
    text = re.sub(r"^\[\d{4}-[^]]*\] \[\d+\]", "LOG", text, flags=re.MULTILINE)
    return re.sub(_TIME, "TIME", text)


def shows(expected: str, printed: str, whole: bool = True) -> bool:
    """Return whether this was printed; ``…`` on the page stands for anything.

    ``whole`` says that nothing may follow.
    """
    words = [re.escape(part) for part in plain(expected).split("…")]
    pattern = re.compile(".*?".join(words), re.DOTALL)
    match = pattern.fullmatch if whole else pattern.match
    return match(plain(printed)) is not None
