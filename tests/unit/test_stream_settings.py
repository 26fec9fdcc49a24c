"""``?info=settings``: a stream tells its heartbeat, its retry and its log."""

from __future__ import annotations

import json

import pytest
from flask import Flask

from flask_sse_sink.extension import runtime_of
from support.apps import MakeApp
from support.stream import AppStream

SINK = {"type": "sse", "heartbeat_timeout": "1m", "retry": "500ms", "replay": True}


def open_stream(app: Flask, query: str, sink: str = "replayed") -> AppStream:
    return AppStream(app.test_client().get(f"/{sink}/?{query}", buffered=False))


@pytest.fixture
def app(make_app: MakeApp) -> Flask:
    return make_app(sink={"replayed": SINK, "live": {"type": "sse"}})


def settings_of(frame: bytes) -> dict[str, object]:
    text = frame.decode()
    assert text.startswith("event: info\ndata: settings {")
    assert text.endswith("}\n\n")
    settings: dict[str, object] = json.loads(text.partition("settings ")[2])
    return settings


def test_a_stream_tells_its_settings_right_after_connected(app: Flask) -> None:
    stream = open_stream(app, "info=settings")
    assert stream.frame().startswith(b"event: info\nid: 0\ndata: connected\n")
    identity = runtime_of(app).log.identity
    assert identity
    expected = {"heartbeat_timeout": 60, "retry": 0.5, "log": identity}
    assert settings_of(stream.frame()) == expected
    stream.close()


def test_the_settings_come_before_what_was_missed(app: Flask) -> None:
    stream = open_stream(app, "info=settings&last_event_id=7")
    assert b"connected" in stream.frame()
    assert settings_of(stream.frame())["log"]
    assert b"unknown_id" in stream.frame()
    stream.close()


def test_a_sink_without_replay_has_no_log_to_tell(app: Flask) -> None:
    stream = open_stream(app, "event_type=a&info=settings", "live")
    assert b"connected" in stream.frame()
    assert settings_of(stream.frame()) == {"heartbeat_timeout": 30, "retry": 3, "log": None}
    stream.close()


@pytest.mark.parametrize("query", ["", "info=", "info=SETTINGS", "info=x", "settings=info"])
def test_only_who_asks_is_told_the_settings(app: Flask, query: str) -> None:
    stream = open_stream(app, f"{query}&last_event_id=7")
    assert b"connected" in stream.frame()
    assert b"unknown_id" in stream.frame()
    stream.close()
