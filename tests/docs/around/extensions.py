"""The app of docs/extensions.md: what stands before the page's code, and a check of it."""

import hashlib
from pathlib import Path
from typing import Any

from flask import Flask

from flask_sse_sink import SSESink

app = Flask("app")
sse = SSESink(
    app,
    {"database": {"url": f"sqlite:///{Path.cwd()}/events.db"}, "sink": {"news": {"type": "sse"}}},
)


def checksum(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


@app.get("/hello")
def hello() -> str:
    return "hello"


def check(page: dict[str, Any]) -> None:
    assert page["add_checksum"]
    assert app.test_client().get("/hello").headers["X-Checksum"] == checksum(b"hello")
    response = app.test_client().get("/news/")
    assert response.status_code == 200
    assert "X-Checksum" not in response.headers
    response.close()
    sse.close()
