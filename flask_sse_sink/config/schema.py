"""The JSON Schema of the configuration file, for editors and ``flask sse schema``."""

from __future__ import annotations

from typing import Any

import msgspec

from .settings import Settings, SinkSettings
from .sink_types import SINK_TYPES
from .values import Value


def schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of the configuration file."""
    types = [sink_type for _, sink_type in SINK_TYPES.items()]
    (_, *references), parts = msgspec.json.schema_components(
        [Settings, *(sink_type.settings for sink_type in types)],
        schema_hook=_value_schema,
        ref_template="#/$defs/{name}",
    )
    # Every sink has a type, whose Struct stands in the place of the base class.
    del parts[SinkSettings.__name__]
    for name, part in parts.items():
        part["additionalProperties"] = False
        part.pop("title", None)
        for key, rule in part.get("properties", {}).items():
            _loosen(rule)
            if name == "Settings":
                part["properties"][key] = {"anyOf": [rule, {"type": "null"}]}
    for reference, sink_type in zip(references, types, strict=True):
        _name_type(parts[reference["$ref"].rpartition("/")[2]], sink_type.name)
    sinks = parts["Settings"]["properties"]["sink"]["anyOf"][0]
    sinks["additionalProperties"] = {"anyOf": [*references, {"type": "null"}]}
    sinks["propertyNames"] = {"pattern": "^[A-Za-z0-9_-]+$"}
    sinks["minProperties"] = 1
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "flask-sse-sink configuration",
        "$ref": "#/$defs/Settings",
        "$defs": parts,
    }


def _value_schema(kind: type) -> dict[str, Any]:
    if not issubclass(kind, Value):
        raise NotImplementedError(f"no schema for {kind}")
    return kind.schema()


def _name_type(part: dict[str, Any], name: str) -> None:
    """Make the schema of a sink's settings allow this type only."""
    rule = part["properties"]["type"]
    part["properties"]["type"] = {
        "description": f"`{name}`; {rule['description']}",
        "anyOf": [{"enum": [name]}, {"type": "null"}],
    }


def _loosen(rule: dict[str, Any]) -> None:
    """Change the rule of one setting so that it also allows a variable such as ``${PORT}``."""
    if rule.get("type") in ("integer", "boolean", "number"):
        value = {key: rule.pop(key) for key in list(rule) if key != "description"}
        rule["anyOf"] = [value, {"type": "string", "pattern": r"\$"}]
    if rule.get("items", {}).get("pattern"):
        # A token is mostly a variable, and the patterns of ECMAScript know no \Z.
        rule["items"] = {"type": "string", "minLength": 1}
    rule.pop("default", None)
