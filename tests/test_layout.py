"""Modules import only from those earlier in one order."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import flask_sse_sink

ROOT = Path(flask_sse_sink.__file__).parent
ORDER = (
    "exceptions event pattern frame redis_url settings config signals metrics log loop relay "
    "retention peer host request_buffer memory chunk replay lane outbox client watch slots access "
    "problem cors response session sink views extension server master worker gunicorn cli"
).split()
FILES = sorted(path.relative_to(ROOT) for path in ROOT.rglob("*.py"))


def top(path: Path) -> str:
    return path.with_suffix("").parts[0]


def imported(path: Path) -> Iterator[str]:
    """Yield the package's modules that a file imports, as they stand in the list."""
    package = ("flask_sse_sink", *path.parent.parts)
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        if isinstance(node, ast.Import):
            found = [tuple(alias.name.split(".")) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            base += tuple(node.module.split(".")) if node.module else ()
            found = [(*base, alias.name) for alias in node.names]
        else:
            continue
        yield from (name[1] for name in found if name[0] == "flask_sse_sink" and name[1:])


def test_every_module_has_a_place_in_the_order() -> None:
    assert {top(path) for path in FILES} - {"__init__"} == set(ORDER)


@pytest.mark.parametrize("path", [path for path in FILES if top(path) != "__init__"], ids=str)
def test_a_module_imports_only_earlier_ones(path: Path) -> None:
    own = top(path)
    allowed = {*ORDER[: ORDER.index(own)]}
    if len(path.parts) > 1:
        allowed.add(own)
    assert set(imported(path)) <= allowed
