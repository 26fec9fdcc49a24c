"""The endpoints of the server, from the description that it gives of itself in OpenAPI."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from flask_sse_sink import create_app
from flask_sse_sink.extension import runtime_of
from flask_sse_sink.web.description import openapi_document

#: With these sinks every endpoint is there: one of each type, both for holders of tokens.
_CONFIG = {
    "access": {
        "secret": "a secret that signs nothing, of 32 bytes",
        "tokens": [{"token": "a-token-of-nobody", "name": "reader"}],
    },
    "sink": {
        "NAME": {"type": "sse", "access": "token", "replay": True},
        "PULLED": {"type": "http_pull"},
    },
}


def endpoints() -> str:
    """Return a section for each endpoint: parameters and statuses."""
    document = _document()
    paths = sorted(document["paths"].items(), key=lambda item: _place(item[0]))
    return "\n\n".join(
        _section(method.upper(), path, operation, document)
        for path, methods in paths
        for method, operation in methods.items()
    )


def _place(path: str) -> int:
    """Return a path's place on the page: what producers and readers use comes first."""
    for place, start in enumerate(("/ingest", "/NAME", "/tickets", "/PULLED")):
        if path.startswith(start):
            return place
    return 4


def _document() -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "config.yaml"
        file.write_text(yaml.safe_dump(_CONFIG))
        app = create_app(file)
        document: dict[str, Any] = openapi_document(app, runtime_of(app).settings, "/")
        return document


def _section(method: str, path: str, operation: dict[str, Any], document: dict[str, Any]) -> str:
    parts = [f"## {method} {path}", f"{operation['summary']}."]
    if about := operation.get("description"):
        parts.append(re.sub(r"(?<!\n)\n(?!\n)", " ", about.strip()))
    parameters = [_resolved(each, document) for each in operation.get("parameters", [])]
    if parameters:
        parts += ["Parameters:", "\n".join(_parameters(parameters))]
    statuses = (
        f"- `{status}`: {_resolved(answer, document)['description']}"
        for status, answer in operation["responses"].items()
    )
    return "\n\n".join([*parts, "Answers:", "\n".join(statuses)])


def _parameters(parameters: list[dict[str, Any]]) -> Iterator[str]:
    for each in parameters:
        place = "header" if each["in"] == "header" else "parameter"
        required = ", required" if each.get("required") else ""
        yield f"- {place} `{each['name']}`{required}: {' '.join(each['description'].split())}"


def _resolved(part: dict[str, Any], document: dict[str, Any]) -> dict[str, Any]:
    """Return a part of the document, or the part that it refers to."""
    reference = part.get("$ref")
    if reference is None:
        return part
    found: Any = document
    for key in reference.removeprefix("#/").split("/"):
        found = found[key.replace("~1", "/").replace("~0", "~")]
    result: dict[str, Any] = found
    return result
