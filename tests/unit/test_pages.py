"""The server's health, front page and errors."""

from __future__ import annotations

from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from flask_sse_sink import create_app
from flask_sse_sink.extension import runtime_of
from flask_sse_sink.web import problem
from support.apps import MakeApp

CONFIG = """
database: {url: "sqlite:///events.db"}
ingest: {tokens: [a-token-of-tests]}
sink:
  live: {type: sse, match: ["user.*", end]}
  all: {type: sse, path: /x}
"""

TOKEN = "Bearer a-token-of-tests"


@pytest.fixture
def app(make_app: MakeApp, tmp_path: Path) -> Flask:
    (tmp_path / "config.yaml").write_text(CONFIG)
    return create_app(tmp_path / "config.yaml")


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


def test_a_process_that_answers_is_alive(client: FlaskClient) -> None:
    response = client.get("/healthz")
    assert (response.status_code, response.get_json()) == (200, {"status": "alive"})


def test_a_server_that_can_store_is_ready(app: Flask, client: FlaskClient) -> None:
    response = client.get("/readyz")
    assert (response.status_code, response.get_json()) == (200, {"status": "ready"})
    assert runtime_of(app).is_running


def test_a_server_that_can_not_store_is_alive_but_not_ready(
    app: Flask, client: FlaskClient, tmp_path: Path
) -> None:
    (tmp_path / "events.db").mkdir()
    for _ in range(2):
        response = client.get("/readyz")
        assert response.status_code == 503
        assert response.headers["Retry-After"] == "2"
        body = response.get_json(force=True)
        assert body["title"] == "Not ready"
        assert body["detail"] == "the event log can't be opened"
    assert client.get("/healthz").status_code == 200


def test_the_front_page_is_json_for_programs(client: FlaskClient) -> None:
    response = client.get("/")
    assert response.content_type == "application/json"
    assert "Accept" in response.vary
    body = response.get_json()
    assert body["service"] == "flask-sse-sink"
    assert body["ingest"] == "/ingest"
    assert body["sinks"] == [
        {"name": "live", "url": "/live/", "match": ["end", "user.*"]},
        {"name": "all", "url": "/all/x", "match": ["*"]},
    ]


def test_an_unknown_path_is_a_problem(client: FlaskClient) -> None:
    response = client.get("/nowhere")
    assert response.status_code == 404
    assert response.content_type == "application/problem+json"
    body = response.get_json(force=True)
    assert (body["type"], body["title"], body["status"]) == ("about:blank", "Not Found", 404)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [("GET", "/ingest", "POST"), ("POST", "/live/", "GET"), ("DELETE", "/", "GET")],
)
def test_a_wrong_method_is_a_problem_that_names_the_right_ones(
    client: FlaskClient, method: str, path: str, allowed: str
) -> None:
    response = client.open(path, method=method)
    assert response.status_code == 405
    assert response.content_type == "application/problem+json"
    assert allowed in response.headers["Allow"]
    assert response.get_json(force=True)["status"] == 405


def test_an_error_that_nobody_expected_is_a_problem(app: Flask, client: FlaskClient) -> None:
    @app.get("/broken")
    def broken() -> str:
        raise ZeroDivisionError("a secret")

    response = client.get("/broken")
    assert response.status_code == 500
    assert response.content_type == "application/problem+json"
    assert "secret" not in response.text


def test_a_proxys_clients_share_their_places_by_address(make_app: MakeApp, tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(
        "server: {proxies: 1, max_clients_per_address: 1}\ningest: {auth: none}\nsink: {sse: }\n"
    )
    client = create_app(file).test_client()

    def get(address: str) -> TestResponse:
        return client.get("/sse/", headers={"X-Forwarded-For": address}, buffered=False)

    for first, same, other in (
        ("5.5.5.5:1000", "5.5.5.5:1001", "5.5.5.6:1000"),
        ("[2001:db8::1]:99", "2001:db8::2", "2001:db8:0:1::1"),
    ):
        streams = [get(first), get(other)]
        assert [stream.status_code for stream in streams] == [200, 200]
        refused = get(same)
        assert refused.status_code == 503
        assert "your address has all 1 streams" in refused.text
        for stream in streams:
            stream.close()


def test_strangers_are_told_a_short_cause_and_the_log_all_of_it(
    app: Flask, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr(problem, "causes", problem.CauseLog(clock=lambda: now))
    (tmp_path / "events.db").mkdir()
    client = app.test_client()
    for _ in range(10):
        for answer in (
            client.get("/readyz"),
            client.get("/live/"),
            client.post("/ingest", json={"event_type": "a"}, headers={"Authorization": TOKEN}),
        ):
            assert answer.status_code == 503
            assert str(tmp_path) not in answer.text
            detail = answer.get_json(force=True)["detail"]
            assert detail == "the event log can't be opened"

    def logged() -> list[str]:
        return [each.message for each in caplog.records if each.name == problem.__name__]

    (message,) = logged()
    assert str(tmp_path / "events.db") in message
    assert "give this user the right" in message
    now += 1
    client.get("/live/")
    assert len(logged()) == 2


def test_strangers_see_the_name_and_path_of_a_closed_sink_and_no_more(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("sink: {inbox: {type: sse, access: token, match: secret.plan}}\n")
    client = create_app(file).test_client()
    assert client.get("/").get_json()["sinks"] == [
        {"name": "inbox", "url": "/inbox/", "access": "token"}
    ]
    page = client.get("/", headers={"Accept": "text/html"}).text
    assert 'href="./inbox/"' in page
    assert "secret.plan" not in page
    assert "inbox" not in client.get("/console/sinks.json").text
