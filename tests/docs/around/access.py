"""The app of docs/access.md: what stands before the page's code, and a check of it."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from flask import Flask

from flask_sse_sink import Grants, SSESink

app = Flask("app")
sse = SSESink(
    app,
    {
        "database": {"url": f"sqlite:///{Path.cwd()}/events.db"},
        "sink": {"inbox": {"type": "sse", "access": "token"}},
    },
)
current_user = SimpleNamespace(is_authenticated=True, get_id=lambda: "ann")


def check(page: dict[str, Any]) -> None:
    response = app.test_client().get("/inbox/")
    parts = iter(response.iter_encoded())
    assert b"connected" in next(parts)
    page["notify"]("bob", "not for ann")
    page["notify"]("ann", "hello")
    assert b"hello" in next(parts)
    response.close()
    current_user.is_authenticated = False
    assert app.test_client().get("/inbox/").status_code == 401
    sse.close()


__all__ = ["Grants", "app", "check", "current_user", "sse"]
