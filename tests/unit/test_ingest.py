"""Events come in over HTTP."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import tracemalloc
import zlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from flask import Flask
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from werkzeug.test import TestResponse

from flask_sse_sink import metrics
from flask_sse_sink.extension import runtime_of
from support.apps import Listen, MakeApp
from support.examples import at_most

ONE = b'{"event_type": "a"}'
NDJSON = "application/x-ndjson"


def post(
    app: Flask, body: bytes, content_type: str | None = "application/json", **headers: str
) -> TestResponse:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return app.test_client().post("/ingest", data=body, content_type=content_type, headers=sent)


def refusal(response: TestResponse, status: int) -> dict[str, Any]:
    """Return the body of a refusal, whose shape is right."""
    assert response.status_code == status
    assert response.content_type == "application/problem+json"
    body: dict[str, Any] = json.loads(response.data)
    assert list(body) == ["type", "title", "status", "detail", "errors"]
    assert (body["type"], body["status"]) == ("about:blank", status)
    assert body["title"]
    assert body["detail"]
    assert all(list(error) == ["loc", "msg"] for error in body["errors"])
    return body


def locs(body: dict[str, Any]) -> list[str]:
    return [error["loc"] for error in body["errors"]]


def head(app: Flask) -> int:
    return runtime_of(app).log.head()


def test_a_single_event_is_stored(make_app: MakeApp) -> None:
    response = post(make_app(), ONE)
    assert response.status_code == 201
    assert response.content_type == "application/json"
    assert response.get_json() == {"accepted": 1, "duplicates": 0, "ids": [1]}


def test_an_array_is_stored_in_its_order(make_app: MakeApp, listen: Listen) -> None:
    app = make_app()
    stream = listen(app)
    body = b'[{"event_type": "a"}, {"event_type": "b"}]'
    assert post(app, body).get_json() == {"accepted": 2, "duplicates": 0, "ids": [1, 2]}
    assert stream.types(2) == ["a", "b"]


@pytest.mark.parametrize(
    "content_type", [NDJSON, "application/ndjson", NDJSON + "; charset=utf-8"]
)
def test_lines_are_stored_in_their_order(
    make_app: MakeApp, listen: Listen, content_type: str
) -> None:
    app = make_app()
    stream = listen(app)
    response = post(app, b'{"event_type": "a"}\r\n\n{"event_type": "b"}\n', content_type)
    assert (response.status_code, response.get_json()["ids"]) == (201, [1, 2])
    assert stream.types(2) == ["a", "b"]


def test_a_repeated_event_is_stored_once(make_app: MakeApp) -> None:
    app = make_app()
    body = b'{"event_type": "a", "event_id": "e", "source": "s"}'
    other = b'{"event_type": "a", "event_id": "e", "source": "t"}'
    assert post(app, body).status_code == 201
    again = post(app, body)
    assert again.status_code == 200
    assert again.get_json() == {"accepted": 0, "duplicates": 1, "ids": [1]}
    mixed = post(app, b"[%b, %b, %b]" % (body, other, other))
    assert mixed.status_code == 201
    assert mixed.get_json() == {"accepted": 1, "duplicates": 2, "ids": [1, 2, 2]}


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b'[{"event_type": "a"}, {"event_type": ""}]', "application/json"),
        (b'{"event_type": "a"}\n{"event_type": ""}', NDJSON),
    ],
)
def test_a_batch_is_stored_whole_or_not_at_all(
    make_app: MakeApp, body: bytes, content_type: str
) -> None:
    app = make_app()
    assert locs(refusal(post(app, body, content_type), 422)) == ["[1].event_type"]
    assert head(app) == 0


@pytest.mark.parametrize(
    ("body", "content_type", "expected"),
    [
        (b"", "application/json", [""]),
        (b"{", "application/json", [""]),
        (b"\xff", "application/json", [""]),
        (b"nonsense", "application/json", [""]),
        (ONE + b"\n{", NDJSON, ["[1]"]),
        (b'{"event_type": "a", "data": ' + b"[" * 100_000, "application/json", [""]),
        (b"[" * 100_000, "application/json", [""]),
        (b"[1,", "application/json", [""]),
    ],
)
def test_what_is_not_json_is_a_400(
    make_app: MakeApp, body: bytes, content_type: str, expected: list[str]
) -> None:
    assert locs(refusal(post(make_app(), body, content_type), 400)) == expected


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"1", [""]),
        (b"{}", [""]),
        (b'{"event_type": 1}', ["event_type"]),
        (b'{"event_type": "a..b"}', ["event_type"]),
        (b'{"event_type": "a", "meta": []}', ["meta"]),
        (b'{"event_type": "a", "occurred_at": "noon"}', ["occurred_at"]),
        (b'[{}, 1, {"event_type": "a", "event_id": ""}]', ["[0]", "[1]", "[2].event_id"]),
        (b"[]", []),
    ],
)
def test_what_is_no_event_is_a_422_that_says_where(
    make_app: MakeApp, body: bytes, expected: list[str]
) -> None:
    assert locs(refusal(post(make_app(), body), 422)) == expected


def test_an_empty_list_of_lines_is_a_422(make_app: MakeApp) -> None:
    refusal(post(make_app(), b"\n\n", NDJSON), 422)


@pytest.mark.parametrize("content_type", [None, "", "text/plain", "multipart/form-data"])
def test_another_content_type_is_a_415(make_app: MakeApp, content_type: str | None) -> None:
    response = post(make_app(), ONE, content_type)
    refusal(response, 415)
    assert "application/json" in response.headers["Accept"]


def test_another_encoding_is_a_415(make_app: MakeApp) -> None:
    response = post(make_app(), ONE, Content_Encoding="br")
    refusal(response, 415)
    assert response.headers["Accept-Encoding"] == "gzip"


def test_a_body_of_just_the_limit_is_taken_and_one_byte_more_is_not(make_app: MakeApp) -> None:
    app = make_app(ingest={"max_body": 100})
    assert post(app, ONE.ljust(100)).status_code == 201
    assert post(app, gzip.compress(ONE.ljust(100)), Content_Encoding="gzip").status_code == 201
    refusal(post(app, ONE.ljust(101)), 413)
    refusal(post(app, gzip.compress(ONE.ljust(101)), Content_Encoding="gzip"), 413)


def test_a_batch_of_just_the_limit_is_taken_and_one_event_more_is_not(make_app: MakeApp) -> None:
    app = make_app(ingest={"max_batch": 2})
    assert post(app, b"\n".join([ONE] * 2), NDJSON).status_code == 201
    body = refusal(post(app, b"\n".join([ONE] * 3), NDJSON), 413)
    assert "ingest.max_batch" in body["detail"]
    assert head(app) == 2


def test_a_log_that_is_away_is_a_503(make_app: MakeApp, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    response = post(make_app(database={"url": f"sqlite:///{tmp_path}/file/x.db"}), ONE)
    assert refusal(response, 503)["detail"] == "the event log can't be opened"
    assert response.headers["Retry-After"] == "2"


@pytest.mark.parametrize(
    "token", ["Bearer first-token", "bearer second-token", "BEARER  third-token"]
)
def test_each_token_lets_in(make_app: MakeApp, token: str) -> None:
    app = make_app(ingest={"tokens": ["first-token", "second-token", "third-token"]})
    assert post(app, ONE, Authorization=token).status_code == 201


@pytest.mark.parametrize(
    "sent", [None, "", "Bearer", "Bearer wrong", "Basic first-token", "first-token", "Bearer é"]
)
def test_a_wrong_or_missing_token_is_a_401(make_app: MakeApp, sent: str | None) -> None:
    app = make_app(ingest={"tokens": ["first-token"]})
    response = post(app, b"{", **({} if sent is None else {"Authorization": sent}))
    assert "ingest.tokens" in refusal(response, 401)["detail"]
    assert response.headers["WWW-Authenticate"] == "Bearer"
    assert "first-token" not in response.text
    assert head(app) == 0


@pytest.mark.parametrize("sent", ["Bearer ", "Bearer anything", ""])
def test_without_tokens_nobody_is_let_in(make_app: MakeApp, sent: str) -> None:
    app = make_app(ingest={"auth": "token"})
    assert "no token is configured" in refusal(post(app, ONE, Authorization=sent), 401)["detail"]


def test_every_token_is_compared_in_constant_time(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[bytes] = []

    def compare(sent: bytes, token: bytes) -> bool:
        compared.append(token)
        return sent == token

    spy = SimpleNamespace(compare_digest=compare)
    monkeypatch.setattr("flask_sse_sink.access.tokens.hmac", spy)
    app = make_app(ingest={"tokens": ["first-token", "second-token"]})
    assert post(app, ONE, Authorization="Bearer first-token").status_code == 201
    tokens = [b"first-token", b"second-token"]
    assert compared == [hashlib.sha256(token).digest() for token in tokens]


@pytest.mark.parametrize("coding", ["gzip", "x-gzip", " GZIP "])
def test_gzip_is_unpacked(make_app: MakeApp, coding: str) -> None:
    assert post(make_app(), gzip.compress(ONE), Content_Encoding=coding).status_code == 201


def test_gzip_of_several_members_is_unpacked_whole(make_app: MakeApp) -> None:
    body = gzip.compress(ONE + b"\n") + gzip.compress(b"") + gzip.compress(ONE)
    response = post(make_app(), body, NDJSON, Content_Encoding="gzip")
    assert response.get_json()["ids"] == [1, 2]


@pytest.mark.parametrize(
    "body",
    [
        gzip.compress(ONE, mtime=0)[:-1],
        gzip.compress(ONE, mtime=0)[:12],
        gzip.compress(ONE, mtime=0) + b"rest",
        zlib.compress(ONE),
        ONE,
    ],
)
def test_broken_gzip_is_a_400(make_app: MakeApp, body: bytes) -> None:
    refusal(post(make_app(), body, Content_Encoding="gzip"), 400)


def test_a_gzip_bomb_is_refused_before_it_takes_memory(make_app: MakeApp) -> None:
    app = make_app(ingest={"max_body": "1MiB"})
    packer = zlib.compressobj(9, wbits=31)
    body = b"".join(packer.compress(bytes(2**20)) for _ in range(100)) + packer.flush()
    assert len(body) < 2**20
    tracemalloc.start()
    try:
        refusal(post(app, body, Content_Encoding="gzip"), 413)
        assert tracemalloc.get_traced_memory()[1] < 8 * 2**20
    finally:
        tracemalloc.stop()


def test_many_faults_are_not_all_listed(make_app: MakeApp) -> None:
    body = refusal(post(make_app(), b"[" + b"1," * 5000 + b"1]"), 422)
    assert len(body["errors"]) == 100


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.sampled_from(
    ["event_type", "event_id", "entity_id", "source", "data", "meta", "occurred_at", "other"]
)
EVENTS = st.builds(
    lambda extra, event: {**extra, **event},
    st.fixed_dictionaries({"event_type": st.just("a")}),
    st.dictionaries(FIELDS, JSON, max_size=3),
)
BODIES = (
    st.binary(max_size=200)
    | st.builds(lambda value: json.dumps(value).encode(), JSON | EVENTS | st.lists(EVENTS))
    | st.builds(lambda value: json.dumps(value).encode() + b"\n", EVENTS)
)


@settings(
    max_examples=at_most(150),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    BODIES,
    st.sampled_from(["application/json", NDJSON]) | st.sampled_from(["", "text/plain", "/", ";"]),
    st.sampled_from(["", "identity", "gzip", "x-gzip", "br", "gzip, gzip"]),
    st.booleans(),
)
@example(b'{"event_type": "a", "event_id": "\\ud800"}', "application/json", "", False)
@example(b'{"event_type": "a", "data": "\\ud800\\u0000"}', "application/json", "", False)
@example(b'{"event_type": "a", "meta": {"\\ud800": 1e999}}', "application/json", "", False)
@example(b'{"event_type": "a", "data": 1%b}' % (b"0" * 5000), "application/json", "", False)
@example(b'{"event_type": "a", "data": %b1%b}' % (b"[" * 200, b"]" * 200), NDJSON, "", False)
@example(b'{"event_type": "a", "source": "\xed\xa0\x80"}', "application/json", "", False)
def test_no_body_makes_the_server_fail(
    make_app: MakeApp, body: bytes, content_type: str, coding: str, packed: bool
) -> None:
    app = make_app()
    sent = gzip.compress(body) if packed else body
    response = post(app, sent, content_type, Content_Encoding=coding)
    assert response.status_code in (200, 201, 400, 413, 415, 422)
    assert "Traceback" not in response.text
    if response.status_code < 300:
        events = runtime_of(app).log.read(0, 1000)
        assert len(events) == response.get_json()["accepted"]
    else:
        refusal(response, response.status_code)
        assert head(app) == 0
    runtime_of(app).close()


@pytest.mark.parametrize("key", ["data", "meta"])
def test_no_depth_of_nesting_is_a_server_error(make_app: MakeApp, key: str) -> None:
    client = make_app().test_client()
    for depth in (*range(100, 900, 100), *range(940, 1010)):
        deep = '{"a":' * depth + "1" + "}" * depth
        body = f'{{"event_type":"a","{key}":{deep}}}'
        answer = client.post("/ingest", data=body, content_type="application/json")
        assert answer.status_code in (201, 400), (depth, answer.status_code)


def test_requests_that_publish_are_counted_by_their_status(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = make_app(ingest={"tokens": ["right-token"]})

    def counted() -> dict[str, float]:
        lines = metrics.expose("")[0].decode().splitlines()
        found = [re.match(r'sse_sink_ingest_seconds_count{status="(\d+)"} (.*)', n) for n in lines]
        return {each[1]: float(each[2]) for each in found if each}

    before = counted()

    def sent(body: bytes, token: str = "right-token") -> int:
        return post(app, body, Authorization=f"Bearer {token}").status_code

    event = json.dumps({"event_type": "a", "event_id": "1"}).encode()
    assert [sent(body) for body in (event, event, b"[", b"{}")] == [201, 200, 400, 422]
    assert sent(event, "wrong-token") == 401

    def fail(*_: object) -> None:
        raise RuntimeError("a mistake of ours")

    monkeypatch.setattr(runtime_of(app).log, "append", fail)
    assert sent(event) == 500
    after = counted()
    more = {status: count - before.get(status, 0) for status, count in after.items()}
    expected = dict.fromkeys(("200", "201", "400", "401", "422", "500"), 1)
    assert {status: count for status, count in more.items() if count} == expected
