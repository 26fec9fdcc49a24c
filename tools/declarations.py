"""Writes the TypeScript declarations of the envelope into ``sse-sink.d.ts``, from its types.

``python -m tools.declarations`` does this; the rest of that file is written by hand.
"""

from __future__ import annotations

import re
from pathlib import Path

from msgspec import Struct, inspect

from flask_sse_sink.event import Event, Source

FILE = Path(__file__).parents[1] / "flask_sse_sink" / "static" / "sse-sink.d.ts"

# The DOM has an `Event` of its own.
_NAMES: dict[type, str] = {Source: "Source", Event: "StoredEvent"}
# JSON text, of which the types of the log say no more.
_RAW = {"data": "Data", "meta": "Record<string, unknown>"}
_GENERATED = re.compile(r"(?<=// From here: made by tools/declarations.py\n).*\Z", re.DOTALL)


def declarations() -> str:
    """Return the declarations of an event and its source."""
    return "\n".join(interface(kind) for kind in _NAMES)


def renewed(text: str) -> str:
    """Return the text of the file with its generated end renewed."""
    changed, count = _GENERATED.subn(lambda _: f"\n{declarations()}", text)
    if count != 1:
        raise ValueError(f"{FILE} has lost the line after which the generated part begins")
    return changed


def interface(kind: type[Struct]) -> str:
    """Return the declaration of a type.

    :raises TypeError: a field is of a kind that has no counterpart yet.
    """
    info = inspect.type_info(kind)
    assert isinstance(info, inspect.StructType)
    fields = [f"{_about(each)}  {each.encode_name}: {_type(each)};\n" for each in info.fields]
    parameter = "<Data = any>" if kind is Event else ""
    summary = (kind.__doc__ or "").partition("\n")[0]
    name = f"{_NAMES.get(kind, kind.__name__)}{parameter}"
    return f"/** {summary} */\nexport interface {name} {{\n{''.join(fields)}}}\n"


def _about(field: inspect.Field) -> str:
    """Return a comment with the description that the field has, if it has one."""
    if isinstance(field.type, inspect.Metadata):
        description = (field.type.extra_json_schema or {}).get("description")
        if description:
            return f"  /** {description} */\n"
    return ""


def _type(field: inspect.Field) -> str:
    if isinstance(_plain(field.type), inspect.RawType):
        return _RAW[field.name]
    return _written(field.type)


def _plain(kind: inspect.Type) -> inspect.Type:
    return kind.type if isinstance(kind, inspect.Metadata) else kind


def _written(kind: inspect.Type) -> str:
    match _plain(kind):
        case inspect.UnionType(types):
            return " | ".join(_written(each) for each in types)
        case inspect.IntType() | inspect.FloatType():
            return "number"
        case inspect.StrType():
            return "string"
        case inspect.BoolType():
            return "boolean"
        case inspect.NoneType():
            return "null"
        case inspect.StructType(cls):
            return _NAMES[cls]
    raise TypeError(f"{kind} has no counterpart here; add one")


if __name__ == "__main__":
    FILE.write_text(renewed(FILE.read_text()))
