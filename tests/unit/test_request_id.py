"""The id of a request: taken or made, answered, and named in log lines."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from flask import Flask, Response
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.test import TestResponse

from flask_sse_sink import create_app
from flask_sse_sink.extension import runtime_of
from flask_sse_sink.server.json_log import JsonFormatter
from flask_sse_sink.web import access, request_id
from flask_sse_sink.web.problem import Throttle
from support.apps import Listen, MakeApp

MADE = re.compile("[0-9a-f]{32}")


@pytest.fixture
def server_app(make_app: MakeApp, tmp_path: Path) -> Flask:
    """Return an app of the ready server; `make_app` closes it."""
    file = tmp_path / "config.yaml"
    settings = {
        "ingest": {"auth": "none"},
        "access": {"secret": "a-secret-of-the-tests-with-32-bytes-and-more"},
        "sink": {"events_stream": {"type": "sse"}, "closed": {"type": "http_pull"}},
    }
    file.write_text(yaml.safe_dump(settings))
    return create_app(file)


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Iterator[list[str]]:
    """Return the messages that are logged from now on."""
    messages: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: messages.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("flask_sse_sink")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield messages
    logger.setLevel(level)
    logger.removeHandler(handler)


def ids(response: TestResponse) -> list[str]:
    return response.headers.getlist("X-Request-Id")


@pytest.mark.parametrize(
    "id", ["a", "x" * 128, "6f1c-4b.7_~:/+=@", "Root=1-67891233-abcdef012345678912345678"]
)
def test_an_id_that_can_be_used_is_taken(make_app: MakeApp, id: str) -> None:
    response = make_app().test_client().options("/ingest", headers={"X-Request-Id": id})
    assert ids(response) == [id]


@pytest.mark.parametrize(
    "id",
    ["", "x" * 129, "a b", "a,b", 'a"', "<a>", "a\x1b[0m", "\xfc", "%0a", "a;b", "{a}", "a\\"],
)
def test_another_one_is_made_for_what_cannot(make_app: MakeApp, id: str) -> None:
    response = make_app().test_client().options("/ingest", headers={"X-Request-Id": id})
    (made,) = ids(response)
    assert MADE.fullmatch(made)


def test_each_request_has_an_id_of_its_own(make_app: MakeApp) -> None:
    client = make_app().test_client()
    assert len({ids(client.options("/ingest"))[0] for _ in range(20)}) == 20


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/ingest", 415),
        ("OPTIONS", "/ingest", 200),
        ("GET", "/ingest", 405),
        ("POST", "/tickets", 415),
        ("HEAD", "/events_stream/", 200),
        ("GET", "/events_stream/?event_type=a*", 400),
        ("OPTIONS", "/events_stream/", 200),
        ("GET", "/closed/extract", 401),
        ("GET", "/healthz", 200),
        ("GET", "/readyz", 200),
        ("GET", "/metrics", 200),
        ("GET", "/", 200),
        ("GET", "/nothing", 404),
    ],
)
def test_every_answer_of_the_server_has_one(
    server_app: Flask, method: str, path: str, status: int
) -> None:
    response = server_app.test_client().open(path, method=method, headers={"X-Request-Id": "me"})
    assert response.status_code == status
    assert ids(response) == ["me"]


def test_a_stream_has_one_and_both_its_lines_name_it(make_app: MakeApp, lines: list[str]) -> None:
    client = make_app().test_client()
    stream = client.get("/events_stream/", headers={"X-Request-Id": "me"}, buffered=False)
    next(iter(stream.iter_encoded()))
    stream.close()
    assert ids(stream) == ["me"]
    assert [line.partition(": ")[2] for line in lines[:1]] == ["connected request_id=me"]
    assert lines[1].endswith("0 events, 0 missed request_id=me")


def test_a_refused_stream_has_one_too(make_app: MakeApp, listen: Listen, lines: list[str]) -> None:
    app = make_app(sink={"events_stream": {"type": "sse", "max_clients": 1}})
    listen(app)
    response = app.test_client().get("/events_stream/", headers={"X-Request-Id": "me"})
    assert (response.status_code, ids(response)) == (503, ["me"])
    assert lines[-1].endswith(": refused request_id=me")


def test_a_view_that_fails_is_answered_and_logged_with_one(
    server_app: Flask, monkeypatch: pytest.MonkeyPatch, lines: list[str]
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(runtime_of(server_app).log, "check", fail)
    response = server_app.test_client().get("/readyz", headers={"X-Request-Id": "me"})
    assert (response.status_code, ids(response)) == (500, ["me"])
    assert lines == ["Exception on /readyz [GET] request_id=me"]


def test_our_lines_about_a_request_name_it(
    make_app: MakeApp, tmp_path: Path, lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Another test may have had a refusal for the same reason a moment ago.
    monkeypatch.setattr(access, "throttle", Throttle())
    (tmp_path / "file").touch()
    token = {"token": "a-token-of-a-publisher", "name": "p", "publish": [{}]}
    app = make_app(
        ingest={"tokens": [], "auth": "token"},
        access={"tokens": [token]},
        database={"url": f"sqlite:///{tmp_path}/file/x.db"},
    )
    for authorization in ("", f"Bearer {token['token']}"):
        app.test_client().post(
            "/ingest",
            json={"event_type": "a"},
            headers={"X-Request-Id": "me", "Authorization": authorization},
        )
    assert len(lines) == 2
    assert all(line.endswith(" request_id=me") for line in lines)


def test_other_views_of_an_app_are_left_alone(make_app: MakeApp) -> None:
    app = make_app()
    app.add_url_rule("/theirs", "theirs", lambda: Response("theirs"))
    response = app.test_client().get("/theirs", headers={"X-Request-Id": "me"})
    assert ids(response) == []


def test_an_id_that_the_app_answers_itself_is_kept(make_app: MakeApp) -> None:
    app = make_app()

    @app.after_request
    def answer(response: Response) -> Response:
        response.headers["X-Request-Id"] = "of-the-app"
        return response

    assert ids(app.test_client().options("/ingest")) == ["of-the-app"]


def test_a_line_without_a_request_is_left_as_it_is() -> None:
    record = logging.LogRecord("x", logging.INFO, "x", 1, "%s", ("a",), None)
    assert request_id.note(record)
    assert record.getMessage() == "a"
    assert not hasattr(record, "request_id")


def test_in_a_log_of_json_the_id_is_a_field() -> None:
    record = logging.LogRecord("x", logging.INFO, "x", 1, "%s is away", ("it",), None)
    with Flask("x").test_request_context(headers={"X-Request-Id": "me"}):
        request_id.note(record)
    assert record.getMessage() == "it is away request_id=me"
    fields = json.loads(JsonFormatter().format(record))
    assert (fields["message"], fields["request_id"]) == ("it is away", "me")


@given(st.text(st.characters(max_codepoint=255)))
def test_an_id_is_always_one_short_word(sent: str) -> None:
    id = request_id.of({"HTTP_X_REQUEST_ID": sent})
    assert re.fullmatch(r"[!-~]{1,128}", id)
    assert not set(id) & set("\"'\\<>()[]{}%;,")
    assert id == sent or MADE.fullmatch(id)


def test_the_loggers_are_those_of_modules() -> None:
    for logger in request_id.LOGGERS:
        path = Path(request_id.__file__).parents[2] / f"{logger.name.replace('.', '/')}.py"
        assert "logging.getLogger(__name__)" in path.read_text()
