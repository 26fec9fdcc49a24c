"""JSON Schemas of the types that bodies are made of."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Any

import msgspec

from .operations import Schema

#: Where both kinds of documents have the schemas of types.
_TEMPLATE = "#/components/schemas/{name}"


class Schemas:
    """The schemas of types; ``components`` has those that have a name."""

    def __init__(self, kinds: Iterable[Any]) -> None:
        types = [kind for kind in kinds if not isinstance(kind, dict)]
        # A type may be given more than once, and not every one is hashable.
        self._types: list[Any] = []
        self._types += (kind for kind in types if kind not in self._types)
        schemas, components = msgspec.json.schema_components(self._types, ref_template=_TEMPLATE)
        self._schemas = [_cleaned(schema) for schema in schemas]
        self.components: dict[str, Schema] = {
            name: _cleaned(part) for name, part in sorted(components.items())
        }

    def of(self, kind: Any) -> Schema:
        """Return the schema of a type that was given, or a schema as it is."""
        if isinstance(kind, dict):
            return kind
        schema: Schema = self._schemas[self._types.index(kind)]
        return schema


def _cleaned(part: Any) -> Any:
    """Return a schema of msgspec without what only Python understands."""
    if isinstance(part, list):
        return [_cleaned(each) for each in part]
    if not isinstance(part, dict):
        return part
    cleaned = {key: _cleaned(value) for key, value in part.items()}
    if isinstance(pattern := cleaned.get("pattern"), str):
        cleaned["pattern"] = pattern.replace(r"\Z", "$")
    if isinstance(description := cleaned.get("description"), str):
        # A docstring: its markup of code is that of reStructuredText.
        cleaned["description"] = inspect.cleandoc(description).replace("``", "`")
    if isinstance(cleaned.get("title"), str) and "properties" in cleaned:
        del cleaned["title"]
    return cleaned
