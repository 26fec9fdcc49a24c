"""A type of sinks registered from outside: everything that lists or checks sinks has it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import jsonschema
import pytest
from flask import Blueprint, Flask, jsonify
from flask.cli import FlaskGroup, ScriptInfo
from flask.wrappers import Response
from msgspec import Meta

from flask_sse_sink import ConfigError, Event, create_app
from flask_sse_sink.config.addresses import UrlPath
from flask_sse_sink.config.loading import from_mapping
from flask_sse_sink.config.schema import schema
from flask_sse_sink.config.settings import SinkSettings
from flask_sse_sink.config.sink_types import SINK_TYPES, Route, SinkType, register
from flask_sse_sink.config.values import default
from flask_sse_sink.server.banner import banner
from flask_sse_sink.sinks.base import Sink
from support.apps import MakeApp, publish


class CounterSettings(SinkSettings, frozen=True, kw_only=True):
    """A sink that counts the events it lets through."""

    start: Annotated[int, Meta(ge=0, description="the first number")] = 0
    path: Annotated[UrlPath, Meta(description="the URL's path")] = default(UrlPath("/count"))


class Counter(Sink):
    def __init__(self, name: str, settings: CounterSettings) -> None:
        super().__init__(name, Blueprint(name, __name__))
        self.count = settings.start
        self._filter = settings.match.filter
        self.blueprint.add_url_rule(settings.path, "count", self._answer)

    def on_events_stored(self, sender: Flask, events: list[Event]) -> None:
        self.count += sum(self._filter.matches(event) for event in events)

    def _answer(self) -> Response:
        return jsonify(count=self.count)


def urls(name: str, settings: CounterSettings) -> list[Route]:
    return [Route("GET", settings.path, f"how many events {name} has counted")]


def create(name: str, settings: CounterSettings, runtime: Any) -> Counter:
    return Counter(name, settings)


CONFIG = """
ingest: {auth: none}
database: {url: "sqlite:///events.db"}
sink:
  logins: {type: counter, match: user.login, start: 40}
  live: {type: sse}
"""
WRITE = 'write "type: sse" or "type: http_pull" or "type: counter"'
MISSING = f"is missing; {WRITE}"


@pytest.fixture(autouse=True)
def counter_type() -> Iterator[None]:
    register(SinkType("counter", CounterSettings, urls, create))
    yield
    SINK_TYPES.unregister("counter")


@pytest.fixture
def server_app(make_app: MakeApp, tmp_path: Path) -> Flask:
    file = tmp_path / "config.yaml"
    file.write_text(CONFIG)
    return create_app(file)


def problems(sinks: object, **content: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        from_mapping({"sink": sinks, **content}, "c.yaml", Path("/"))
    return list(caught.value.problems)


def test_the_configuration_has_the_types_own_settings() -> None:
    sinks = {"counter": None, "other": {"type": "counter", "start": "${X:-3}", "path": "x"}}
    first, second = from_mapping({"sink": sinks}, "c.yaml", Path("/")).sink.values()
    assert isinstance(first, CounterSettings)
    assert isinstance(second, CounterSettings)
    assert (first.type, first.start, first.path) == ("counter", 0, "/count")
    assert (second.type, second.start, second.path) == ("counter", 3, "/x")


def test_wrong_settings_get_the_usual_errors() -> None:
    sinks = {
        "a": {"type": "counter", "start": -1, "replay": True},
        "b": {"type": "sse", "replays": 1},
        "c": {"type": "countre", "start": -1},
        "d": {"type": "ws"},
        "e": {},
        "f": {"type": 3},
        "g": 3,
    }
    assert problems(sinks) == [
        "c.yaml: sink.a.replay: is not a setting; "
        "the settings here are type, match, access, start, path",
        "c.yaml: sink.a.start: -1 is not allowed: expected `int` >= 0",
        "c.yaml: sink.b.replays: is not a setting; did you mean replay?",
        'c.yaml: sink.c.type: "countre" is not allowed; did you mean counter?',
        f'c.yaml: sink.d.type: "ws" is not allowed; {WRITE}',
        f"c.yaml: sink.e.type: {MISSING}",
        "c.yaml: sink.f.type: 3 is not text; put it in quotes",
        "c.yaml: sink.g: 3 is not a section; write keys and values under it",
    ]


def test_no_sink_is_told_every_type() -> None:
    assert problems({}) == [
        "c.yaml: sink: is missing or empty; "
        "write a name and under it `type: sse` or `type: http_pull` or `type: counter`"
    ]


def test_routes_that_meet_are_refused() -> None:
    sinks = {"a": {"type": "counter"}, "b": {"type": "counter", "path": "count/"}}
    assert problems(sinks) == ["c.yaml: sink.b: meets sink.a at /count/; change one of the two"]
    ingest = {"path": "/count", "auth": "none"}
    assert problems({"a": {"type": "counter"}}, ingest=ingest) == [
        "c.yaml: sink.a: meets ingest.path at /count; change one of the two"
    ]
    sse = {"sse": {"path": "x"}, "a": {"type": "counter", "path": "sse/x"}}
    assert problems(sse) == ["c.yaml: sink.a: meets sink.sse at /sse/x; change one of the two"]


def test_a_route_that_meets_the_apps_own_is_refused(make_app: MakeApp, tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("sink: {counter: {path: metrics}}\n")
    with pytest.raises(ConfigError, match="/metrics meets the app's route sse_sink_metrics"):
        create_app(file)


def test_the_schema_has_every_type() -> None:
    rules = schema()
    jsonschema.Draft202012Validator.check_schema(rules)

    def valid(sink: object) -> bool:
        validator = jsonschema.Draft202012Validator(rules)
        return bool(validator.is_valid({"sink": {"name": sink}}))

    assert valid({"type": "counter", "start": 3})
    assert valid({"type": "sse", "replay": True})
    assert not valid({"type": "counter", "start": -1})
    assert not valid({"type": "counter", "replay": True})
    assert not valid({"type": "sse", "start": 3})
    assert not valid({"type": "ws"})
    assert valid(None)


def test_its_route_answers_and_counts_what_matches(server_app: Flask) -> None:
    publish(server_app, "user.login", "user.logout", "user.login")
    assert server_app.test_client().get("/count").get_json() == {"count": 42}


def test_the_front_page_lists_it(server_app: Flask) -> None:
    client = server_app.test_client()
    assert client.get("/").get_json()["sinks"] == [
        {"name": "logins", "url": "/count", "match": ["user.login"]},
        {"name": "live", "url": "/live/", "match": ["*"]},
    ]
    page = client.get("/", headers={"Accept": "text/html"}).text
    assert 'href="./count"' in page
    assert "how many events logins has counted" in page
    assert client.get("/count", headers={"Accept": "text/html"}).get_json() == {"count": 40}


def test_a_server_without_a_stream_shows_none(make_app: MakeApp, tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("ingest: {auth: none}\nsink: {counter: }\n")
    app = create_app(file)
    page = app.test_client().get("/", headers={"Accept": "text/html"}).text
    assert 'href="./count"' in page
    assert "no stream" in page
    settings = from_mapping({"sink": {"counter": None}}, "c.yaml", Path("/"))
    assert "Streaming on" not in banner(settings, "http://x")
    assert "\nConsole on   http://x/\n" in banner(settings, "http://x")


def test_the_commands_know_it(server_app: Flask) -> None:
    def run(*words: str) -> str:
        group = FlaskGroup(create_app=lambda: server_app)
        info = ScriptInfo(create_app=lambda: server_app)
        return server_app.test_cli_runner().invoke(group, ["sse", *words], obj=info).output

    assert "  GET  /count  how many events logins has counted\n" in run("check")
    assert "  GET  /live/  lets through *\n" in run("check")
    assert "logins is a sink of type counter, without a stream" in run("tail", "logins")


def test_a_name_is_registered_once() -> None:
    with pytest.raises(ValueError, match="the type of sinks 'counter' is registered already"):
        register(SinkType("counter", CounterSettings, urls, create))
