"""The OpenAPI document. Rule: OpenAPI Specification 3.1.1 and 3.2.0."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Literal, NamedTuple, TypeAlias

from .operations import Answer, Content, Frame, Header, Operation, Parameter, Schema
from .schemas import Schemas

Version: TypeAlias = Literal["3.1", "3.2"]

#: The versions of the specification that documents are made for, the default one first.
VERSIONS: tuple[Version, ...] = ("3.1", "3.2")

_FULL = {"3.1": "3.1.1", "3.2": "3.2.0"}


class About(NamedTuple):
    """What a document says of the server as a whole.

    ``tags`` describes those of operations; ``headers`` are those of each answer by the app.
    """

    title: str
    version: str
    text: str
    tags: Mapping[str, str] = {}
    headers: Sequence[Header] = ()


def document(
    about: About,
    operations: Sequence[Operation],
    schemes: Mapping[str, Schema],
    version: Version = "3.1",
) -> dict[str, Any]:
    """Return the document, without ``servers``.

    ``schemes`` are the security schemes by their names; others are left out of the operations.
    """
    # Only since 3.2 a document can say what a body consists of that has no end.
    knows_sequences = version != "3.1"
    writer = _Writer(knows_sequences, Schemas(_kinds(operations, knows_sequences)), schemes)
    writer.headers = {each.name: _header(each) | {"required": True} for each in about.headers}
    paths: dict[str, Any] = {}
    for operation in operations:
        methods = paths.setdefault(operation.path, {})
        methods[operation.method.lower()] = writer.operation(operation)
    tags = dict.fromkeys(operation.tag for operation in operations if operation.tag)
    components = {
        "schemas": writer.schemas.components,
        "parameters": writer.parameters.parts,
        "responses": writer.responses.parts,
        "headers": writer.headers,
        "securitySchemes": dict(schemes),
    }
    return {
        "openapi": _FULL[version],
        "info": {"title": about.title, "version": about.version, "description": about.text},
        "tags": [{"name": tag, "description": about.tags.get(tag, tag)} for tag in tags],
        "paths": paths,
        "components": {kind: parts for kind, parts in components.items() if parts},
    }


def _kinds(operations: Sequence[Operation], with_sequences: bool) -> Iterator[Any]:
    for content in _contents(operations):
        yield content.kind
        if with_sequences and content.items is not None:
            yield content.items
        if with_sequences:
            yield from (frame.data for frame in content.frames)


def _contents(operations: Sequence[Operation]) -> Iterator[Content]:
    for operation in operations:
        if operation.body is not None:
            yield from operation.body.contents
        for answer in operation.answers:
            yield from answer.contents


class _Components:
    """Parts of a document that its operations refer to, since many of them are the same."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self.parts: dict[str, Any] = {}

    def add(self, name: str, part: dict[str, Any]) -> dict[str, Any]:
        """Add a part unless it is there; return a reference. Others of that name get a number."""
        first = re.sub("[^A-Za-z0-9_-]+", "-", name)
        names = itertools.chain([first], (f"{first}-{n}" for n in itertools.count(2)))
        name = next(each for each in names if self.parts.get(each, part) == part)
        self.parts[name] = part
        return {"$ref": f"#/components/{self._kind}/{name}"}


class _Writer:
    """Turns descriptions into parts of a document of one version."""

    def __init__(
        self, knows_sequences: bool, schemas: Schemas, schemes: Mapping[str, Schema]
    ) -> None:
        self._knows_sequences = knows_sequences
        self.schemas = schemas
        self.parameters = _Components("parameters")
        self.responses = _Components("responses")
        #: Those of each answer by the app.
        self.headers: dict[str, dict[str, Any]] = {}
        self._schemes = schemes

    def operation(self, operation: Operation) -> dict[str, Any]:
        part: dict[str, Any] = {"operationId": operation.name, "summary": operation.summary}
        if operation.tag:
            part["tags"] = [operation.tag]
        if operation.about:
            part["description"] = operation.about
        if operation.parameters:
            part["parameters"] = [
                self.parameters.add(each.name, _parameter(each)) for each in operation.parameters
            ]
        if operation.body is not None:
            part["requestBody"] = {
                "description": operation.body.about,
                "required": operation.body.required,
                "content": self._content(operation.body.contents),
            }
        part["responses"] = {
            str(answer.status): self._shared(answer)
            for answer in sorted(operation.answers, key=lambda each: each.status)
        }
        # An empty list: nobody has to say who they are.
        part["security"] = [
            {scheme: []} for scheme in operation.security if scheme in self._schemes
        ]
        return part

    def _shared(self, answer: Answer) -> dict[str, Any]:
        part = self._answer(answer)
        if answer.status < 400:
            return part
        title = next(iter(answer.contents[0].examples), str(answer.status))
        return self.responses.add(title, part)

    def _answer(self, answer: Answer) -> dict[str, Any]:
        part: dict[str, Any] = {
            "description": answer.about or HTTPStatus(answer.status).phrase,
        }
        headers = {header.name: _header(header) for header in answer.headers}
        if answer.by_app:
            headers |= {name: {"$ref": f"#/components/headers/{name}"} for name in self.headers}
        if headers:
            part["headers"] = headers
        if answer.contents:
            part["content"] = self._content(answer.contents)
        return part

    def _content(self, contents: Sequence[Content]) -> dict[str, Any]:
        return {content.media_type: self._media_type(content) for content in contents}

    def _media_type(self, content: Content) -> dict[str, Any]:
        part: dict[str, Any] = {"schema": self.schemas.of(content.kind)}
        if self._knows_sequences and (item := self._item(content)) is not None:
            part = {"itemSchema": item}
        if content.examples:
            key = "value"
            if self._knows_sequences and not content.media_type.endswith("json"):
                key = "serializedValue"
            if content.media_type.endswith("ndjson") and self._knows_sequences:
                key = "serializedValue"
            part["examples"] = {
                name: {"summary": name, key: value} for name, value in content.examples.items()
            }
        return part

    def _item(self, content: Content) -> Schema | None:
        if content.items is not None:
            return self.schemas.of(content.items)
        if content.frames:
            return {"anyOf": [self._frame(frame) for frame in content.frames]}
        return None

    def _frame(self, frame: Frame) -> Schema:
        """Return the schema of a frame as OpenAPI 3.2 reads it: an object of its fields."""
        data: Schema
        if isinstance(frame.data, dict):
            data = {"type": "string", **frame.data}
        else:
            data = {
                "type": "string",
                "contentMediaType": "application/json",
                "contentSchema": self.schemas.of(frame.data),
            }
        properties: Schema = {"event": {"const": frame.event}, "data": data}
        if frame.has_id:
            properties["id"] = {"type": "string", "pattern": "^[0-9]+$"}
        properties["retry"] = {"type": "integer", "minimum": 0}
        return {
            "description": frame.about,
            "type": "object",
            "properties": properties,
            "required": ["event", "data"],
        }


def _parameter(parameter: Parameter) -> dict[str, Any]:
    part: dict[str, Any] = {
        "name": parameter.name,
        "in": parameter.place,
        "description": parameter.about,
        "required": parameter.required or parameter.place == "path",
        "schema": parameter.schema,
    }
    if parameter.schema.get("type") == "array":
        # Given several times.
        part |= {"style": "form", "explode": True}
    if parameter.aliases:
        part["x-aliases"] = list(parameter.aliases)
    if parameter.example is not None:
        part["example"] = parameter.example
    return part


def _header(header: Header) -> dict[str, Any]:
    part: dict[str, Any] = {"description": header.about, "schema": header.schema}
    if header.example is not None:
        part["example"] = header.example
    return part
