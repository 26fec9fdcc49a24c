"""The app of docs/signals.md: what stands before the page's code, and a check of it."""

from collections import namedtuple
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from flask import Flask, current_app

from flask_sse_sink import SSESink, client_connected

app = Flask("app")
sse = SSESink(
    app,
    {"database": {"url": f"sqlite:///{Path.cwd()}/events.db"}, "sink": {"news": {"type": "sse"}}},
)
Visit = namedtuple("Visit", "sink address")
visits: list[tuple[str, Visit]] = []
db = SimpleNamespace(
    session=SimpleNamespace(
        add=lambda visit: visits.append((current_app.name, visit)), commit=lambda: None
    )
)


def check(page: dict[str, Any]) -> None:
    assert page["note_visit"]
    response = app.test_client().get("/news/")
    assert visits == [("app", Visit("news", "127.0.0.1"))], visits
    response.close()
    sse.close()


__all__ = ["Visit", "app", "check", "client_connected", "db"]
