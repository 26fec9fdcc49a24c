"""Closed sinks and scoped publishers, in an app."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from flask_sse_sink import client_connected
from flask_sse_sink.cli import sse
from flask_sse_sink.event import decode_envelope
from flask_sse_sink.extension import runtime_of
from flask_sse_sink.submission import new_event
from flask_sse_sink.web import access as web_access
from flask_sse_sink.web.problem import Throttle
from support.apps import Listen, MakeApp
from support.issuer import AUDIENCE, NAME, SECRET, jwks_server, key_set, rsa_key, sign
from support.stream import AppStream

PAGE = "https://app.example"
ALL = "all-of-everything"
ORDERS = "orders-of-the-shop"
OTHER = "another-sinks-token"

ACCESS = {
    "tokens": [
        {"token": ALL, "name": "all", "subscribe": [{}], "publish": [{}]},
        {
            "token": ORDERS,
            "name": "the shop",
            "subscribe": [{"sink": "inbox", "event_type": "order.*", "source": "shop"}],
            "publish": [{"event_type": "order.*", "source": "shop"}],
        },
        {"token": OTHER, "name": "other", "subscribe": [{"sink": "open"}]},
    ],
    "issuers": [
        {
            "issuer": NAME,
            "audience": AUDIENCE,
            "key": SECRET,
            "algorithms": ["HS256"],
            "subscribe": [{"sink": "inbox", "entity_id": "{sub}"}],
        }
    ],
}


def closed(make_app: MakeApp, access: Any = ACCESS, **sink: Any) -> Flask:
    """Return an app with a closed sink, `inbox`, and an open one, `open`."""
    sinks = {"inbox": {"type": "sse", "access": "token", **sink}, "open": {"type": "sse"}}
    return make_app(sink=sinks, access=access, ingest={"tokens": ["an-ingest-token"]})


def get(app: Flask, token: str = "", query: str = "", **more: Any) -> TestResponse:
    headers = dict(more.pop("headers", {}))
    if token:
        headers["Authorization"] = f"Bearer {token}"
    return app.test_client(use_cookies=False).open(
        f"/inbox/?{query}", headers=headers, buffered=False, **more
    )


def reason(response: TestResponse) -> str:
    assert response.content_type == "application/problem+json"
    assert response.headers["Cache-Control"] == "no-store"
    body = response.get_json()
    assert body["status"] == response.status_code
    if response.status_code == 401:
        assert response.headers["WWW-Authenticate"] == (
            f'Bearer error="invalid_token", error_description="{body["reason"]}"'
        )
    return str(body["reason"])


def post(app: Flask, events: object, token: str, **headers: str) -> TestResponse:
    headers["Authorization"] = f"Bearer {token}"
    return app.test_client().post("/ingest", json=events, headers=headers)


def event(event_type: str, entity_id: str | None = None, source: str | None = None) -> Any:
    fields = {"event_type": event_type, "entity_id": entity_id, "source": source}
    return {name: value for name, value in fields.items() if value is not None}


def publish(app: Flask, *events: Any) -> list[int]:
    return runtime_of(app).publish([new_event(**each) for each in events]).ids


def refused(app: Flask, reason: str) -> float:
    from prometheus_client import REGISTRY

    value = REGISTRY.get_sample_value("sse_sink_access_refused_total", {"reason": reason})
    return value or 0.0


def test_a_closed_sink_wants_a_token_and_an_open_one_does_not(
    make_app: MakeApp, listen: Listen
) -> None:
    app = closed(make_app)
    before = refused(app, "missing")
    for method in ("GET", "HEAD"):
        response = get(app, method=method)
        assert response.status_code == 401
    assert reason(get(app)) == "missing"
    assert reason(get(app, "wrong-token")) == "malformed"
    assert refused(app, "missing") == before + 3
    listen(app, path="/open/")
    assert app.test_client().head("/open/?token=x").status_code == 200
    assert get(app, ALL, method="HEAD").status_code == 200


def test_each_reader_gets_what_the_grants_cover(make_app: MakeApp) -> None:
    app = closed(make_app)
    tokens = (ALL, ORDERS, sign(sub="ann"), sign(sub="*"))
    streams = [AppStream(get(app, token)) for token in tokens]
    for stream in streams:
        assert stream.frame().startswith(b"event: info\ndata: connected\n")
    publish(
        app,
        event("order.new", source="shop"),
        event("order.new", source="till"),
        event("user.new", "ann"),
        event("user.new", "bob"),
        event("order.end", "ann", "shop"),
    )
    expected = [[1, 2, 3, 4, 5], [1, 5], [3, 5]]
    for stream, ids in zip(streams, expected, strict=False):
        assert [stream.event()["id"] for _ in ids] == ids
        assert stream.response is not None
    publish(app, event("end", "*"), event("order.last", "ann", "shop"))
    for stream, id in zip(streams, (6, 7, 7, 6), strict=True):
        assert stream.event()["id"] == id
        stream.close()


def test_the_query_narrows_the_grants_and_nothing_widens_them(make_app: MakeApp) -> None:
    app = closed(make_app)
    stream = AppStream(get(app, sign(sub="ann"), "event_type=order.*&entity_id=ann,bob"))
    stream.frame()
    publish(app, event("order.new", "bob"), event("user.new", "ann"), event("order.new", "ann"))
    assert stream.event()["id"] == 3
    stream.close()
    for query in ("entity_id=bob", "entity_id=", "entity_id=*"):
        response = get(app, sign(sub="ann"), query, method="HEAD")
        assert response.status_code == (200 if query == "entity_id=" else 403)


def test_what_is_not_granted_is_a_403_that_says_what_is(make_app: MakeApp) -> None:
    app = closed(make_app)
    response = get(app, ORDERS, "event_type=user.*")
    assert response.status_code == 403
    assert reason(response) == "insufficient_scope"
    assert response.headers["WWW-Authenticate"] == 'Bearer error="insufficient_scope"'
    body = response.get_json()
    assert body["asked"] == "event_type=user.*"
    assert body["granted"] == "event_type=order.*&source=shop"
    assert get(app, OTHER).get_json()["granted"] == "nothing"
    # It may publish everything, and read nothing.
    assert get(app, "an-ingest-token").status_code == 403
    # The sink's match has no part in it: that stream is empty.
    app = closed(make_app, match="user.*")
    assert get(app, ORDERS, method="HEAD").status_code == 200


def test_first_the_token_then_the_query(make_app: MakeApp) -> None:
    app = closed(make_app)
    assert get(app, "", "event_type=*.x").status_code == 401
    assert get(app, ORDERS, "event_type=*.x").status_code == 400


@pytest.fixture(params=["sqlite", "redis"])
def replaying(request: pytest.FixtureRequest, make_app: MakeApp) -> Flask:
    """Return an app whose closed sink replays, over each kind of log."""
    database = {}
    if request.param == "redis":
        server = request.getfixturevalue("redis_server")
        database["database"] = {"url": f"redis://127.0.0.1:{server.port}/0"}
    sink = {"type": "sse", "access": "token", "replay": True}
    return make_app(sink={"inbox": sink, "open": {"type": "sse"}}, access=ACCESS, **database)


def test_replay_sends_an_event_once_and_does_not_count_what_is_gone(replaying: Flask) -> None:
    app = replaying
    publish(app, event("order.new", "ann", "shop"), event("x", "bob"), event("x", "ann"))
    own = {"subscribe": [{"sink": "inbox", "event_type": "order.*"}, {"source": "shop"}]}
    stream = AppStream(get(app, sign(sub="ann", sse=own), headers={"Last-Event-ID": "0"}))
    stream.frame()
    assert [stream.event()["id"] for _ in range(2)] == [1, 3]
    stream.close()
    stream = AppStream(get(app, ORDERS, headers={"Last-Event-ID": "77"}))
    stream.frame()
    missed = stream.next()
    assert json.loads(missed.data.partition(" ")[2])["count"] is None
    stream.close()


def test_signals_and_the_access_log_name_the_reader(
    make_app: MakeApp, caplog: pytest.LogCaptureFixture
) -> None:
    app = closed(make_app)
    seen: list[tuple[str, Any, Any]] = []

    def connected(sender: Flask, client: Any, **_: object) -> None:
        seen.append((client.name, client.identity.subject, client.expires_at))

    client_connected.connect(connected, sender=app)
    caplog.set_level(logging.INFO, "flask_sse_sink.access")
    token = sign(sub="ann smith\n[x] -", sse={"subscribe": [{}]})
    for each in (ORDERS, token):
        stream = AppStream(get(app, each))
        stream.frame()
        stream.close()
    assert seen[0] == ("the shop", "the shop", None)
    assert seen[1][:2] == ("ann smith\n[x] -",) * 2 and seen[1][2] > 0
    lines = [record.getMessage() for record in caplog.records]
    assert lines[0].startswith("127.0.0.1 - the%20shop [")
    assert lines[2].startswith("127.0.0.1 - ann%20smith%0A%5Bx%5D%20- [")
    assert not any(secret in line for line in lines for secret in (ORDERS, token))


def test_refusals_are_logged_once_a_second_each_without_the_token(
    make_app: MakeApp, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1e6]
    monkeypatch.setattr(web_access, "throttle", Throttle(lambda: now[0]))
    app = closed(make_app)
    for _ in range(3):
        get(app, "a-wrong-secret")
        get(app)
    now[0] += 1
    get(app)
    lines = [r.getMessage() for r in caplog.records if r.name == "flask_sse_sink.web.access"]
    assert [line.partition("(")[2].partition(")")[0] for line in lines] == [
        "malformed",
        "missing",
        "missing",
    ]
    assert "a-wrong-secret" not in caplog.text


def test_a_sink_with_nothing_configured_answers_401_and_warns(
    make_app: MakeApp, caplog: pytest.LogCaptureFixture
) -> None:
    app = closed(make_app, access=None)
    assert "sink.inbox" in caplog.text
    assert reason(get(app)) == "missing"
    assert reason(get(app, sign())) == "wrong_issuer"


def test_check_prints_the_warnings(make_app: MakeApp) -> None:
    app = closed(make_app, access=None)
    result = app.test_cli_runner().invoke(sse, ["check"])
    assert result.exit_code == 0
    assert "Warning: sink.inbox" in result.stderr


def test_a_token_in_the_url_is_refused_also_beside_a_good_header(make_app: MakeApp) -> None:
    app = closed(make_app)
    for name in ("access_token", "token", "authorization"):
        response = get(app, ALL, f"{name}={ALL}")
        assert (response.status_code, reason(response)) == (401, "malformed")


def cookie(*tokens: str) -> str:
    return "; ".join(["a=b", *(f"sse_access_token={token}" for token in tokens), "c=d"])


def test_a_cookie_counts_for_a_get_of_our_own_pages(make_app: MakeApp) -> None:
    app = closed(make_app)
    headers = {"Cookie": cookie(ALL)}
    stream = AppStream(get(app, headers=headers))
    assert stream.response.status_code == 200
    stream.close()
    own = AppStream(get(app, headers={**headers, "Origin": "http://localhost"}))
    assert own.response.status_code == 200
    own.close()
    assert get(app, headers=headers, method="HEAD").status_code == 401
    assert reason(get(app, headers={**headers, "Origin": "null"})) == "missing"
    assert reason(get(app, headers={**headers, "Sec-Fetch-Site": "cross-site"})) == "missing"
    assert reason(get(app, headers={"Cookie": cookie(ALL, ALL)})) == "malformed"
    assert reason(get(app, headers={"Cookie": cookie(ALL) + ", " + cookie(ORDERS)})) == "malformed"
    assert reason(get(app, "wrong-token", headers=headers)) == "malformed"


@pytest.mark.parametrize("other", ["lang=\xff\xfe", 'lang="\\377"', "=;;"])
def test_a_cookie_of_odd_bytes_harms_no_other_credential(make_app: MakeApp, other: str) -> None:
    app = closed(make_app)
    for token, text in (("", f"{other}; {cookie(ALL)}"), (ALL, other)):
        stream = AppStream(get(app, token, headers={"Cookie": text}))
        assert stream.response.status_code == 200
        stream.close()
    assert reason(get(app, headers={"Cookie": other})) == "missing"
    assert reason(get(app, headers={"Cookie": cookie("\xff\xfe")})) == "malformed"


def test_without_a_cookies_name_none_counts(make_app: MakeApp) -> None:
    app = closed(make_app, access={**ACCESS, "cookie": ""})
    assert reason(get(app, headers={"Cookie": cookie(ALL)})) == "missing"


def test_two_authorization_headers_are_refused(make_app: MakeApp) -> None:
    app = closed(make_app)
    response = app.test_client().get(
        "/inbox/", headers=[("Authorization", f"Bearer {ALL}"), ("Authorization", f"Bearer {ALL}")]
    )
    assert response.status_code == 401


def test_pages_of_other_origins_may_send_cookies_and_read_refusals(make_app: MakeApp) -> None:
    app = closed(make_app, cors_origins=[PAGE], cors_credentials=True)
    page = {"Origin": PAGE, "Sec-Fetch-Site": "cross-site"}
    stream = AppStream(get(app, headers={**page, "Cookie": cookie(ALL)}))
    responses = [
        stream.response,
        get(app, headers=page),
        get(app, ORDERS, "event_type=x", headers=page),
        get(app, ORDERS, "event_type=*.x", headers=page),
    ]
    stream.close()
    assert [response.status_code for response in responses] == [200, 401, 403, 400]
    for response in responses:
        assert response.headers["Access-Control-Allow-Origin"] == PAGE
        assert response.headers["Access-Control-Allow-Credentials"] == "true"
        assert "Origin" in response.headers["Vary"]
        assert "WWW-Authenticate" in response.headers["Access-Control-Expose-Headers"]
    other = get(app, headers={"Origin": f"{PAGE}.evil.example", "Cookie": cookie(ALL)})
    assert reason(other) == "missing"
    assert "Access-Control-Allow-Origin" not in other.headers
    assert "Origin" in other.headers["Vary"]


@pytest.mark.parametrize("credentials", [True, False])
def test_a_preflight_allows_the_headers_of_a_stream(make_app: MakeApp, credentials: bool) -> None:
    app = closed(make_app, cors_origins=[PAGE], cors_credentials=credentials)
    wanted = "authorization, last-event-id"
    response = get(
        app,
        method="OPTIONS",
        headers={
            "Origin": PAGE,
            "Access-Control-Request-Method": "GET",
            "Access-Control-Request-Headers": wanted,
        },
    )
    assert response.status_code == 200
    allowed = response.headers["Access-Control-Allow-Headers"].lower().split(", ")
    assert sorted(allowed) == ["authorization", "last-event-id"]
    assert "GET" in response.headers["Access-Control-Allow-Methods"]
    assert response.headers["Access-Control-Allow-Origin"] == PAGE
    assert response.headers.get("Access-Control-Allow-Credentials") == (
        "true" if credentials else None
    )
    assert "Origin" in response.headers["Vary"]


def test_while_an_issuers_keys_are_away_an_event_source_comes_back(make_app: MakeApp) -> None:
    with jwks_server(rsa_key("a")) as issuer:
        entry = {"issuer": NAME, "audience": AUDIENCE, "jwks": issuer.url, "subscribe": [{}]}
        app = closed(make_app, access={"issuers": [entry]})
        token = sign(rsa_key("a"), "RS256", "a")
        issuer.status = 500
        response = get(app, token)
        assert (response.status_code, reason(response)) == (503, "unavailable")
        assert int(response.headers["Retry-After"]) >= 1
        busy = get(app, token, headers={"Accept": "text/event-stream"})
        assert busy.get_data().startswith(b"event: info\ndata: busy\n")
        assert get(app, token, method="HEAD").status_code == 503
        response = post(app, event("x"), token)
        assert (response.status_code, reason(response)) == (503, "unavailable")
        # A token that is wrong by itself asks nobody.
        asked = issuer.requests
        assert reason(get(app, sign(iss="x"))) == "wrong_issuer"
        assert issuer.requests == asked


def test_a_rotated_key_opens_a_stream_at_once(make_app: MakeApp) -> None:
    with jwks_server(rsa_key("a")) as issuer:
        entry = {"issuer": NAME, "audience": AUDIENCE, "jwks": issuer.url, "subscribe": [{}]}
        app = closed(make_app, access={"issuers": [entry]})
        for kid in ("a", "b"):
            issuer.document = key_set(rsa_key(kid))
            token = sign(rsa_key(kid), "RS256", kid)
            assert get(app, token, method="HEAD").status_code == 200
        assert reason(get(app, sign(rsa_key("b"), "RS256", "c"))) == "unknown_key"
        assert issuer.requests == 2


def test_publishers_publish_what_they_are_granted(make_app: MakeApp) -> None:
    app = closed(make_app)
    assert post(app, event("anything"), ALL).status_code == 201
    assert post(app, event("anything"), "an-ingest-token").status_code == 201
    assert post(app, event("order.new", source="shop"), ORDERS).status_code == 201
    own = {"publish": [{"entity_id": "ann"}]}
    assert post(app, event("x", "ann"), sign(sse=own)).status_code == 201
    assert post(app, event("x", "bob"), sign(sse=own)).status_code == 403
    assert post(app, event("x"), sign(sse=own)).status_code == 403


def test_an_event_without_a_source_gets_that_of_the_publisher(make_app: MakeApp) -> None:
    app = closed(make_app)
    assert post(app, [event("order.new")] * 2, ORDERS).status_code == 201
    line = json.dumps(event("order.new")).encode()
    headers = {"Authorization": f"Bearer {ORDERS}", "Content-Type": "application/x-ndjson"}
    assert app.test_client().post("/ingest", data=line, headers=headers).status_code == 201
    assert post(app, event("order.new"), ALL).status_code == 201
    sources = [decode_envelope(line).source.name for _, line in runtime_of(app).log.read(0, 9)]
    assert sources == ["shop", "shop", "shop", "default"]


def test_a_batch_with_one_event_that_is_not_granted_is_refused_whole(make_app: MakeApp) -> None:
    app = closed(make_app)
    batch = [event("order.new"), event("user.new"), event("order.new", source="till")]
    response = post(app, batch, ORDERS)
    assert response.status_code == 403
    assert reason(response) == "insufficient_scope"
    body = response.get_json()
    assert [error["loc"] for error in body["errors"]] == ["[1]", "[2]"]
    assert "event_type=user.new&source=shop" in body["errors"][0]["msg"]
    assert "2 of 3" in body["asked"]
    assert body["granted"] == "event_type=order.*&source=shop"
    assert runtime_of(app).log.head() == 0


def test_who_may_publish_nothing_is_refused_before_the_body_is_read(make_app: MakeApp) -> None:
    app = closed(make_app)
    response = app.test_client().post(
        "/ingest", data=b"nothing", headers={"Authorization": f"Bearer {OTHER}"}
    )
    assert response.status_code == 403
    assert response.get_json()["granted"] == "nothing"


def test_cookies_and_the_url_never_publish(make_app: MakeApp) -> None:
    app = closed(make_app)
    client = app.test_client(use_cookies=False)
    for path, headers in (
        ("/ingest", {"Cookie": cookie(ALL)}),
        (f"/ingest?access_token={ALL}", {}),
        (f"/ingest?ticket={ALL}", {}),
    ):
        response = client.post(path, json=event("x"), headers=headers)
        assert (response.status_code, reason(response)) == (401, "missing")


def test_ingest_without_auth_ignores_tokens(make_app: MakeApp) -> None:
    tokens = [{"token": ORDERS, "name": "a", "publish": [{"event_type": "order.*"}]}]
    app = make_app(access={"tokens": tokens}, ingest={"auth": "none"})
    assert post(app, event("user.new"), ORDERS).status_code == 201
    assert post(app, event("user.new"), "nobodys-token").status_code == 201
