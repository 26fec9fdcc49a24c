"""CloudEvents come in over HTTP, and go out of a sink as they came."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from flask import Flask
from hypothesis import example, given, settings
from hypothesis import strategies as st
from werkzeug.test import TestResponse

from flask_sse_sink import submission
from flask_sse_sink.cloudevents import binary, encoding, structured, syntax
from flask_sse_sink.event import Event, NewEvent, Source, decode_envelope
from flask_sse_sink.exceptions import InvalidEvent
from flask_sse_sink.extension import runtime_of
from support.apps import Listen, MakeApp
from support.cloudevents import (
    BATCH,
    LEAST,
    LEAST_HEADERS,
    STRUCTURED,
    errors,
    least,
    post,
    post_binary,
)
from support.examples import at_most
from support.stream import AppStream

CLOUD_SINKS = {
    "events_stream": {"type": "sse"},
    "cloud": {"type": "sse", "format": "cloudevents", "replay": True},
}


def stored(app: Flask) -> list[dict[str, Any]]:
    """Return the envelopes in the log."""
    return [json.loads(envelope) for _, envelope in runtime_of(app).log.read(0, 1000)]


def head(app: Flask) -> int:
    return runtime_of(app).log.head()


def message_data(frame: bytes) -> str:
    """Return the data of a message with one line of it."""
    event, id, data, *rest = frame.decode().split("\n")
    assert (event, rest) == ("event: message", ["", ""])
    assert id.startswith("id: ")
    assert data.startswith("data: ")
    return data.removeprefix("data: ")


def cloud_stream(app: Flask, query: str = "") -> AppStream:
    """Open a stream of CloudEvents, past its first frame."""
    stream = AppStream(app.test_client().get(f"/cloud/?{query}", buffered=False))
    assert b"data: connected" in stream.frame()
    return stream


def of(new: NewEvent) -> Event:
    """Return an event as the log gives it back."""
    stored = new.as_event(7, "2026-11-25T10:00:00+00:00", Source(1, new.source))
    return decode_envelope(msgspec.json.encode(stored))


def streamed(new: NewEvent) -> dict[str, Any]:
    """Return the event as a sink would stream it."""
    value: dict[str, Any] = json.loads(encoding.encode(of(new)))
    return value


# Structured mode.


@pytest.mark.parametrize(
    "content_type",
    [STRUCTURED, f"{STRUCTURED}; charset=UTF-8", "Application/CloudEvents+JSON;charset=utf-8"],
)
def test_a_structured_event_is_stored(make_app: MakeApp, content_type: str) -> None:
    app = make_app()
    sent = least(
        subject="s 1",
        time="2018-04-05T17:31:00.123456789+02:00",
        datacontenttype="application/json",
        dataschema="https://s.example/1",
        ext1="value",
        ext2=5,
        ext3=True,
        data={"n": 1},
    )
    response = post(app, sent, content_type)
    assert response.status_code == 201
    assert response.get_json() == {"accepted": 1, "duplicates": 0, "ids": [1]}
    (envelope,) = stored(app)
    assert envelope == {
        "id": 1,
        "event_id": "1",
        "event_type": "a.b",
        "entity_id": "s 1",
        "created_at": envelope["created_at"],
        "data": {"n": 1},
        "source": {"id": 1, "name": "/s"},
        "meta": {
            "time": "2018-04-05T17:31:00.123456789+02:00",
            "datacontenttype": "application/json",
            "dataschema": "https://s.example/1",
            "ext1": "value",
            "ext2": 5,
            "ext3": True,
        },
    }
    (record,) = runtime_of(app).log.records(0, 10)
    assert record.occurred_at == "2018-04-05T17:31:00.123456789+02:00"


def test_the_body_wins_over_headers(make_app: MakeApp) -> None:
    app = make_app()
    headers = {**LEAST_HEADERS, "ce-id": "of-the-header", "ce-ext": "%zz", "ce-specversion": "7"}
    assert post(app, LEAST, headers=headers).status_code == 201
    assert [(e["event_id"], e["meta"]) for e in stored(app)] == [("1", {"data_absent": True})]


def test_an_attribute_that_is_null_is_left_out(make_app: MakeApp) -> None:
    app = make_app()
    assert post(app, least(subject=None, time=None, ext=None, data=1)).status_code == 201
    assert [(e["entity_id"], e["meta"]) for e in stored(app)] == [(None, {})]
    assert list(errors(post(app, least(id=None, source=None)))) == ["id", "source"]


def test_numbers_keep_their_digits(make_app: MakeApp) -> None:
    app = make_app()
    number = "12345678901234567890.12345678901234567890e-400"
    body = json.dumps(LEAST)[:-1].encode() + b',"data": [%b, 1.50]}' % number.encode()
    assert post(app, body).status_code == 201
    post_binary(app, b" [%b , 1.50]" % number.encode(), "application/json", id="2")
    for _, envelope in runtime_of(app).log.read(0, 10):
        assert b'"data":[%b,1.50]' % number.encode() in envelope


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({"specversion": "0.3"}, "specversion"),
        ({"specversion": "1.0.2"}, "specversion"),
        ({"specversion": 1.0}, "specversion"),
        ({"id": ""}, "id"),
        ({"id": 1}, "id"),
        ({"id": "x" * 256}, "id"),
        ({"id": "a\nb"}, "id"),
        ({"source": ""}, "source"),
        ({"source": "web frontend"}, "source"),
        ({"source": "/ü"}, "source"),
        ({"source": "/" + "x" * 255}, "source"),
        ({"type": "a..b"}, "type"),
        ({"type": ".a"}, "type"),
        ({"type": ""}, "type"),
        ({"type": ["a"]}, "type"),
        ({"subject": ""}, "subject"),
        ({"subject": "x" * 256}, "subject"),
        ({"time": "noon"}, "time"),
        ({"time": 5}, "time"),
        ({"datacontenttype": "json"}, "datacontenttype"),
        ({"datacontenttype": True}, "datacontenttype"),
        ({"dataschema": "/relative"}, "dataschema"),
        ({"dataschema": "a:" + "b" * 2047}, "dataschema"),
        ({"datacontenttype": "a/" + "b" * 2047}, "datacontenttype"),
        ({"ext": {}}, "ext"),
        ({"ext": []}, "ext"),
        ({"ext": 1.5}, "ext"),
        ({"ext": 1e3}, "ext"),
        ({"ext": 2**31}, "ext"),
        ({"ext": 10**400}, "ext"),
        ({"ext": "\x7f"}, "ext"),
        ({"ext": "\ufffe"}, "ext"),
        ({"Ext": "a"}, "Ext"),
        ({"ext_1": "a"}, "ext_1"),
        ({"": "a"}, ""),
        ({"é" * 100: "a"}, "é" * 80),
        ({"data": 1, "data_base64": "YQ=="}, "data_base64"),
        ({"data": None, "data_base64": "YQ=="}, "data_base64"),
        ({"data_base64": "YQ"}, "data_base64"),
        ({"data_base64": 5}, "data_base64"),
        ({"data": {}, "datacontenttype": "text/xml"}, "data"),
    ],
    ids=lambda value: str(value)[:30] if isinstance(value, dict) else "",
)
def test_a_wrong_attribute_is_named(
    make_app: MakeApp, members: dict[str, Any], expected: str
) -> None:
    app = make_app()
    assert list(errors(post(app, least(**members)))) == [expected]
    assert list(errors(post(app, [LEAST, least(**members)], BATCH))) == [f"[1].{expected}"]
    assert head(app) == 0


def test_every_wrong_attribute_is_named_with_its_cure(make_app: MakeApp) -> None:
    found = errors(post(make_app(), {"specversion": "1.0", "type": "a..b", "Ext": "", "ext": {}}))
    assert sorted(found) == ["Ext", "ext", "id", "source", "type"]
    assert "specversion, id, source and type" in found["id"]
    assert "single dots" in found["type"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b'{"id": "\xff"}', 400),
        (json.dumps(LEAST).encode() + b"{}", 400),
        (b"[" * 100_000, 400),
        (b'{"data": ' + b"[" * 100_000, 400),
        (b"1", 422),
        (b"[]", 422),
        (b"null", 422),
        (json.dumps([LEAST]).encode(), 422),
    ],
    ids=str,
)
def test_what_is_no_structured_event(make_app: MakeApp, body: bytes, status: int) -> None:
    app = make_app()
    assert list(errors(post(app, body), status)) == [""]
    assert head(app) == 0


def test_a_structured_array_is_told_to_be_a_batch(make_app: MakeApp) -> None:
    assert BATCH in errors(post(make_app(), [LEAST]))[""]


@pytest.mark.parametrize(
    "content_type",
    [
        "application/cloudevents",
        "application/cloudevents+avro",
        "application/cloudevents+xml",
        "application/cloudevents-batch",
        "application/cloudevents-batch+avro",
        "application/cloudeventsfoo",
    ],
)
@pytest.mark.parametrize("headers", [{}, LEAST_HEADERS], ids=["bare", "with-headers"])
def test_another_format_is_a_415(
    make_app: MakeApp, content_type: str, headers: dict[str, str]
) -> None:
    response = post(make_app(), LEAST, content_type, headers)
    errors(response, 415)
    assert STRUCTURED in response.headers["Accept"]
    assert BATCH in response.headers["Accept"]


# Batch mode.


def test_a_batch_is_stored_in_its_order(make_app: MakeApp) -> None:
    app = make_app()
    batch = [least(id="1"), least(id="2", data=1), least(id="1")]
    assert post(app, batch, BATCH).get_json() == {"accepted": 2, "duplicates": 1, "ids": [1, 2, 1]}


def test_an_empty_batch_is_taken(make_app: MakeApp) -> None:
    app = make_app()
    response = post(app, [], BATCH)
    assert response.status_code == 200
    assert response.get_json() == {"accepted": 0, "duplicates": 0, "ids": []}


def test_a_batch_is_stored_whole_or_not_at_all(make_app: MakeApp) -> None:
    app = make_app()
    batch = [LEAST, 5, {}, least(id="2", Ext=1)]
    found = errors(post(app, batch, BATCH))
    names = ("specversion", "id", "source", "type")
    assert list(found) == ["[1]", *[f"[2].{name}" for name in names], "[3].Ext"]
    assert head(app) == 0


def test_a_batch_must_be_an_array(make_app: MakeApp) -> None:
    assert STRUCTURED in errors(post(make_app(), LEAST, BATCH))[""]


def test_many_faults_are_not_all_listed(make_app: MakeApp) -> None:
    assert len(errors(post(make_app(), [{}] * 5000, BATCH))) == 100
    many = {f"E{n}": 1 for n in range(5000)}
    assert len(errors(post(make_app(), least(**many)))) == 100


def test_limits_are_those_of_other_events(make_app: MakeApp) -> None:
    app = make_app(ingest={"max_batch": 2, "max_body": 1000})
    assert post(app, [least(id=str(n)) for n in range(2)], BATCH).status_code == 201
    errors(post(app, [least(id=str(n)) for n in range(3)], BATCH), 413)
    errors(post(app, least(data="x" * 1000)), 413)
    errors(post_binary(app, b"x" * 1001, "text/plain"), 413)
    packed = gzip.compress(json.dumps(least(id="z")).encode())
    assert post(app, packed, headers={"Content-Encoding": "gzip"}).status_code == 201


# Binary mode.


def test_a_binary_event_is_stored(make_app: MakeApp) -> None:
    app = make_app()
    response = post_binary(
        app,
        b'{"n": 1}',
        "application/json; charset=utf-8",
        subject="Euro%20%E2%82%AC%20%F0%9F%98%80",
        time="2018-04-05T03:56:24Z",
        ext="5",
    )
    assert response.status_code == 201
    (envelope,) = stored(app)
    assert envelope["entity_id"] == "Euro \u20ac \U0001f600"
    assert envelope["data"] == {"n": 1}
    assert envelope["meta"] == {
        "time": "2018-04-05T03:56:24Z",
        "ext": "5",
        "datacontenttype": "application/json; charset=utf-8",
    }


@pytest.mark.parametrize(
    ("body", "content_type", "data", "meta"),
    [
        (b'"x"', None, "x", {}),
        (b"null", "application/json", None, {"datacontenttype": "application/json"}),
        (b"\xef\xbb\xbf[1]", "a/b+json", [1], {"datacontenttype": "a/b+json"}),
        (b"", None, {}, {"data_absent": True}),
        (
            b"",
            "application/json",
            {},
            {"datacontenttype": "application/json", "data_absent": True},
        ),
        (b"<a/>\n", "application/xml", "<a/>\n", {"datacontenttype": "application/xml"}),
        ("ü\0".encode(), "text/plain", "ü\0", {"datacontenttype": "text/plain"}),
        (b"a\n{", "application/x-ndjson", "a\n{", {"datacontenttype": "application/x-ndjson"}),
        (b"\xff", "text/plain", "/w==", {"datacontenttype": "text/plain", "data_base64": True}),
        (b"a", "image/png", "YQ==", {"datacontenttype": "image/png", "data_base64": True}),
        (
            b"\xfc",
            "text/plain; charset=latin1",
            "/A==",
            {"datacontenttype": "text/plain; charset=latin1", "data_base64": True},
        ),
    ],
)
def test_the_content_type_says_what_the_body_is(
    make_app: MakeApp, body: bytes, content_type: str | None, data: object, meta: dict[str, Any]
) -> None:
    app = make_app()
    assert post_binary(app, body, content_type).status_code == 201
    assert [(e["data"], e["meta"]) for e in stored(app)] == [(data, meta)]


@pytest.mark.parametrize("content_type", [None, "application/json", "text/json; charset=utf-8"])
@pytest.mark.parametrize("body", [b"{", b"\xff", b" ", b"[" * 100_000], ids=lambda b: b[:4].hex())
def test_a_binary_body_that_should_be_json_and_is_not_is_a_400(
    make_app: MakeApp, content_type: str | None, body: bytes
) -> None:
    errors(post_binary(make_app(), body, content_type), 400)


@pytest.mark.parametrize("missing", ["specversion", "id", "source", "type"])
def test_a_header_that_every_event_has_makes_a_request_binary(
    make_app: MakeApp, missing: str
) -> None:
    app = make_app()
    headers = {name: value for name, value in LEAST_HEADERS.items() if name != f"ce-{missing}"}
    body = b'{"event_type": "a"}'
    assert list(errors(post(app, body, "application/json", headers))) == [missing]
    for name, value in LEAST_HEADERS.items():
        assert len(errors(post(app, body, "application/json", {name: value}))) == 3
    assert head(app) == 0


def test_other_headers_alone_change_nothing(make_app: MakeApp) -> None:
    app = make_app()
    headers = {"ce-subject": "x", "ce-ext": "%", "CE": "1"}
    response = post(app, b'{"event_type": "a"}', "application/json", headers)
    assert response.status_code == 201
    assert stored(app)[0]["meta"] == {}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("plain", "plain"),
        (" \t padded ", "padded"),
        ("", ""),
        ("a%20b", "a b"),
        ("%c3%bc", "ü"),
        ("%41", "A"),
        ("%2541", "%41"),
        ("a+b", "a+b"),
        ('"quoted"', "quoted"),
        ('"a \\"b\\" \\\\ c"', 'a "b" \\ c'),
        ('"Euro%20%E2%82%AC"', "Euro \u20ac"),
        ('"%5C%22"', '\\"'),
        ('""', ""),
        ('a"b"', 'a"b"'),
        ("a,b", "a,b"),
        ("%", "%"),
        ("100 % sure", "100 % sure"),
        ("%4", "%4"),
        ("%zz%20", "%zz "),
    ],
)
def test_a_header_is_unquoted_and_then_decoded_once(value: str, expected: str) -> None:
    assert binary.decode_value(value) == expected


@pytest.mark.parametrize(
    ("value", "cure"),
    [
        ('"', "%22"),
        ('"a', "%22"),
        ('"a"b', "%22"),
        ('"a\\"', "%22"),
        ("%C0%A0", "UTF-8"),
        ("%FF", "UTF-8"),
        ("%ED%A0%80", "UTF-8"),
        ("\xfc", "percent-encode"),
        ('"\\\xfc"', "percent-encode"),
    ],
)
def test_a_header_that_cannot_be_decoded_is_an_error_with_its_cure(value: str, cure: str) -> None:
    with pytest.raises(ValueError, match=cure):
        binary.decode_value(value)


@pytest.mark.parametrize(
    ("attributes", "content_type", "expected"),
    [
        ({"specversion": "1"}, None, "specversion"),
        ({"id": ""}, None, "id"),
        ({"id": "%0a"}, None, "id"),
        ({"id": "%00"}, None, "id"),
        ({"id": "x" * 256}, None, "id"),
        ({"source": "a%20b"}, None, "source"),
        ({"type": "%FF"}, None, "type"),
        ({"subject": ""}, None, "subject"),
        ({"subject": "%C2%85"}, None, "subject"),
        ({"time": "noon"}, None, "time"),
        ({"ext": '"open'}, None, "ext"),
        ({"ext": "%EF%BF%BE"}, None, "ext"),
        ({"data": "x"}, None, "data"),
        ({"a-b": "x"}, None, "a_b"),
        ({"datacontenttype": "text/plain"}, None, "datacontenttype"),
        ({"datacontenttype": "application/json"}, "application/json", "datacontenttype"),
        ({}, "nonsense", "datacontenttype"),
        ({"dataschema": "x"}, None, "dataschema"),
    ],
    ids=str,
)
def test_a_wrong_header_is_named(
    make_app: MakeApp, attributes: dict[str, str], content_type: str | None, expected: str
) -> None:
    app = make_app()
    assert list(errors(post_binary(app, b"", content_type, **attributes))) == [expected]
    assert head(app) == 0


# The same in every mode.


def test_a_repeat_is_a_duplicate_in_every_mode(make_app: MakeApp) -> None:
    app = make_app()
    assert post(app, LEAST).status_code == 201
    plain = b'{"event_type": "z", "event_id": "1", "source": "/s"}'
    for response in (
        post(app, LEAST),
        post(app, [LEAST], BATCH),
        post_binary(app),
        post(app, plain, "application/json"),
    ):
        assert response.status_code == 200
        assert response.get_json() == {"accepted": 0, "duplicates": 1, "ids": [1]}


def send_in_each_mode(app: Flask, **members: str) -> list[TestResponse]:
    token = {"Authorization": "Bearer a-token-of-a-publisher"}
    headers = {f"ce-{name}": value for name, value in least(**members).items()}
    return [
        post(app, least(**members), headers=token),
        post(app, [least(**members)], BATCH, token),
        post(app, b"", None, {**headers, **token}),
    ]


def test_tokens_and_grants_hold_for_cloud_events(make_app: MakeApp) -> None:
    grant = {"event_type": "a.*", "source": "/s", "entity_id": ["x", "y"]}
    token = {"token": "a-token-of-a-publisher", "name": "p", "publish": [grant]}
    app = make_app(ingest={"auth": "token"}, access={"tokens": [token]})
    assert [r.status_code for r in send_in_each_mode(app, subject="x")] == [201, 200, 200]
    for wrong in ({"type": "b.c"}, {"source": "/t"}, {"subject": "z"}):
        for response in send_in_each_mode(app, **{"subject": "x", "id": "2", **wrong}):
            assert list(errors(response, 403)) == ["[0]"]
    for response in (post(app, LEAST), post(app, [LEAST], BATCH), post_binary(app)):
        errors(response, 401)
    assert head(app) == 1


# Out of a sink.


def test_a_sink_streams_cloud_events_and_another_one_envelopes(
    make_app: MakeApp, listen: Listen
) -> None:
    app = make_app(sink=CLOUD_SINKS)
    plain, cloud = listen(app), cloud_stream(app)
    sent = least(subject="x", time="2018-04-05T17:31:00Z", ext=5, data={"n": [1]})
    post(app, sent)
    assert plain.event()["event_id"] == "1"
    assert json.loads(message_data(cloud.frame())) == sent
    cloud.close()
    with cloud_stream(app, "last_event_id=0") as again:
        assert json.loads(message_data(again.frame())) == sent


def test_a_filter_applies_to_what_is_streamed_as_cloud_events(make_app: MakeApp) -> None:
    app = make_app(sink=CLOUD_SINKS)
    with cloud_stream(app, "source=/s&event_type=a.*") as stream:
        post(app, [least(id="1", source="/t"), least(id="2", type="b"), least(id="3")], BATCH)
        assert json.loads(message_data(stream.frame()))["id"] == "3"


@pytest.mark.parametrize(
    "members",
    [
        {},
        {"data": None},
        {"data": {}},
        {"data": {}, "datacontenttype": "application/json"},
        {"datacontenttype": "application/json"},
        {"data": ""},
        {"data": "<a/>", "datacontenttype": "text/xml"},
        {"data_base64": ""},
        {"data_base64": "YQ=="},
        {"data_base64": "YQ==", "datacontenttype": "application/json"},
        {"meta": "x", "traceparent": "y", "tracestate": "", "ext": -5, "flag": False},
        {"dataschema": "a:" + "b" * 2046, "datacontenttype": "a/json;a=" + "b" * 2039},
        {"dataschema": "a:b", "subject": '"', "time": "2016-12-31t23:59:60.000000000001z"},
        {"id": "ü\u2028", "source": "urn:x:%C3%BC#a", "type": "A b.c/d", "subject": "日本"},
    ],
    ids=lambda members: str(members)[:60],
)
def test_a_round_trip_loses_nothing(members: dict[str, Any]) -> None:
    sent = least(**members)
    out = streamed(structured.decode(json.dumps(sent).encode()))
    if "time" not in sent:
        assert out.pop("time") == "2026-11-25T10:00:00+00:00"
    assert out == sent


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, {}),
        ({"source": "web frontend"}, {"source": "web%20frontend"}),
        ({"entity_id": "ü"}, {"subject": "ü"}),
        ({"meta": '{"a":"b","n":1,"t":true}'}, {"a": "b", "n": 1, "t": True}),
        ({"meta": '{"time":"2020-01-01T00:00:00Z"}'}, {"time": "2020-01-01T00:00:00Z"}),
        ({"meta": '{"time":"noon"}'}, {"meta": '{"time":"noon"}'}),
        ({"meta": '{"time":5}'}, {"meta": '{"time":5}'}),
        ({"meta": '{"aB":1,"id":"x","data":2}'}, {"meta": '{"aB":1,"id":"x","data":2}'}),
        ({"meta": '{"a":1.50,"b":null,"c":[{}]}'}, {"meta": '{"a":1.50,"b":null,"c":[{}]}'}),
        ({"meta": '{"a":12345678901}'}, {"meta": '{"a":12345678901}'}),
        ({"meta": '{"a":"\\n","b":"\ufdd0"}'}, {"meta": '{"a":"\\n","b":"\\ufdd0"}'}),
        ({"meta": '{"a_b":"\x7f\U0001ffff"}'}, {"meta": '{"a_b":"\\u007f\\ud83f\\udfff"}'}),
        ({"meta": '{"meta":"x","A":1}'}, {"meta": '{"A":1,"meta":"x"}'}),
        ({"meta": '{"meta":"x"}'}, {"meta": "x"}),
        ({"meta": '{"meta":{}}'}, {"meta": '{"meta":{}}'}),
        ({"meta": '{"datacontenttype":"text/xml"}'}, {"meta": '{"datacontenttype":"text/xml"}'}),
        (
            {"meta": '{"datacontenttype":"text/xml"}', "data": '"<a/>"'},
            {"datacontenttype": "text/xml", "data": "<a/>"},
        ),
        ({"meta": '{"datacontenttype":"nonsense"}'}, {"meta": '{"datacontenttype":"nonsense"}'}),
        ({"meta": '{"data_base64":true}'}, {"meta": '{"data_base64":true}'}),
        (
            {"meta": '{"data_base64":true}', "data": '"x"'},
            {"meta": '{"data_base64":true}', "data": "x"},
        ),
        (
            {"meta": '{"data_base64":1}', "data": '"YQ=="'},
            {"meta": '{"data_base64":1}', "data": "YQ=="},
        ),
        (
            {"meta": '{"data_absent":true}', "data": "1"},
            {"meta": '{"data_absent":true}', "data": 1},
        ),
    ],
    ids=str,
)
def test_other_events_become_cloud_events_that_can_come_in_again(
    fields: dict[str, str], expected: dict[str, Any]
) -> None:
    defaults = {"event_type": "a", "event_id": "e", "entity_id": None, "source": "s"}
    more = {"data": "{}", "meta": "{}", "occurred_at": None, **fields}
    new = msgspec.convert({**defaults, **more}, NewEvent)
    out = streamed(new)
    base = {"specversion": "1.0", "id": "e", "source": "s", "type": "a", "data": {}}
    assert out == {**base, "time": "2026-11-25T10:00:00+00:00", **expected}
    assert streamed(structured.decode(encoding.encode(of(new)))) == out


# Properties.

STRINGS = st.text(max_size=12).filter(syntax.is_string)
NAMES = st.text("abcdefghij0123456789", min_size=1, max_size=8).filter(lambda name: name != "data")
EXTENSIONS = st.dictionaries(
    NAMES.filter(lambda name: name not in LEAST),
    STRINGS | st.booleans() | st.integers(-(2**31), 2**31 - 1),
    max_size=4,
)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
TEXTS = st.dictionaries(NAMES.filter(lambda name: name not in LEAST), STRINGS, max_size=4)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | FLOATS | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)
NONEMPTY = STRINGS.filter(bool)
SEGMENTS = st.lists(NONEMPTY.filter(lambda text: "." not in text), min_size=1, max_size=3)
CORE = st.fixed_dictionaries(
    {
        "specversion": st.just("1.0"),
        "id": NONEMPTY,
        "source": NONEMPTY.map(syntax.uri_reference).filter(lambda text: 0 < len(text) < 256),
        "type": SEGMENTS.map(".".join),
        "time": st.datetimes().map(lambda when: when.isoformat() + "Z"),
    },
    optional={"subject": NONEMPTY, "dataschema": st.sampled_from(["a:b", "https://x/y"])},
)
DATA: st.SearchStrategy[dict[str, Any]] = (
    st.just({})
    | st.builds(lambda data: {"data": data}, JSON)
    | st.builds(
        lambda text, kind: {"data": text, "datacontenttype": kind},
        st.text(max_size=9).filter(
            lambda text: not set(map(ord, text)) & {*range(0xD800, 0xE000)}
        ),
        st.sampled_from(["text/plain", "application/xml", "application/json"]),
    )
    | st.builds(
        lambda data: {"data_base64": base64.b64encode(data).decode()}, st.binary(max_size=9)
    )
)


@settings(max_examples=at_most(100), deadline=None)
@given(CORE, EXTENSIONS, DATA)
def test_whatever_comes_in_goes_out_as_it_came(
    core: dict[str, Any], extensions: dict[str, Any], data: dict[str, Any]
) -> None:
    sent = {**extensions, **core, **data}
    new = structured.decode(json.dumps(sent).encode())
    assert streamed(new) == sent
    assert structured.decode_batch(json.dumps([sent, sent]).encode()) == [new, new]


PLAIN = st.fixed_dictionaries(
    {"event_type": SEGMENTS.map(".".join)},
    optional={
        "event_id": NONEMPTY,
        "entity_id": NONEMPTY,
        "source": NONEMPTY,
        "data": JSON,
        "meta": st.dictionaries(
            st.text(max_size=5) | st.sampled_from(["time", "data", "id", "meta", "data_base64"]),
            JSON | st.sampled_from([True, "2020-01-01T00:00:00Z", "text/xml"]),
            max_size=4,
        ),
    },
)


@settings(max_examples=at_most(100), deadline=None)
@given(PLAIN)
def test_every_event_becomes_a_cloud_event_that_can_come_in_again(fields: dict[str, Any]) -> None:
    text = encoding.encode(of(submission.decode(json.dumps(fields).encode())[0]))
    again = structured.decode(text)
    assert json.loads(encoding.encode(of(again))) == json.loads(text)


def percent_encoded(text: str) -> str:
    """Return a header's value as the rule has it, written apart from the package."""
    return "".join(
        char
        if "!" <= char <= "~" and char not in '"%'
        else "".join(f"%{b:02X}" for b in char.encode())
        for char in text
    )


@settings(max_examples=at_most(100), deadline=None)
@given(
    CORE, st.dictionaries(NAMES.filter(lambda name: name not in LEAST), STRINGS, max_size=4), JSON
)
def test_binary_and_structured_mode_say_the_same(
    core: dict[str, Any], extensions: dict[str, str], data: object
) -> None:
    attributes = {**extensions, **core}
    headers = {name: percent_encoded(value) for name, value in attributes.items()}
    body = json.dumps(data).encode()
    in_binary = binary.decode(headers, "application/json", body)
    sent = {**attributes, "datacontenttype": "application/json", "data": data}
    assert in_binary == structured.decode(json.dumps(sent).encode())


@settings(max_examples=at_most(100), deadline=None)
@given(STRINGS)
def test_a_quoted_and_an_encoded_header_say_the_same(text: str) -> None:
    quoted = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%25")
    quoted = "".join(char if char.isascii() else percent_encoded(char) for char in quoted)
    assert binary.decode_value(f'"{quoted}"') == text
    assert binary.decode_value(percent_encoded(text)) == text


RAW_HEADERS = st.dictionaries(
    st.sampled_from([*LEAST, "subject", "time", "ext", "a_b", "data", "datacontenttype", ""]),
    st.text(st.characters(max_codepoint=255), max_size=10) | st.sampled_from(list(LEAST.values())),
)


@settings(max_examples=at_most(100), deadline=None)
@given(
    RAW_HEADERS, st.sampled_from(["", "application/json", "text/plain", "x", "a/b"]), st.binary()
)
@example({**LEAST, "ext": '"\\'}, "", b"")
@example({**LEAST, "ext": "%"}, "", b"")
@example(LEAST, "text/plain; charset=utf-7", b"+AC0-")
def test_no_headers_make_the_decoder_fail(
    headers: dict[str, str], content_type: str, body: bytes
) -> None:
    try:
        new = binary.decode(headers, content_type, body)
    except InvalidEvent as error:
        assert error.faults
    else:
        out = streamed(new)
        assert {name: out[name] for name in LEAST} == {
            "specversion": "1.0",
            "id": new.event_id,
            "source": new.source,
            "type": new.event_type,
        }


ANYTHING = st.dictionaries(st.text(max_size=5), JSON)
BODIES = st.binary(max_size=60) | st.builds(
    lambda event: json.dumps(event).encode(),
    JSON
    | st.builds(
        lambda core, more: {**core, **more}, CORE, st.dictionaries(st.text(max_size=5), JSON)
    )
    | st.lists(JSON | CORE, max_size=3),
)


HOSTILE = [
    b'{"specversion":"1.0","id":"\\ud800","source":"/","type":"a"}',
    b'{"specversion":"1.0","id":"1","source":"/","type":"a","\\ud800":1}',
    b'{"specversion":"1.0","id":"1","source":"/","type":"a","x":-}',
    b'{"specversion":"1.0","id":"1","source":"/","type":"a","x":1e999}',
    b'{"specversion":"1.0","id":"1","source":"/","type":"a","data":"\\ud800"}',
    b'{"specversion":"1.0","id":"1","source":"/","type":"a","data_base64":"\\ud800"}',
    b"[{}, []]",
]


def test_no_body_makes_the_server_fail(make_app: MakeApp) -> None:
    app = make_app()

    @settings(max_examples=at_most(100), deadline=None)
    @given(
        BODIES | st.sampled_from(HOSTILE),
        st.sampled_from([STRUCTURED, BATCH, "application/cloudevents", ""]),
    )
    def check(body: bytes, content_type: str) -> None:
        before = head(app)
        response = post(app, body, content_type)
        assert response.status_code in (200, 201, 400, 415, 422)
        assert "Traceback" not in response.text
        accepted = response.get_json()["accepted"] if response.status_code < 300 else 0
        assert head(app) == before + accepted

    check()


@pytest.mark.parametrize("depth", [*range(100, 900, 100), *range(940, 1010)])
def test_no_depth_of_nesting_is_a_server_error(depth: int) -> None:
    deep = b'{"a":' * depth + b"1" + b"}" * depth
    body = json.dumps(LEAST)[:-1].encode() + b',"data":' + deep + b"}"
    decoders: list[Callable[[], list[NewEvent]]] = [
        lambda: [structured.decode(body)],
        lambda: structured.decode_batch(b"[" + body + b"]"),
        lambda: [binary.decode(LEAST, "", deep)],
    ]
    for decode in decoders:
        try:
            (new,) = decode()
        except InvalidEvent as error:
            assert error.malformed
        else:
            assert deep in encoding.encode(of(new))
