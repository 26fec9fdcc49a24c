"""``POST /tickets``, and tickets that an app makes for its pages."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask, request
from werkzeug.test import TestResponse

from flask_sse_sink import ConfigError, Grants, SSESink
from flask_sse_sink.extension import runtime_of
from flask_sse_sink.submission import new_event
from support.apps import Listen, MakeApp
from support.waiting import wait_until

SECRET = "a-secret-of-the-tests-with-32-bytes-and-more"
PAGE = "https://app.example"
BEARER = {"Authorization": "Bearer token-of-ann"}
COOKIE = {"Cookie": "sse_access_token=token-of-ann"}


def config(**access: Any) -> dict[str, Any]:
    return {
        "access": {
            "secret": SECRET,
            "tokens": [
                {
                    "token": "token-of-ann",
                    "name": "ann",
                    "subscribe": [{"sink": "inbox", "entity_id": ["7", "8"]}],
                },
                {"token": "token-of-bob", "name": "bob", "publish": [{}]},
            ],
            **access,
        },
        "sink": {
            "inbox": {
                "type": "sse",
                "access": "token",
                "cors_origins": [PAGE],
                "cors_credentials": True,
            },
            "other": {"type": "sse", "access": "token"},
        },
    }


@pytest.fixture
def app(make_app: MakeApp) -> Flask:
    return make_app(**config())


def ask(
    app: Flask, body: object = None, headers: dict[str, str] | None = None, query: str = ""
) -> TestResponse:
    wanted = {"sink": "inbox"} if body is None else body
    return app.test_client(use_cookies=False).post(
        f"/tickets{query}", json=wanted, headers=BEARER if headers is None else headers
    )


def reason(response: TestResponse) -> tuple[int, str]:
    return response.status_code, response.get_json().get("reason", "")


def publish(app: Flask, **events: str) -> None:
    """Publish an event of each type for this entity."""
    runtime_of(app).publish([new_event(name, entity_id=id) for name, id in events.items()])


def test_a_token_buys_a_ticket_that_opens_its_sink(app: Flask, listen: Listen) -> None:
    response = ask(app)
    assert response.status_code == 200
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["Referrer-Policy"] == "no-referrer"
    answer = response.get_json()
    assert sorted(answer) == ["expires_in", "ticket", "url"]
    assert answer["expires_in"] == 60
    assert answer["url"] == f"/inbox/?ticket={answer['ticket']}"
    one, two = (listen(app, f"ticket={answer['ticket']}", "/inbox/") for _ in range(2))
    publish(app, a="9", b="7")
    assert [each.event()["event_type"] for each in (one, two)] == ["b", "b"]


def test_the_body_narrows_the_ticket_and_never_widens_it(app: Flask, listen: Listen) -> None:
    body = {"sink": "inbox", "entity_id": ["8", "9"], "event_type": "x.*", "source": ""}
    url = ask(app, body).get_json()["url"]
    stream = listen(app, url.partition("?")[2], "/inbox/")
    for name in ("x.a", "y"):
        runtime_of(app).publish([new_event(name, entity_id=id) for id in ("7", "8", "9")])
    publish(app, **{"x.end": "8"})
    assert stream.types(2) == ["x.a", "x.end"]
    refused = ask(app, {"sink": "inbox", "entity_id": "9"})
    assert reason(refused) == (403, "insufficient_scope")
    assert refused.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    ("body", "status", "detail"),
    [
        ([], 422, "Expected `object`"),
        ({}, 422, "missing required field `sink`"),
        ({"sink": "inbox", "name": "x"}, 422, "unknown field `name`"),
        ({"sink": 1}, 422, "Expected `str`"),
        ({"sink": "nowhere"}, 422, "'nowhere' is no sink that streams"),
        ({"sink": "inbox", "event_type": "a*"}, 422, "is not a pattern"),
        ({"sink": "inbox", "entity_id": ["x" * 300]}, 422, "can't be an entity's id"),
        ({"sink": "other"}, 403, "doesn't grant"),
    ],
)
def test_what_cant_be_given_is_refused(app: Flask, body: object, status: int, detail: str) -> None:
    response = ask(app, body)
    assert response.status_code == status
    assert detail in response.get_json()["detail"]
    assert response.headers["Cache-Control"] == "no-store"


def test_the_body_must_be_json(app: Flask) -> None:
    client = app.test_client()
    text = client.post("/tickets", data="{}", content_type="text/plain", headers=BEARER)
    assert text.status_code == 415
    broken = client.post("/tickets", data="{", content_type="application/json", headers=BEARER)
    assert broken.status_code == 400
    large = client.post("/tickets", json={"sink": "x" * 70_000}, headers=BEARER)
    assert large.status_code == 413
    assert client.get("/tickets").status_code == 405


def test_who_has_no_token_gets_no_ticket(app: Flask) -> None:
    assert reason(ask(app, headers={})) == (401, "missing")
    assert reason(ask(app, headers={"Authorization": "Bearer wrong-token"})) == (401, "malformed")
    assert reason(ask(app, headers={"Authorization": "Bearer token-of-bob"})) == (
        403,
        "insufficient_scope",
    )
    assert reason(ask(app, query="?access_token=token-of-ann")) == (401, "malformed")


def test_a_ticket_buys_no_ticket_and_publishes_nothing(app: Flask) -> None:
    ticket = ask(app).get_json()["ticket"]
    assert reason(ask(app, headers={}, query=f"?ticket={ticket}")) == (401, "missing")
    bearer = {"Authorization": f"Bearer {ticket}"}
    assert ask(app, headers=bearer).status_code == 401
    other = app.test_client().get(f"/other/?ticket={ticket}")
    assert reason(other) == (403, "insufficient_scope")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"Origin": "http://localhost"}, 200),
        ({"Origin": PAGE}, 200),
        ({"Origin": PAGE, "Sec-Fetch-Site": "cross-site"}, 200),
        ({"Origin": "null"}, 401),
        ({"Origin": "https://evil.example"}, 401),
        ({"Origin": "http://localhost.evil.example"}, 401),
        ({"Origin": "http://localhost", "Sec-Fetch-Site": "cross-site"}, 401),
        ({"Sec-Fetch-Site": "cross-site"}, 401),
    ],
)
def test_a_cookie_counts_for_pages_that_are_trusted(
    app: Flask, headers: dict[str, str], status: int
) -> None:
    assert ask(app, headers={**COOKIE, **headers}).status_code == status
    # A header isn't added by the browser.
    assert ask(app, headers={**BEARER, **headers}).status_code == 200


def test_a_page_of_another_sinks_origin_gets_no_ticket_by_cookie(make_app: MakeApp) -> None:
    sections = config()
    sections["sink"]["other"] |= {"cors_origins": ["https://b.example"], "cors_credentials": True}
    app = make_app(**sections)
    for origin, status in ((PAGE, 200), ("https://b.example", 401)):
        response = ask(app, headers={**COOKIE, "Origin": origin})
        assert response.status_code == status
        assert response.headers["Access-Control-Allow-Origin"] == origin


def test_cors_lets_credentialed_pages_read_the_answer(app: Flask) -> None:
    client = app.test_client()
    asking = {
        "Origin": PAGE,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization, content-type",
    }
    preflight = client.options("/tickets", headers=asking)
    assert preflight.headers["Access-Control-Allow-Origin"] == PAGE
    assert preflight.headers["Access-Control-Allow-Credentials"] == "true"
    assert "POST" in preflight.headers["Access-Control-Allow-Methods"]
    assert "authorization" in preflight.headers["Access-Control-Allow-Headers"].lower()
    refused = ask(app, headers={"Origin": PAGE})
    assert refused.status_code == 401
    assert refused.headers["Access-Control-Allow-Origin"] == PAGE
    assert "Origin" in refused.headers["Vary"]
    foreign = ask(app, headers={**BEARER, "Origin": "https://evil.example"})
    assert "Access-Control-Allow-Origin" not in foreign.headers


def test_without_a_secret_there_are_no_tickets(make_app: MakeApp) -> None:
    app = make_app(**config(secret=""))
    assert ask(app).status_code == 404
    response = app.test_client().get("/inbox/?ticket=a.b")
    assert reason(response) == (401, "malformed")


def test_too_large_a_ticket_is_refused(make_app: MakeApp) -> None:
    ids = [f"{n * 7919 % 99991}-{n * 104729}" for n in range(900)]
    token = {
        "token": "token-of-ann",
        "name": "ann",
        "subscribe": [{"sink": "inbox", "entity_id": ids}],
    }
    app = make_app(**config(tokens=[token]))
    response = ask(app)
    assert response.status_code == 422
    assert "narrow it by entity_id" in response.get_json()["detail"]
    assert ask(app, {"sink": "inbox", "entity_id": ids[:3]}).status_code == 200


def test_ingest_may_not_stand_at_that_path(make_app: MakeApp) -> None:
    with pytest.raises(ConfigError, match=r"ingest\.path: meets /tickets"):
        make_app(**config(), ingest={"path": "/tickets/", "auth": "none"})
    make_app(**config(secret=""), ingest={"path": "/tickets", "auth": "none"})


def test_an_app_with_a_route_of_that_path_is_told(make_app: MakeApp) -> None:
    app = Flask("theirs")
    app.add_url_rule("/tickets", "theirs", lambda: "", methods=["POST"])
    with pytest.raises(ConfigError, match="/tickets meets the app's route theirs"):
        SSESink(app, {**config(), "ingest": {"auth": "none"}})


@pytest.fixture
def own_app(tmp_path: Any, make_app: MakeApp) -> tuple[Flask, SSESink]:
    """Return an app with users, who say in a header who they are."""
    app = Flask("with_users")
    sse = SSESink()
    database = {"url": f"sqlite:///{tmp_path}/own.db"}
    sse.init_app(app, {**config(), "ingest": {"auth": "none"}, "database": database})
    return app, sse


def user() -> str | None:
    return request.headers.get("X-User")


def test_an_authorizer_decides_what_the_apps_users_read(
    own_app: tuple[Flask, SSESink], listen: Listen
) -> None:
    app, sse = own_app
    asked: list[str] = []

    @sse.authorizer(subject=user)
    def may_read(sink: str) -> Grants | None:
        asked.append(sink)
        return Grants.of(subscribe=[{"entity_id": user()}]) if user() else None

    client = app.test_client()
    with client.get("/inbox/", headers={"X-User": "u1"}, buffered=False) as response:
        assert response.status_code == 200
        parts = iter(response.iter_encoded())
        next(parts)
        (stream,) = runtime_of(app).sinks["inbox"].clients
        assert stream.name == "u1"
        publish(app, a="u2", b="u1")
        assert b'"event_type":"b"' in next(parts)
        sse.revoke("u1")
        wait_until(lambda: stream.reason == "revoked", "it is told", 3)
        assert next(parts).startswith(b"event: info\ndata: expired\nretry: ")
    assert asked == ["inbox"]
    # They are asked for anew; tokens go on.
    assert reason(client.get("/inbox/")) == (401, "missing")
    assert client.head("/inbox/", headers=BEARER).status_code == 200
    response = ask(app, headers={"X-User": "u3", "Origin": "http://localhost"})
    assert response.status_code == 200
    foreign = ask(app, headers={"X-User": "u3", "Origin": "https://evil.example"})
    assert reason(foreign) == (401, "missing")


def test_an_app_makes_urls_for_its_pages(own_app: tuple[Flask, SSESink], listen: Listen) -> None:
    app, sse = own_app
    with app.test_request_context():
        url = sse.ticket("inbox", entity_id=7, subject="u7")
        everything = sse.ticket("inbox")
    path, _, query = url.partition("?")
    assert path == "/inbox/"
    stream = listen(app, query, path)
    other = listen(app, everything.partition("?")[2], path)
    publish(app, a="8", b="7")
    assert stream.types(1) == ["b"]
    assert other.types(2) == ["a", "b"]
    sse.revoke("u7")
    assert stream.frame().startswith(b"event: info\ndata: expired\n")
    assert reason(app.test_client().get(url)) == (401, "revoked")
    assert sse.unrevoke("u7")
    assert not sse.unrevoke("u7")
    assert app.test_client().head(url).status_code == 200


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda sse: sse.ticket("inbox", entity_id=None), "entity_id: None is neither"),
        (lambda sse: sse.ticket("nowhere"), "'nowhere' is no sink that streams"),
        (lambda sse: sse.ticket("inbox", entity="7"), "'entity' is not known here"),
    ],
)
def test_a_ticket_for_nobody_isnt_made(
    own_app: tuple[Flask, SSESink], make: Callable[[SSESink], str], error: str
) -> None:
    app, sse = own_app
    with app.test_request_context(), pytest.raises(ValueError, match=error):
        make(sse)


def test_a_token_ends_its_tickets_streams_when_it_is_revoked(app: Flask, listen: Listen) -> None:
    url = ask(app).get_json()["url"]
    stream = listen(app, url.partition("?")[2], "/inbox/")
    client = app.test_client()
    runtime_of(app).log.revocations.revoke("ann", lasting=True)
    began = time.monotonic()
    assert stream.frame().startswith(b"event: info\ndata: expired\n")
    assert time.monotonic() - began < 2
    with pytest.raises(EOFError):
        stream.frame()
    assert reason(client.get(url)) == (401, "revoked")
    assert reason(client.get("/inbox/", headers=BEARER)) == (401, "revoked")
    assert reason(ask(app)) == (401, "revoked")
