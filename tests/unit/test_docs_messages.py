"""The messages in docs/troubleshooting.md are those that the code writes."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest

from support.processes import ROOT

PAGE = (ROOT / "docs/troubleshooting.md").read_text()
MESSAGES = re.findall(
    r"^\| `([^`]+)` \|", PAGE.partition("## What the server's log says")[2], re.MULTILINE
)


def texts() -> Iterator[str]:
    """Yield the texts of the package, with … for what is put into them."""
    for path in (ROOT / "flask_sse_sink").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr):
                parts = (p.value if isinstance(p, ast.Constant) else "…" for p in node.values)
                yield "".join(map(str, parts))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield re.sub(r"%(\.\d+)?[sdfg]", "…", node.value)


TEXTS = [text.lower() for text in texts()]


@pytest.mark.parametrize("message", MESSAGES)
def test_a_message_of_the_page_stands_in_the_code(message: str) -> None:
    assert any(message.lower() in text for text in TEXTS)


def test_the_page_has_messages() -> None:
    assert len(MESSAGES) > 20
