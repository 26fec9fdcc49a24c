"""The `flask sse` commands, run as Flask runs them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from click.testing import Result
from flask import Flask
from flask.cli import FlaskGroup, ScriptInfo

from flask_sse_sink import ConfigError, create_app
from flask_sse_sink.cli.tail import line
from flask_sse_sink.extension import runtime_of
from flask_sse_sink.log.protocol import iso, now_us
from flask_sse_sink.submission import new_event


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Flask]:
    file = tmp_path / "config.yaml"
    file.write_text(
        "ingest: {auth: none}\n"
        "sink:\n  events_stream: {type: sse}\n  alerts: {type: sse, path: /live, match: alert.*}\n"
        "  kept: {type: sse, replay: true}\n"
    )
    app = create_app(file)
    yield app
    runtime_of(app).close()


def run(app: Flask, *words: str) -> Result:
    return app.test_cli_runner().invoke(
        FlaskGroup(create_app=lambda: app), ["sse", *words], obj=ScriptInfo(create_app=lambda: app)
    )


def test_check_prints_the_endpoints(app: Flask) -> None:
    result = run(app, "check")
    assert result.exit_code == 0
    assert "POST /ingest" in result.output
    assert "GET  /alerts/live  lets through alert.*" in result.output


def test_check_says_every_mistake_and_no_traceback() -> None:
    def broken() -> Flask:
        raise ConfigError(["c.yaml: a: one", "c.yaml: b: two"])

    result = (
        Flask("x")
        .test_cli_runner()
        .invoke(FlaskGroup(create_app=broken), ["sse", "check"], obj=ScriptInfo(create_app=broken))
    )
    assert result.exit_code == 2
    assert "c.yaml: a: one\nc.yaml: b: two" in result.output
    assert "Traceback" not in result.output


def test_check_ends_where_wsgi_ends() -> None:
    def ended() -> Flask:
        raise SystemExit(3)

    result = (
        Flask("x")
        .test_cli_runner()
        .invoke(FlaskGroup(create_app=ended), ["sse", "check"], obj=ScriptInfo(create_app=ended))
    )
    assert result.exit_code == 2


def test_publish_stores_and_events_shows(app: Flask) -> None:
    result = run(app, "publish", "user.login", "--data", '{"a": 1.50}', "--entity-id", "u")
    assert (result.exit_code, result.output) == (0, "1\n")
    assert run(app, "publish", "user.logout", "--event-id", "x").output == "2\n"
    assert run(app, "publish", "user.logout", "--event-id", "x").output == "2\n"
    lines = run(app, "events", "-n", "20").output.splitlines()
    assert [json.loads(line)["event_type"] for line in lines] == ["user.login", "user.logout"]
    assert len(run(app, "events", "-n", "1").output.splitlines()) == 1


def ids(result: Result) -> list[int]:
    assert result.exit_code == 0, result.output
    return [json.loads(line)["id"] for line in result.stdout.splitlines()]


def test_events_prints_those_since_an_id_or_of_a_type(app: Flask) -> None:
    log = runtime_of(app).log
    log.append([new_event(name) for name in ("a.x", "b", "a.y", "b") * 200])
    assert ids(run(app, "events")) == list(range(791, 801))
    assert ids(run(app, "events", "--since", "790", "-n", "3")) == [791, 792, 793]
    assert ids(run(app, "events", "--since", "earliest")) == list(range(1, 801))
    assert ids(run(app, "events", "--event-type", "a.y", "-n", "2")) == [795, 799]
    result = run(app, "events", "--event-type", "a.*", "--event-type", "c", "--since", "794")
    assert ids(result) == [795, 797, 799]
    assert ids(run(app, "events", "--since", "800")) == []
    log.prune(2**62, 400)
    result = run(app, "events", "--since", "398")
    assert ids(result) == list(range(401, 801))
    assert result.stderr == "# events 399 to 400 are no longer kept\n"
    result = run(app, "events", "--since", "earliest")
    assert ids(result) == list(range(401, 801))
    assert result.stderr == ""


def test_events_prints_those_since_a_time(app: Flask) -> None:
    log = runtime_of(app).log
    log.append([new_event("a"), new_event("a")])
    time.sleep(0.002)
    between = iso(now_us())
    time.sleep(0.002)
    log.append([new_event("a")])
    assert ids(run(app, "events", "--since", between)) == [3]
    assert ids(run(app, "events", "--since", "10m", "-n", "2")) == [1, 2]
    assert ids(run(app, "events", "--since", "2999-01-01")) == []
    log.prune(2**62, 1)
    result = run(app, "events", "--since", "2020-01-01")
    assert (ids(result), result.stderr) == ([2, 3], "")


def test_events_are_narrowed_by_entity_and_source(app: Flask) -> None:
    log = runtime_of(app).log
    for entity_id, source in (("u", "s"), ("u,v", "s"), ("v", "s,t"), (None, "t"), ("%", "t")):
        log.append([new_event("a", entity_id=entity_id, source=source)])
    for words, expected in (
        (("--entity-id", "u"), [1]),
        (("--entity-id", "u,v"), [2]),
        (("--entity-id", "u,v", "--entity-id", "v"), [2, 3]),
        (("--source", "s,t"), [3]),
        (("--source", "s", "--source", "t"), [1, 2, 4, 5]),
        (("--source", "s", "--entity-id", "u,v", "--event-type", "a"), [2]),
        (("--entity-id", "%", "--since", "earliest"), [5]),
        (("--entity-id", "%", "--since", "10m"), [5]),
        (("--entity-id", "x"), []),
    ):
        assert ids(run(app, "events", *words)) == expected, words


@pytest.mark.parametrize(
    ("words", "query"),
    [
        ((), {}),
        (("--entity-id", "u"), {"entity_id": ["u"]}),
        (("--entity-id", "u,v"), {"entity_id": ["u,v", "u,v"]}),
        (("--entity-id", "u,v", "--entity-id", "é&+ :%"), {"entity_id": ["u,v", "é&+ :%"]}),
        (("--source", "s", "--event-type", "a,b"), {"source": ["s"], "event_type": ["a,b"]}),
        (("--since", "10m"), {"since": ["10m"]}),
        (("--since", "2026-11-25T10:00+02:00"), {"since": ["2026-11-25T10:00+02:00"]}),
        (("--since", "7"), {"last_event_id": ["7"]}),
        (("--since", "earliest"), {"last_event_id": ["earliest"]}),
    ],
)
def test_tail_asks_for_what_its_options_say(
    app: Flask,
    words: tuple[str, ...],
    query: dict[str, list[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    addresses: list[str] = []

    def read(address: str, headers: dict[str, str], retries: int | None) -> Iterator[str]:
        addresses.append(address)
        yield from ()

    monkeypatch.setattr("flask_sse_sink.cli.stream_reader.read", read)
    result = run(app, "tail", "kept", *words)
    assert result.exit_code == 0, result.output
    (address,) = addresses
    assert parse_qs(urlsplit(address).query) == query
    assert run(app, "tail", "kept", "--since", "x").exit_code == 2
    assert run(app, "tail", "events_stream", "--since", "10m").exit_code == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--since", "9"), "the newest event has id 0"),
        (("--since", "x"), "'x' is no event's id and no time; write an id"),
        (("--since", "-10m"), "'-10m' is no event's id and no time; write an id"),
        (("--entity-id", ""), "is empty"),
        (("--source", ""), "is empty"),
        (("--source", "x" * 256), "can't be a source's name; send at most 255"),
        (("--entity-id", "\n"), "can't be an entity's id; send at most 255"),
        (("--event-type", "*.x"), "'*.x' is not a pattern; write"),
        (("-n", "0"), "0 is not in the range"),
    ],
)
def test_events_refuses_what_makes_no_sense(
    app: Flask, words: tuple[str, ...], message: str
) -> None:
    result = run(app, "events", *words)
    assert result.exit_code == 2
    assert message in result.output
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    "words",
    [("publish", "a", "--data", "{"), ("publish", ""), ("publish", "a", "--meta", "3")],
)
def test_publish_refuses_what_is_no_event(app: Flask, words: tuple[str, ...]) -> None:
    result = run(app, *words)
    assert result.exit_code != 0
    assert "Error" in result.output
    assert "Traceback" not in result.output


def test_demo_publishes_believable_events(app: Flask) -> None:
    result = run(app, "demo", "-n", "5", "--rate", "1000")
    assert result.exit_code == 0
    stored = [json.loads(line) for line in run(app, "events").output.splitlines()]
    assert len(stored) == 5
    assert {event["source"]["name"] for event in stored} == {"demo"}


def test_schema_is_json(app: Flask) -> None:
    assert "$defs" in json.loads(run(app, "schema").output)


def test_an_envelope_of_another_server_is_printed_as_it_came() -> None:
    for text in ("", "{", '{"id": 1}', "[" * 5000, "\ud800"):
        assert line(text) == text


def test_a_line_for_a_terminal_has_colours_and_no_control_characters() -> None:
    event = {
        "id": 1,
        "event_id": "e",
        "event_type": "a.b",
        "entity_id": None,
        "created_at": "2026-01-01",
        "data": "\x9b2J é",
        "source": {"id": 1, "name": "s"},
        "meta": {},
    }
    text = json.dumps(event, ensure_ascii=False)
    assert line(text).endswith('  a.b                   "\x9b2J é"')
    coloured = line(text, is_terminal=True)
    assert "\x1b[36ma.b" in coloured and '"\\x9b2J é"' in coloured
    assert "\x9b" not in coloured
    assert line("\x1b[2J", is_terminal=True) == "\\x1b[2J"


def test_tail_names_the_sinks_there_are(app: Flask) -> None:
    result = run(app, "tail", "nope")
    assert result.exit_code == 2
    assert "events_stream, alerts" in result.output


@pytest.mark.parametrize("url", ["x", "sqlite://x", "mysql://h/d"])
def test_copy_names_what_is_no_log(app: Flask, url: str) -> None:
    result = run(app, "copy", "--from", url, "--to", "sqlite:///b.db")
    assert result.exit_code == 2
    assert "is not a log; write sqlite:///" in result.output
