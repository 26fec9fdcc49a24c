"""The handshake of webhooks."""

from __future__ import annotations

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from flask_sse_sink import ConfigError
from support.apps import MakeApp

NAME = "eventemitter.example.com"


def ask(app: Flask, origin: str | None = NAME, **headers: str) -> TestResponse:
    sent = {} if origin is None else {"WebHook-Request-Origin": origin}
    return app.test_client().options("/ingest", headers={**sent, **headers})


def agreed(response: TestResponse) -> tuple[str | None, str | None]:
    assert response.status_code == 200
    assert set(response.headers["Allow"].split(", ")) == {"OPTIONS", "POST"}
    headers = response.headers
    return headers.get("WebHook-Allowed-Origin"), headers.get("WebHook-Allowed-Rate")


def test_every_sender_is_agreed_to_by_default(make_app: MakeApp) -> None:
    app = make_app(ingest={"tokens": ["first-token"]})
    assert agreed(ask(app)) == (NAME, "*")
    assert agreed(ask(app, **{"WebHook-Request-Rate": "120"})) == (NAME, "*")


def test_only_the_senders_that_are_named_are_agreed_to(make_app: MakeApp) -> None:
    app = make_app(ingest={"auth": "none", "webhook_senders": ["EventEmitter.example.com"]})
    assert agreed(ask(app)) == (NAME, "*")
    assert agreed(ask(app, NAME.upper())) == (NAME.upper(), "*")
    for other in ("example.com", f"x.{NAME}", f"{NAME}.x", "*", ""):
        assert agreed(ask(app, other)) == (None, None)


def test_nobody_is_agreed_to_where_nobody_may_send(make_app: MakeApp) -> None:
    assert agreed(ask(make_app(ingest={"auth": "token"}))) == (None, None)
    assert agreed(ask(make_app(ingest={"auth": "none", "webhook_senders": []}))) == (None, None)
    token = {"token": "a-token-of-a-publisher", "name": "p", "publish": [{}]}
    app = make_app(ingest={"auth": "token"}, access={"tokens": [token]})
    assert agreed(ask(app)) == (NAME, "*")


@pytest.mark.parametrize("name", ["a b", "a,b", "\xe9", "a" * 300, "http://x.example", "<script>"])
def test_a_name_that_is_none_is_not_sent_back(make_app: MakeApp, name: str) -> None:
    assert agreed(ask(make_app(), name)) == (None, None)


def test_another_options_request_is_answered_as_ever(make_app: MakeApp) -> None:
    assert agreed(ask(make_app(), None)) == (None, None)


@pytest.mark.parametrize("name", ["", "a b", "http://x.example", "x:80", 5])
def test_a_setting_that_is_no_name_is_refused(make_app: MakeApp, name: object) -> None:
    with pytest.raises(ConfigError, match=r"webhook_senders\[0\].*WebHook-Request-Origin"):
        make_app(ingest={"webhook_senders": [name]})
