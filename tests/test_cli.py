"""The `flask sse` commands, run as Flask runs them."""

from __future__ import annotations

import gc
import json
import logging
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import Result
from flask import Flask
from flask.cli import FlaskGroup, ScriptInfo
from redis_server import RedisServer
from werkzeug.serving import make_server

from flask_sse_sink import ConfigError, cli, create_app
from flask_sse_sink.event import new_event
from flask_sse_sink.extension import engine_of


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
    engine_of(app).close()


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
    assert result.exit_code == 1
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
    assert result.exit_code == 1


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
    log = engine_of(app).log
    log.append([new_event(name) for name in ("a.x", "b", "a.y", "b") * 200])
    assert ids(run(app, "events")) == list(range(791, 801))
    assert ids(run(app, "events", "--since", "790", "-n", "3")) == [791, 792, 793]
    assert ids(run(app, "events", "--since", "earliest")) == list(range(1, 801))
    assert ids(run(app, "events", "--event-type", "a.y", "-n", "2")) == [795, 799]
    found = run(app, "events", "--event-type", "a.*", "--event-type", "c", "--since", "794")
    assert ids(found) == [795, 797, 799]
    assert ids(run(app, "events", "--since", "800")) == []
    log.prune(2**62, 400)
    found = run(app, "events", "--since", "398")
    assert ids(found) == list(range(401, 801))
    assert found.stderr == "# events 399 to 400 are no longer kept\n"
    found = run(app, "events", "--since", "earliest")
    assert ids(found) == list(range(401, 801))
    assert found.stderr == ""


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--since", "9"), "the newest event has id 0"),
        (("--since", "x"), "'x' is no event's id; send the id"),
        (("--event-type", "*.x"), "'*.x' is not a pattern; write"),
        (("-n", "0"), "0 is not in the range"),
    ],
)
def test_events_refuses_what_makes_no_sense(app: Flask, words: tuple[str, ...], told: str) -> None:
    result = run(app, "events", *words)
    assert result.exit_code == 2
    assert told in result.output
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


def test_tail_reads_the_running_server(app: Flask) -> None:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = make_server("127.0.0.1", 0, app, threaded=True)
    serving = threading.Thread(target=server.serve_forever)
    serving.start()
    engine = engine_of(app)

    def publish() -> None:
        while not engine.sinks["events_stream"].clients:
            stopped.wait(0.01)
        run(app, "publish", "other.thing")
        run(app, "publish", "user.login", "--data", '{"a":1}')

    stopped = threading.Event()
    publishing = threading.Thread(target=publish)
    publishing.start()
    try:
        url = f"http://127.0.0.1:{server.server_port}"
        words = ("tail", "events_stream", "--event-type", "user.*", "--url", url, "-n", "1")
        result = run(app, *words, "--json")
        assert result.exit_code == 0, result.output
        lines = [line for line in result.output.splitlines() if not line.startswith("#")]
        assert json.loads(lines[0])["data"] == {"a": 1}
        since = run(app, "tail", "kept", "--since", "1", "--url", url, "-n", "1", "--json")
        assert json.loads(since.stdout)["event_type"] == "user.login"
        all = run(app, "tail", "kept", "--since", "earliest", "--url", url, "-n", "2", "--json")
        assert [json.loads(line)["id"] for line in all.stdout.splitlines()] == [1, 2]
        run(app, "publish", "huge.number", "--data", '{"n": 1e400, "m": 0.10}')
        huge = run(app, "tail", "kept", "--since", "2", "--url", url, "-n", "1")
        assert huge.exit_code == 0, huge.output
        assert huge.stdout.endswith('  huge.number           {"n":1e400,"m":0.10}\n')
        refused = run(app, "tail", "events_stream", "--since", "1", "--url", url)
        assert "set sink.events_stream.replay: true" in refused.output
        wrong = run(app, "tail", "events_stream", "--event-type", "*.x", "--url", url)
        assert wrong.exit_code == 1
        assert "400" in wrong.output
    finally:
        publishing.join()
        engine.end_streams()
        server.shutdown()
        serving.join()
        server.server_close()
        # The client library leaves the answer of a refused request to the collector.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()


def test_an_envelope_of_another_server_is_printed_as_it_came() -> None:
    for text in ("", "{", '{"id": 1}', "[" * 5000, "\ud800"):
        assert cli._line(text) == text


def test_tail_names_the_sinks_there_are(app: Flask) -> None:
    result = run(app, "tail", "nope")
    assert result.exit_code == 2
    assert "events_stream, alerts" in result.output


def test_a_log_is_copied_and_gone_on_with(
    app: Flask, tmp_path: Path, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    log = engine_of(app).log
    log.append([new_event("a", event_id=str(n)) for n in range(700)])
    words = ("copy", "--from", "sqlite:///data/events.db", "--to", redis_server.url)
    result = run(app, *words)
    assert (result.exit_code, result.stdout) == (0, "Copied up to event 700.\n"), result.output
    assert redis_server.call("XLEN", "{sse-sink}:events") == 700
    log.append([new_event("a")])
    assert run(app, *words).stdout == "Copied up to event 701.\n"
    # And into another file, from there.
    back = ("copy", "--from", redis_server.url, "--to", "sqlite:///back.db")
    assert run(app, *back).stdout == "Copied up to event 701.\n"
    other = run(app, "copy", "--from", "sqlite:///none.db", "--to", redis_server.url)
    assert other.exit_code == 1
    assert "name an empty one" in other.output
    assert "Traceback" not in other.output


@pytest.mark.parametrize("url", ["x", "sqlite://x", "mysql://h/d"])
def test_copy_names_what_is_no_log(app: Flask, url: str) -> None:
    result = run(app, "copy", "--from", url, "--to", "sqlite:///b.db")
    assert result.exit_code == 2
    assert "is not a log; write sqlite:///" in result.output
