"""Who may extract from a pulled sink, and confirm, in an app."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from flask_sse_sink import Grants, revoking
from flask_sse_sink.access.app import AppAuthorizer
from flask_sse_sink.extension import runtime_of
from flask_sse_sink.submission import new_event
from support.apps import MakeApp
from support.issuer import AUDIENCE, NAME, SECRET, sign
from support.waiting import wait_until

ALL = "all-of-everything"
ORDERS = "orders-of-the-shop"
OTHER = "another-sinks-token"
ACCESS = {
    "secret": "a-secret-of-the-tests-with-32-bytes-and-more",
    "tokens": [
        {"token": ALL, "name": "all", "subscribe": [{}]},
        {
            "token": ORDERS,
            "name": "the-shop",
            "subscribe": [{"sink": "warehouse", "event_type": "order.*", "source": "shop"}],
        },
        {"token": OTHER, "name": "other", "subscribe": [{"sink": "another"}]},
    ],
    "issuers": [
        {
            "issuer": NAME,
            "audience": AUDIENCE,
            "key": SECRET,
            "algorithms": ["HS256"],
            "subscribe": [{"sink": "warehouse", "entity_id": "{sub}"}],
        }
    ],
}
PULL = {"type": "http_pull", "lease": 60, "max_attempts": 1}
# Event 3 is outside the grants of `ORDERS`, and events 1 and 3 are of ann.
EVENTS = (
    ("order.new", "ann", "shop"),
    ("order.new", "bob", "shop"),
    ("user.new", "ann", "shop"),
)
GET_PATHS = ("/warehouse/extract", "/warehouse/dead")
POST_PATHS = (
    "/warehouse/mark-processed?batch_id=1001",
    "/warehouse/extend?batch_id=1001&lease=60",
    "/warehouse/release?batch_id=1001",
    "/warehouse/dead/retry",
)
PATHS = [("GET", path) for path in GET_PATHS] + [("POST", path) for path in POST_PATHS]


@pytest.fixture
def app(make_app: MakeApp) -> Flask:
    app = make_app(sink={"warehouse": PULL, "another": PULL}, access=ACCESS)
    runtime_of(app).publish(
        [new_event(type, entity_id=entity, source=source) for type, entity, source in EVENTS]
    )
    return app


def ask(
    app: Flask, method: str, path: str, token: str = "", json: Any = None, **headers: str
) -> TestResponse:
    if token:
        headers["Authorization"] = f"Bearer {token}"
    client = app.test_client(use_cookies=False)
    answer = client.open(path, method=method, headers=headers, json=json)
    assert answer.headers["Cache-Control"] == "no-store"
    return answer


def extract(app: Flask, token: str, query: str = "") -> Any:
    answer = ask(app, "GET", f"/warehouse/extract?{query}", token)
    assert answer.status_code == 200, answer.text
    return answer.json


def ids(batch: Any) -> list[int]:
    return [event["id"] for event in batch["events"]]


def reason(answer: TestResponse, status: int) -> str:
    body: Any = answer.json
    assert (answer.status_code, body["status"]) == (status, status), answer.text
    assert answer.content_type == "application/problem+json"
    error = {401: "invalid_token", 403: "insufficient_scope"}[status]
    assert answer.headers["WWW-Authenticate"].startswith(f'Bearer error="{error}"')
    return str(body["reason"])


@pytest.mark.parametrize(("method", "path"), PATHS)
def test_every_endpoint_wants_a_token(app: Flask, method: str, path: str) -> None:
    assert reason(ask(app, method, path), 401) == "missing"
    assert reason(ask(app, method, path, "no-such-token"), 401) == "malformed"
    assert reason(ask(app, method, path, OTHER), 403) == "insufficient_scope"
    separator = "&" if "?" in path else "?"
    with_token = f"{path}{separator}token={ALL}"
    assert reason(ask(app, method, with_token), 401) == "malformed"
    assert reason(ask(app, method, with_token, ALL), 401) == "malformed"
    cookie = {"Cookie": f"sse_access_token={ALL}"}
    assert reason(ask(app, method, path, **cookie), 401) == "missing"
    assert ids(extract(app, ALL)) == [1, 2, 3]


def test_a_ticket_opens_no_pulled_sink(make_app: MakeApp) -> None:
    inbox = {"type": "sse", "access": "token"}
    sinks = {"warehouse": PULL, "another": PULL, "inbox": inbox}
    app = make_app(sink=sinks, access=ACCESS)
    made = ask(app, "POST", "/tickets", ALL, {"sink": "inbox"})
    assert made.status_code == 200, made.text
    ticket = made.get_json()["ticket"]
    assert reason(ask(app, "GET", f"/warehouse/extract?ticket={ticket}"), 401) == "missing"
    assert ask(app, "POST", "/tickets", ALL, {"sink": "warehouse"}).status_code == 422


def test_what_the_app_says_of_its_users_does_not_count(app: Flask) -> None:
    users = AppAuthorizer()
    users.set(lambda sink: Grants.of(subscribe=[{}]), None)
    runtime_of(app).access.authorizer = users
    assert reason(ask(app, "GET", "/warehouse/extract"), 401) == "missing"
    assert ids(extract(app, ORDERS)) == [1, 2]


def test_a_token_extracts_what_its_grants_cover(app: Flask) -> None:
    assert ids(extract(app, ORDERS, "lease=0")) == [1, 2]
    assert ids(extract(app, ORDERS, "lease=0&entity_id=bob")) == [2]
    assert ids(extract(app, ORDERS, "lease=0&event_type=order.new,user.new")) == [1, 2]
    assert ids(extract(app, sign(sub="ann"), "lease=0")) == [1, 3]
    assert ids(extract(app, sign(sub="*"), "lease=0")) == []
    assert ids(extract(app, ALL, "lease=0")) == [1, 2, 3]
    batch = extract(app, ORDERS, "batch_size=1")
    assert (ids(batch), batch["remaining_events"]) == ([1], 1)
    path = f"/warehouse/mark-processed?batch_id={batch['batch_id']}"
    assert ask(app, "POST", path, ORDERS).get_json()["marked_count"] == 1


def test_a_query_outside_the_grants_is_refused_as_that_of_a_stream(app: Flask) -> None:
    for query in ("event_type=user.new", "source=till", "wait=30&event_type=user.*"):
        answer = ask(app, "GET", f"/warehouse/extract?{query}", ORDERS)
        assert reason(answer, 403) == "insufficient_scope"
        body: Any = answer.json
        assert body["title"] == "Not granted"
        assert query.rpartition("&")[2] in body["asked"]
        assert body["granted"] == "event_type=order.*&source=shop"


@pytest.mark.parametrize("path", POST_PATHS[:3])
@pytest.mark.parametrize("body", [None, {"ids": [1]}])
def test_a_batch_with_an_event_outside_the_grants_stays_as_it_is(
    app: Flask, path: str, body: Any
) -> None:
    batch = extract(app, ALL)["batch_id"]
    path = path.replace("1001", str(batch)) + "&missed=1"
    answer = ask(app, "POST", path, ORDERS, body)
    assert reason(answer, 403) == "insufficient_scope"
    problem: Any = answer.json
    assert problem["asked"] == f"batch_id={batch}"
    assert problem["granted"] == "event_type=order.*&source=shop"
    assert ids(extract(app, ALL)) == []
    confirm = f"/warehouse/mark-processed?batch_id={batch}"
    assert ask(app, "POST", confirm, ALL).get_json()["marked_count"] == 3


def test_dead_letters_outside_the_grants_are_neither_shown_nor_freed(app: Flask) -> None:
    batch = extract(app, ALL)["batch_id"]
    ask(app, "POST", f"/warehouse/release?batch_id={batch}", ALL)
    assert ids(ask(app, "GET", "/warehouse/dead", ORDERS).json) == [1, 2]
    answer = ask(app, "POST", "/warehouse/dead/retry", ORDERS, {"ids": [2, 3]})
    assert reason(answer, 403) == "insufficient_scope"
    assert answer.get_json()["asked"] == "dead letters"
    assert ids(ask(app, "GET", "/warehouse/dead", ALL).json) == [1, 2, 3]
    freed = ask(app, "POST", "/warehouse/dead/retry", ORDERS)
    assert freed.get_json()["retried_count"] == 2
    assert ids(ask(app, "GET", "/warehouse/dead", ALL).json) == [3]


def test_a_refused_confirmation_leaves_the_report_of_missed_events(app: Flask) -> None:
    runtime = runtime_of(app)
    runtime.log.prune(0, 500, 1, before_prune=runtime.sinks["warehouse"].before_prune)
    reply = extract(app, ALL)
    batch, missed = reply["batch_id"], reply["missed"]["id"]
    assert ids(reply) == [3]
    path = f"/warehouse/mark-processed?batch_id={batch}&missed={missed}"
    assert ask(app, "POST", path, ORDERS).status_code == 403
    assert ask(app, "POST", path.replace(str(batch), "7"), ALL).status_code == 404
    assert extract(app, ALL)["missed"]["id"] == missed
    assert ask(app, "POST", path, ALL).status_code == 200
    assert "missed" not in extract(app, ALL)


def test_a_revoked_token_is_refused(app: Flask) -> None:
    batch = extract(app, ORDERS)["batch_id"]
    revoking.revoke(runtime_of(app), "the-shop", None)
    path = f"/warehouse/mark-processed?batch_id={batch}"
    wait_until(lambda: ask(app, "POST", path, ORDERS).status_code == 401, "it is refused")
    assert reason(ask(app, "POST", path, ORDERS), 401) == "revoked"
    assert reason(ask(app, "GET", "/warehouse/extract", ORDERS), 401) == "revoked"
    assert ask(app, "POST", path, ALL).get_json()["marked_count"] == 2


def test_a_token_that_is_revoked_during_a_wait_gets_nothing(app: Flask) -> None:
    extract(app, ALL)
    answers: list[TestResponse] = []
    path = "/warehouse/extract?wait=30"
    thread = threading.Thread(target=lambda: answers.append(ask(app, "GET", path, ORDERS)))
    thread.start()
    sink: Any = runtime_of(app).sinks["warehouse"]
    wait_until(lambda: sink.waiting == 1, "it waits")
    revoking.revoke(runtime_of(app), "the-shop", None)
    wait_until(
        lambda: ask(app, "GET", "/warehouse/dead", ORDERS).status_code == 401, "it is refused"
    )
    runtime_of(app).publish([new_event("order.new", source="shop")])
    thread.join(10)
    assert reason(answers[0], 401) == "revoked"
    assert ids(extract(app, ALL)) == [4]


def test_head_and_every_error_are_answered_with_no_store(app: Flask) -> None:
    answer = ask(app, "HEAD", "/warehouse/extract", ALL)
    assert (answer.status_code, answer.headers["Allow"]) == (405, "GET, OPTIONS")
    assert ask(app, "GET", "/warehouse/extract?wait=61", ALL).status_code == 400
    assert ask(app, "POST", "/warehouse/release?batch_id=7", ALL).status_code == 404
    assert ask(app, "POST", "/warehouse/dead/retry", ALL, {"ids": [1]}).status_code == 200
