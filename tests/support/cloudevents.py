"""CloudEvents for tests: as they are sent in each mode, and as a sink streams them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from flask import Flask
from werkzeug.test import TestResponse

STRUCTURED = "application/cloudevents+json"
BATCH = "application/cloudevents-batch+json"

#: A CloudEvent with what each has to have.
LEAST: dict[str, Any] = {"specversion": "1.0", "id": "1", "source": "/s", "type": "a.b"}
LEAST_HEADERS = {f"ce-{name}": value for name, value in LEAST.items()}


def least(**members: Any) -> dict[str, Any]:
    """Return the least CloudEvent with these members more, or instead."""
    return {**LEAST, **members}


def post(
    app: Flask,
    body: object,
    content_type: str | None = STRUCTURED,
    headers: Mapping[str, str] | None = None,
) -> TestResponse:
    """Send a body, as JSON unless it is bytes."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return app.test_client().post(
        "/ingest", data=data, content_type=content_type, headers=dict(headers or {})
    )


def post_binary(
    app: Flask, body: bytes = b"", content_type: str | None = None, **attributes: str
) -> TestResponse:
    """Send the least CloudEvent in binary mode, with these attributes more, or instead."""
    more = {f"ce-{name}": value for name, value in attributes.items()}
    return post(app, body, content_type, {**LEAST_HEADERS, **more})


def errors(response: TestResponse, status: int = 422) -> dict[str, str]:
    """Return the messages of a refusal by where the errors are."""
    assert response.status_code == status, response.text
    assert response.content_type == "application/problem+json"
    return {error["loc"]: error["msg"] for error in response.get_json()["errors"]}
