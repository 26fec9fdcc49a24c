"""The AsyncAPI document: the operations that carry events. Rule: AsyncAPI Specification 3.0.0."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .openapi import About
from .operations import Content, Frame, Operation, Parameter, Schema
from .schemas import Schemas

VERSION = "3.0.0"

_BINDING = "0.3.0"


def document(
    about: About, operations: Sequence[Operation], schemes: Mapping[str, Schema]
) -> dict[str, Any]:
    """Return the document, without ``servers``.

    ``schemes`` are the security schemes by their names, as OpenAPI writes them; others are left
    out of the operations.
    """
    carrying = [operation for operation in operations if operation.carries]
    schemas = Schemas(_kinds(carrying))
    channels: dict[str, Any] = {}
    parts: dict[str, Any] = {}
    for operation in carrying:
        channels[operation.name] = {
            "address": operation.path,
            "title": operation.summary,
            "description": operation.about,
            "messages": _messages(operation, schemas),
        }
        parts[operation.name] = _operation(operation, schemes)
    components: dict[str, Any] = {"schemas": schemas.components}
    if schemes:
        components["securitySchemes"] = {name: _scheme(scheme) for name, scheme in schemes.items()}
    return {
        "asyncapi": VERSION,
        "info": {"title": about.title, "version": about.version, "description": about.text},
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": parts,
        "components": components,
    }


def _operation(operation: Operation, schemes: Mapping[str, Schema]) -> dict[str, Any]:
    binding: dict[str, Any] = {"method": operation.method, "bindingVersion": _BINDING}
    query = [each for each in operation.parameters if each.place == "query"]
    if query:
        binding["query"] = {
            "type": "object",
            "properties": {each.name: _described(each) for each in query},
        }
        if required := [each.name for each in query if each.required]:
            binding["query"]["required"] = required
    part: dict[str, Any] = {
        "action": "receive" if operation.carries == "in" else "send",
        "channel": {"$ref": f"#/channels/{operation.name}"},
        "title": operation.summary,
        "bindings": {"http": binding},
    }
    security = [
        {"$ref": f"#/components/securitySchemes/{name}"}
        for name in operation.security
        if name in schemes
    ]
    if security:
        part["security"] = security
    return part


def _described(parameter: Parameter) -> Schema:
    return {**parameter.schema, "description": parameter.about}


def _carried(operation: Operation) -> Iterator[Content]:
    """Yield the bodies that carry the events of an operation."""
    if operation.carries == "in":
        yield from operation.body.contents if operation.body is not None else ()
        return
    for answer in operation.answers:
        if answer.status == 200:
            yield from answer.contents


def _kinds(operations: Sequence[Operation]) -> Iterator[Any]:
    for operation in operations:
        for content in _carried(operation):
            if content.frames:
                yield from (frame.data for frame in content.frames)
            else:
                yield content.kind if content.items is None else content.items


def _messages(operation: Operation, schemas: Schemas) -> dict[str, Any]:
    messages: dict[str, Any] = {}
    for content in _carried(operation):
        for frame in content.frames:
            messages[frame.name] = _frame(frame, schemas)
        if not content.frames:
            messages[_key(content.media_type)] = _message(content, schemas)
    return messages


def _key(media_type: str) -> str:
    """Return a media type as a key, which has no slash in it."""
    return media_type.replace("/", "_").replace("+", "_")


def _message(content: Content, schemas: Schemas) -> dict[str, Any]:
    part: dict[str, Any] = {
        "contentType": content.media_type,
        "payload": schemas.of(content.kind if content.items is None else content.items),
    }
    if content.items is not None:
        part["summary"] = "One line of the body."
    elif content.examples:
        part["examples"] = [
            {"name": name, "payload": value} for name, value in content.examples.items()
        ]
    return part


def _frame(frame: Frame, schemas: Schemas) -> dict[str, Any]:
    """Return the message of a frame: ``data`` is its payload, the other fields its headers."""
    fields: Schema = {"event": {"type": "string", "const": frame.event}}
    if frame.has_id:
        fields["id"] = {"type": "string", "pattern": "^[0-9]+$"}
    fields["retry"] = {"type": "integer", "minimum": 0}
    if isinstance(frame.data, dict):
        media_type, payload = "text/plain", {"type": "string", **frame.data}
        if "contentSchema" in frame.data:
            media_type, payload = frame.data["contentMediaType"], frame.data["contentSchema"]
    else:
        media_type, payload = "application/json", schemas.of(frame.data)
    return {
        "name": frame.name,
        "summary": frame.about,
        "contentType": media_type,
        "headers": {"type": "object", "properties": fields, "required": ["event"]},
        "payload": payload,
        "examples": [{"name": frame.name, "payload": frame.example}],
    }


def _scheme(scheme: Schema) -> Schema:
    """Return a security scheme as AsyncAPI writes it, which calls API keys of HTTP otherwise."""
    if scheme["type"] == "apiKey":
        return {**scheme, "type": "httpApiKey"}
    return scheme
