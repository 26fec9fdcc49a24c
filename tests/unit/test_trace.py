"""The trace of a request, noted in its events."""

from __future__ import annotations

import json
from typing import Any

import pytest
from flask import Flask
from hypothesis import given
from hypothesis import strategies as st

from flask_sse_sink.extension import runtime_of
from flask_sse_sink.web import trace
from support.apps import MakeApp
from support.cloudevents import BATCH, STRUCTURED, least, post, post_binary

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
STATE = "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"


def metas(app: Flask) -> list[dict[str, Any]]:
    return [json.loads(envelope)["meta"] for _, envelope in runtime_of(app).log.read(0, 100)]


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        ({"event_type": "a"}, "application/json"),
        ([{"event_type": "a"}, {"event_type": "b", "meta": {"x": 1}}], "application/json"),
        (b'{"event_type": "a"}\n{"event_type": "b"}', "application/x-ndjson"),
        (least(data=1), STRUCTURED),
        ([least(data=1), least(id="2", data=1, ext="x")], BATCH),
    ],
    ids=["one", "array", "lines", "structured", "batch"],
)
def test_each_event_has_the_trace_of_its_request(
    make_app: MakeApp, body: object, content_type: str
) -> None:
    app = make_app(ingest={"trace": True})
    headers = {"traceparent": PARENT, "tracestate": STATE}
    assert post(app, body, content_type, headers).status_code == 201
    for meta in metas(app):
        assert (meta.pop("traceparent"), meta.pop("tracestate")) == (PARENT, STATE)
        assert meta in ({}, {"x": 1}, {"ext": "x"})


def test_a_trace_is_ignored_unless_the_setting_asks_for_it(make_app: MakeApp) -> None:
    app = make_app()
    post(app, {"event_type": "a"}, "application/json", {"traceparent": PARENT})
    assert metas(app) == [{}]


@pytest.mark.parametrize(
    "meta", [{"traceparent": "mine"}, {"tracestate": "mine"}, {"traceparent": 5, "x": 1}]
)
def test_a_trace_of_the_events_own_is_kept(make_app: MakeApp, meta: dict[str, Any]) -> None:
    app = make_app(ingest={"trace": True})
    headers = {"traceparent": PARENT, "tracestate": STATE}
    post(app, {"event_type": "a", "meta": meta}, "application/json", headers)
    assert metas(app) == [meta]


def test_the_extension_wins_over_the_header(make_app: MakeApp) -> None:
    app = make_app(ingest={"trace": True})
    other = PARENT.replace("b7ad", "c7ad")
    post(app, least(data=1, traceparent=other), headers={"traceparent": PARENT})
    post_binary(app, b"1", id="2", traceparent=other)
    assert [meta["traceparent"] for meta in metas(app)] == [other, other]


def test_a_malformed_trace_is_ignored_and_the_event_stored(make_app: MakeApp) -> None:
    app = make_app(ingest={"trace": True})
    for headers in (
        {"traceparent": "nonsense", "tracestate": STATE},
        {"tracestate": STATE},
        {"traceparent": PARENT, "tracestate": "é=1"},
    ):
        assert post(app, {"event_type": "a"}, "application/json", headers).status_code == 201
    assert metas(app) == [{}, {}, {"traceparent": PARENT}]


@pytest.mark.parametrize(
    "text",
    [
        PARENT,
        PARENT.replace("00-", "cc-"),
        PARENT.replace("00-", "01-") + "-what-is.later",
        PARENT.replace("00-", "01-") + "-",
        PARENT.replace("-01", "-ff"),
        f" {PARENT}\t",
    ],
)
def test_these_parents_are_taken(text: str) -> None:
    assert trace.of_headers(text, None) == {"traceparent": text.strip()}


@pytest.mark.parametrize(
    "text",
    [
        "",
        PARENT.upper(),
        PARENT.replace("00-", "ff-"),
        PARENT + "-x",
        PARENT + "-",
        PARENT[:-1],
        PARENT[1:],
        PARENT.replace("-", "_"),
        "00-" + "0" * 32 + "-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-" + "0" * 16 + "-01",
        f"{PARENT},{PARENT}",
        f"{PARENT}, {PARENT}",
        PARENT.replace("00-", "01-") + "x",
        PARENT.replace("00-", "01-") + "-" + "x" * 300,
        PARENT + "\n",
        PARENT.replace("0af7", "\u0660af7"),
        PARENT.replace("0af7", "0ag7"),
    ],
)
def test_these_parents_are_malformed(text: str) -> None:
    assert trace.of_headers(text, STATE) == {}


@pytest.mark.parametrize(
    "text",
    [
        "a=1",
        "a=1, b=2",
        "a=1,,b=2",
        "1a@b=x y",
        "a_-*/=!",
        "a=" + "x" * 256,
        ",".join(f"k{n}=v" for n in range(32)),
        "a=1,A=1".lower().replace("a=1,a", "a=1,b"),
    ],
)
def test_these_states_are_taken(text: str) -> None:
    assert trace.is_state(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ",",
        "a",
        "a=",
        "=1",
        "A=1",
        "a =1",
        "a=b=c",
        "a=é",
        "a=\x01",
        "a=" + "x" * 257,
        "a=1,a=2",
        "1a=1",
        "a@1b=1",
        "a" * 257 + "=1",
        ",".join(f"k{n}=v" for n in range(33)),
        ",".join(f"k{n}={'v' * 20}" for n in range(30)),
    ],
)
def test_these_states_are_malformed(text: str) -> None:
    assert not trace.is_state(text)


@given(st.text(st.characters(max_codepoint=255)), st.text(st.characters(max_codepoint=255)))
def test_no_header_makes_it_fail(parent: str, state: str) -> None:
    assert trace.of_headers(parent, state) in ({}, {"traceparent": parent.strip(" \t")})
    found = trace.of_headers(PARENT, state)
    assert found["traceparent"] == PARENT
    assert found.get("tracestate", state.strip(" \t")) == state.strip(" \t")
