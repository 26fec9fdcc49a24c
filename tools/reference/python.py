"""The names that an app imports, from their docstrings."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import Any

import blinker
import msgspec

import flask_sse_sink
from flask_sse_sink import signals
from flask_sse_sink.stream.client import Client

#: The order of the page: what most readers look for comes first.
FIRST = ("SSESink", "create_app", "Grants", "Event", "Source")
#: Members that the page shows of a class; of others all public ones.
SHOWN = {
    "Grants": ("of",),
    "Event": (),
    "Client": ("name", "identity", "expires_at", "seconds", "waiting", "frames"),
}
_ROLE = re.compile(r":\w+:`~?\.*(?:[\w.]*\.)?(\w+)`")
_LITERAL = re.compile(r"``(.+?)``")
_RAISES = re.compile(r"^:raises (\w+(?:\.\w+)*): (.*)$")


def public_names() -> str:
    """Return a section for each public name of the package, and for what signals hand out."""
    names = sorted(flask_sse_sink.__all__, key=lambda n: (n not in FIRST, _place(n), n))
    return "\n\n".join(_section(name, getattr(flask_sse_sink, name)) for name in names) + (
        "\n\n" + _class("Client", Client)
    )


def _place(name: str) -> int:
    return FIRST.index(name) if name in FIRST else 0


def _section(name: str, value: Any) -> str:
    if isinstance(value, blinker.NamedSignal):
        return f"## {name}\n\nA signal. {_markdown(_comment_above(name))}"
    if inspect.isclass(value):
        return _class(name, value)
    return f"## {name}\n\n{_code(name, value)}\n\n{_markdown(inspect.getdoc(value) or '')}"


def _class(name: str, kind: type) -> str:
    base = kind.__bases__[0]
    over = ""
    if base is not Exception and issubclass(kind, Exception):
        over = f" A kind of `{base.__name__}`."
    parts = [f"## {name}", _markdown(inspect.getdoc(kind) or "") + over]
    if issubclass(kind, msgspec.Struct):
        fields = msgspec.structs.fields(kind)
        parts.append("\n".join(f"- `{f.name}: {_plain(f.type)}`" for f in fields))
    for member, value in _members(name, kind):
        if isinstance(value, property):
            parts.append(f"### {name}.{member}\n\n{_markdown(inspect.getdoc(value) or '')}")
            continue
        function = value.__func__ if isinstance(value, classmethod) else value
        described = _markdown(inspect.getdoc(function) or "")
        code = _code(f"{name}.{member}", function)
        parts.append(f"### {name}.{member}\n\n{code}\n\n{described}")
    return "\n\n".join(parts)


def _members(name: str, kind: type) -> Iterator[tuple[str, Any]]:
    for member, value in vars(kind).items():
        is_method = inspect.isfunction(value) or isinstance(value, classmethod | property)
        if is_method and not member.startswith("_") and member in SHOWN.get(name, (member,)):
            yield member, value


def _plain(kind: Any) -> str:
    return kind.__name__ if isinstance(kind, type) else str(kind)


def _code(name: str, function: Any) -> str:
    """Return the signature of a function as it is called; a long one takes several lines."""
    signature = inspect.signature(function)
    parameters = [p for p in signature.parameters.values() if p.name not in ("self", "cls")]
    text = f"{name}{signature.replace(parameters=parameters)}".replace("'", "")
    if len(text) > 88:
        inside = str(signature.replace(parameters=parameters, return_annotation=inspect._empty))
        lines = re.split(r", (?![^\[]*\])", inside[1:-1])
        returned = text.rpartition(")")[2]
        text = f"{name}(\n    " + ",\n    ".join(lines).replace("'", "") + f",\n){returned}"
    return f"```text\n{text}\n```"


def _comment_above(signal: str) -> str:
    """Return the comment that stands above a signal, where tools for documentation look."""
    source = inspect.getsource(signals)
    above = source.partition(f"\n{signal} = ")[0].rsplit("\n\n", 1)[1]
    return "\n".join(line.removeprefix("#:").strip() for line in above.splitlines())


def _markdown(docstring: str) -> str:
    """Return a docstring, written in reStructuredText, as Markdown."""
    text = _LITERAL.sub(r"`\1`", _ROLE.sub(r"`\1`", docstring))
    paragraphs = []
    for paragraph in re.split(r"\n\s*\n", text):
        if paragraph.startswith(":raises"):
            joined = re.sub(r"\n +", " ", paragraph)
            raises = [_RAISES.sub(r"- raises `\1`: \2", line) for line in joined.splitlines()]
            paragraphs.append("\n".join(raises))
        elif paragraph.startswith("    "):
            paragraphs.append(f"```text\n{inspect.cleandoc(paragraph)}\n```")
        else:
            one = " ".join(paragraph.split())
            paragraphs.append(re.sub(r"::$", ":", one))
    return "\n\n".join(paragraphs)
