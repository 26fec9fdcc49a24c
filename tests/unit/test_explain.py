"""`explain`: which sinks an event would reach, who gets it there, and why not the others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jwt
import pytest
from click.testing import CliRunner, Result
from flask import Flask
from flask.cli import FlaskGroup, ScriptInfo

from flask_sse_sink import Grants, SSESink
from flask_sse_sink.cli.main import main
from flask_sse_sink.config import loading

KEY = "a-shared-secret-of-32-bytes-or-more"
ISSUER = "https://auth.example/"
CONFIG = f"""
ingest: {{tokens: [an-ingest-token]}}
database: {{url: "sqlite:///x.db", retention: 90m, retention_count: 5}}
sink:
  everything: {{type: sse}}
  alerts: {{type: sse, path: /live, match: [alert.*, user.*, user.login]}}
  Users: {{type: sse, match: User.*, replay: 1h}}
  inbox: {{type: sse, access: token, replay: true}}
  few: {{type: sse, access: token, match: few, replay: 10}}
  warehouse: {{type: http_pull, match: "order.*", ttl_enabled: true, max_attempts: 3}}
access:
  tokens:
    - token: token-of-ann
      name: ann
      subscribe: [{{sink: inbox, event_type: "user.*"}}]
      publish: [{{event_type: "user.*", source: shop}}]
    - {{token: token-of-bob, name: bob, subscribe: [{{sink: inbox, entity_id: "7"}}]}}
  issuers:
    - issuer: {ISSUER}
      audience: x
      key: {KEY}
      algorithms: [HS256]
      subscribe: [{{sink: inbox, entity_id: "acme:{{sub}}"}}, {{sink: warehouse, source: shop}}]
      publish: [{{source: phone, entity_id: "{{sub}}"}}]
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(loading.FILE_VARIABLE, raising=False)
    (tmp_path / "config.yaml").write_text(CONFIG)
    return tmp_path


def run(*words: str, token: str | None = None) -> Result:
    return CliRunner().invoke(main, ["explain", *words], env={"SSE_SINK_TOKEN": token})


def explained(*words: str, token: str | None = None, status: int = 0) -> dict[str, Any]:
    done = run("--json", *words, token=token)
    assert done.exit_code == status, done.output
    found: dict[str, Any] = json.loads(done.stdout)
    return found | {each["sink"]: each for each in found["sinks"]}


@pytest.mark.usefixtures("folder")
def test_each_sink_says_by_which_of_its_patterns_it_is_reached() -> None:
    found = explained("user.login")
    assert [
        name for name in found if isinstance(found[name], dict) and found[name].get("reached")
    ] == [
        "everything",
        "alerts",
        "inbox",
    ]
    assert found["alerts"]["match"] == ["alert.*", "user.*"]
    assert found["alerts"]["patterns"] == ["user.*"]
    assert found["alerts"]["url"] == "GET /alerts/live"
    assert found["everything"]["readers"] == ["everybody who reaches the port"]
    assert found["kept"] == "for 90m and among the newest 5"


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("event_type", "sink", "part"),
    [
        ("order.paid", "alerts", "no pattern of match is for order.paid"),
        ("user", "alerts", "user.* is for what begins with user. and not for it alone"),
        ("user.login", "Users", "User.* is written differently, and case counts"),
        ("users.x", "alerts", "no pattern of match is for users.x"),
        ("order.paid", "inbox", "no token or issuer of the configuration has a grant for it"),
    ],
)
def test_a_sink_that_isnt_reached_says_why(event_type: str, sink: str, part: str) -> None:
    assert part in explained(event_type)[sink]["why"]
    assert part in run(event_type).stdout


@pytest.mark.usefixtures("folder")
def test_a_closed_sink_says_whose_tokens_get_the_event() -> None:
    assert explained("user.login")["inbox"]["readers"] == ["the token ann"]
    found = explained("a", "--entity-id", "7", "--source", "shop")
    whose = f"tokens of {ISSUER} whose acme:{{sub}} is 7"
    assert found["inbox"]["readers"] == ["the token bob", whose]
    found = explained("order.paid", "--source", "shop")
    assert found["warehouse"]["readers"] == [f"tokens of {ISSUER}"]
    assert explained("order.paid")["warehouse"]["readers"] == []


@pytest.mark.usefixtures("folder")
def test_it_says_who_may_publish_the_event() -> None:
    ingest = "those with one of ingest.tokens"
    assert explained("user.login")["publishers"] == [ingest, "the token ann (as shop)"]
    assert explained("user.login", "--source", "shop")["publishers"] == [ingest, "the token ann"]
    assert explained("user.login", "--source", "web")["publishers"] == [ingest]
    whose = f"tokens of {ISSUER} whose {{sub}} is 7"
    found = explained("a", "--source", "phone", "--entity-id", "7")
    assert found["publishers"] == [ingest, whose]


@pytest.mark.usefixtures("folder")
def test_it_says_what_becomes_of_the_event_later() -> None:
    found = explained("order.paid")
    assert found["everything"]["kept"] == ["who isn't connected misses it (replay: false)"]
    assert found["Users"]["kept"] == ["who comes back within 1h gets it (replay)"]
    assert found["few"]["kept"] == ["who comes back before 10 newer events gets it (replay)"]
    assert found["warehouse"]["kept"] == [
        "each event waits until it is confirmed, while it is kept",
        "it is passed over after 1h (event_ttl, default_ttl)",
        "it is a dead letter after 3 leases (max_attempts)",
    ]


@pytest.mark.usefixtures("folder")
def test_a_token_is_explained_without_being_shown() -> None:
    found = explained("a", token="token-of-ann")
    assert found["token"] == {"name": "ann", "refused": None}
    assert found["everything"]["granted"] is True
    assert found["inbox"]["granted"] is False
    assert "event_type=user.*" in found["inbox"]["why"]
    found = explained("user.login", token="token-of-ann")
    assert (found["inbox"]["granted"], found["inbox"]["readers"]) == (True, ["ann"])
    found = explained("user.login", token="an-ingest-token")
    assert "it has none" in found["inbox"]["why"]
    claims = {"iss": ISSUER, "aud": "x", "exp": 2**31, "sub": "7", "iat": 2**31 - 60}
    signed = jwt.encode(claims, KEY, "HS256")
    done = run("a", "--entity-id", "acme:7", token=signed)
    assert "refused: the token's claim" in done.stdout or "acme:7" in done.stdout
    for secret in (signed, KEY):
        assert secret not in done.output
    refused = run("a", token="a-wrong-token")
    assert (
        "the token is refused: the token is none that is known here (malformed)" in refused.stdout
    )
    assert "a-wrong-token" not in refused.output


def test_a_revoked_token_gets_nothing(folder: Path) -> None:
    assert CliRunner().invoke(main, ["revoke", "ann"]).exit_code == 0
    found = explained("user.login", token="token-of-ann")
    assert found["token"] == {"name": None, "refused": "its subject was revoked (revoked)"}
    assert found["inbox"]["granted"] is False


def test_the_exit_status_is_1_where_nobody_gets_the_event(folder: Path) -> None:
    (folder / "config.yaml").write_text(
        "sink:\n  a: {type: sse, match: a}\n  b: {type: sse, match: b, access: token}\n"
    )
    assert run("a").exit_code == 0
    assert run("b").exit_code == 1
    assert run("c").exit_code == 1
    assert run("c").stdout.count("not reached") == 2


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("words", "part"),
    [
        (("a..b",), "event_type"),
        (("",), "event_type"),
        (("a", "--entity-id", "x\ny"), "entity_id"),
        (("a", "--source", ""), "source"),
        (("a", "--token", "s3cret x"), "the token has a space"),
        ((), "Missing argument"),
    ],
    ids=["type", "empty", "entity", "source", "token", "nothing"],
)
def test_wrong_input_exits_with_2(words: tuple[str, ...], part: str) -> None:
    done = run(*words)
    assert done.exit_code == 2, done.output
    assert part in done.stderr
    assert "s3cret" not in done.output
    assert done.stdout == ""


@pytest.mark.usefixtures("folder")
def test_a_pattern_in_place_of_a_type_is_pointed_out() -> None:
    assert "`*` in it is taken to the letter" in run("user.*").stderr


def test_the_apps_own_users_are_named(folder: Path) -> None:
    app = Flask("x")
    sse = SSESink(app, folder / "config.yaml")
    sse.authorizer(lambda sink: Grants())
    result = app.test_cli_runner().invoke(
        FlaskGroup(create_app=lambda: app),
        ["sse", "explain", "a", "--json"],
        obj=ScriptInfo(create_app=lambda: app),
    )
    found = {each["sink"]: each["readers"] for each in json.loads(result.stdout)["sinks"]}
    assert found["inbox"] == ["users of the app, as its authorizer decides"]
