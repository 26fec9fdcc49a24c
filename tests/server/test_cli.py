"""Commands that talk to a server or to Redis."""

from __future__ import annotations

import contextlib
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
from werkzeug.serving import make_server

from flask_sse_sink import create_app
from flask_sse_sink.extension import runtime_of
from flask_sse_sink.log.sqlite import SQLiteLog
from flask_sse_sink.submission import new_event
from support.redis_server import RedisServer


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Flask]:
    file = tmp_path / "config.yaml"
    file.write_text(
        "ingest: {auth: none}\n"
        "sink:\n  events_stream: {type: sse}\n  alerts: {type: sse, path: /live, match: alert.*}\n"
        "  kept: {type: sse, replay: true}\n"
        "  closed: {type: sse, access: token, replay: true}\n"
        "access: {tokens: [{token: token-of-ann, name: ann, subscribe: [{sink: closed}]}]}\n"
    )
    app = create_app(file)
    yield app
    runtime_of(app).close()


def run(app: Flask, *words: str, token: str | None = None) -> Result:
    """Run a command; ``token`` is the environment's variable for tokens."""
    return app.test_cli_runner().invoke(
        FlaskGroup(create_app=lambda: app),
        ["sse", *words],
        obj=ScriptInfo(create_app=lambda: app),
        env={"SSE_SINK_TOKEN": token},
    )


def test_tail_reads_the_running_server(app: Flask) -> None:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = make_server("127.0.0.1", 0, app, threaded=True)
    serving = threading.Thread(target=server.serve_forever)
    serving.start()
    runtime = runtime_of(app)

    def publish() -> None:
        while not runtime.sinks["events_stream"].clients:
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
        for begin in (("--since", "10m"), ("--since", "2020-01-01T00:00:00+02:00")):
            begun = run(app, "tail", "kept", "--url", url, "-n", "1", "--json", *begin)
            assert json.loads(begun.stdout)["event_type"] == "other.thing"
        run(app, "publish", "huge.number", "--data", '{"n": 1e400, "m": 0.10}')
        huge = run(app, "tail", "kept", "--since", "2", "--url", url, "-n", "1")
        assert huge.exit_code == 0, huge.output
        assert huge.stdout.endswith('  huge.number           {"n":1e400,"m":0.10}\n')
        run(app, "publish", "a", "--entity-id", "u", "--source", "t")
        run(app, "publish", "a", "--entity-id", "u,v", "--source", "s,t")
        for narrow in (("--entity-id", "u,v"), ("--source", "s,t")):
            narrowed = run(
                app, "tail", "kept", "--since", "1", "--url", url, "-n", "1", "--json", *narrow
            )
            assert json.loads(narrowed.stdout)["entity_id"] == "u,v"
        refused = run(app, "tail", "events_stream", "--since", "1", "--url", url)
        assert "set sink.events_stream.replay: true" in refused.output
        wrong = run(app, "tail", "events_stream", "--event-type", "*.x", "--url", url)
        assert wrong.exit_code == 1
        assert "400" in wrong.output
        closed = ("tail", "closed", "--since", "earliest", "--url", url, "-n", "1")
        for option, variable in (
            (("--token", "token-of-ann"), None),
            ((), "token-of-ann"),
            (("--token", "token-of-ann"), "a-wrong-token"),
        ):
            opened = run(app, *closed, *option, token=variable)
            assert "other.thing" in opened.stdout, opened.output
        for token in (None, "a-wrong-token"):
            _check_unknown(app, token, *closed)
        unfit = run(app, *closed, "--token", "two\nlines")
        assert unfit.exit_code == 2
        assert "lines" not in unfit.output
    finally:
        publishing.join()
        runtime.end_streams()
        server.shutdown()
        serving.join()
        server.server_close()
        with _left_to_the_collector():
            pass


def _check_unknown(app: Flask, token: str | None, *words: str) -> None:
    """Check that a command which needs a token is refused with this one."""
    with _left_to_the_collector():
        unknown = run(app, *words, token=token)
        assert unknown.exit_code == 1
        assert "put a token that is valid into SSE_SINK_TOKEN" in unknown.output
        assert "a-wrong-token" not in unknown.output
        del unknown


@contextlib.contextmanager
def _left_to_the_collector() -> Iterator[None]:
    """Collect what the client library leaves of the answers to refused requests."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        yield
        gc.collect()


def test_a_log_is_copied_and_gone_on_with(
    app: Flask, tmp_path: Path, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    log = runtime_of(app).log
    log.append([new_event("a", event_id=str(n)) for n in range(700)])
    words = ("copy", "--from", "sqlite:///data/events.db", "--to", redis_server.url)
    result = run(app, *words)
    assert (result.exit_code, result.stdout) == (0, ""), result.output
    assert result.stderr.endswith("Copied up to event 700.\n")
    assert redis_server.call("XLEN", "{sse-sink}:events") == 700
    log.append([new_event("a")])
    assert "Copied up to event 701.\n" in run(app, *words).stderr
    # And into another file, from there.
    back = ("copy", "--from", redis_server.url, "--to", "sqlite:///back.db")
    assert "Copied up to event 701.\n" in run(app, *back).stderr
    (tmp_path / "other").mkdir()
    other_log = SQLiteLog(tmp_path / "other" / "o.db")
    other_log.append([new_event("a")])
    other_log.close()
    other = run(app, "copy", "--from", "sqlite:///other/o.db", "--to", redis_server.url)
    assert other.exit_code == 1
    assert "name an empty one" in other.output
    assert "Traceback" not in other.output
