"""Frames, to the byte."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from flask_sse_sink.event import Event, Source, encode_envelope
from flask_sse_sink.stream import frame
from support.sse import ServerEvent, parse


def _stored(data: str = "{}", id: int = 7) -> Event:
    at = "2026-01-02T03:04:05.678901+00:00"
    return Event(id, "evt_1", "user.login", None, at, Raw(data), Source(1, "shop"), Raw("{}"))


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ("a", b"data: a\n\n"),
        ("", b"data: \n\n"),
        ("a\nb", b"data: a\ndata: b\n\n"),
        ("a\rb", b"data: a\ndata: b\n\n"),
        ("a\r\nb", b"data: a\ndata: b\n\n"),
        ("a\n\rb", b"data: a\ndata: \ndata: b\n\n"),
        ("a\n", b"data: a\ndata: \n\n"),
        (" a", b"data:  a\n\n"),
        ("a\0b", b"data: a\0b\n\n"),
        ("a\u2028b\u2029c\u0085d", b"data: a\xe2\x80\xa8b\xe2\x80\xa9c\xc2\x85d\n\n"),
        ("a\x0bb\x0cc\x1cd", b"data: a\x0bb\x0cc\x1cd\n\n"),
        ("\U0001f600", b"data: \xf0\x9f\x98\x80\n\n"),
        (b"raw\r\nbytes", b"data: raw\ndata: bytes\n\n"),
    ],
)
def test_data_is_framed_to_the_byte(data: str | bytes, expected: bytes) -> None:
    assert frame.encode(data) == expected


def test_a_mebibyte_of_data_is_one_line() -> None:
    assert frame.encode("x" * 2**20) == b"data: " + b"x" * 2**20 + b"\n\n"


def test_the_fields_stand_in_a_fixed_order() -> None:
    whole = frame.encode("d", event="e", id="1", retry_ms=250)
    assert whole == b"event: e\nid: 1\ndata: d\nretry: 250\n\n"


def test_an_empty_id_is_sent_for_it_resets_the_readers() -> None:
    assert frame.encode("d", id="") == b"id: \ndata: d\n\n"


@pytest.mark.parametrize("bad", ["a\nb", "a\rb", "a\r\nb", "a\0b", "\n"])
@pytest.mark.parametrize("field", ["event", "id"])
def test_an_event_or_id_which_would_inject_fields_is_refused(field: str, bad: str) -> None:
    with pytest.raises(ValueError, match=f"^{field} .* holds a line end or NUL"):
        frame.encode("d", event=bad if field == "event" else None, id=bad)


def test_the_notices_are_framed_to_the_byte() -> None:
    assert frame.connected(3000) == b"event: info\ndata: connected\nretry: 3000\n\n"
    assert frame.closing(3000) == b"event: info\ndata: closing\nretry: 3000\n\n"
    assert frame.HEARTBEAT == b"event: heartbeat\ndata: ping\n\n"
    assert frame.missed(3, 5, 9) == (
        b'event: info\ndata: missed {"count":3,"first_id":5,"last_id":9}\n\n'
    )


def _message(event: Event) -> bytes:
    return frame.message(event.id, encode_envelope(event))


def test_a_message_is_the_envelope_with_its_keys_in_order() -> None:
    assert _message(_stored('{"n":1.10}')) == (
        b"event: message\nid: 7\n"
        b'data: {"id":7,"event_id":"evt_1","event_type":"user.login","entity_id":null,'
        b'"created_at":"2026-01-02T03:04:05.678901+00:00","data":{"n":1.10},'
        b'"source":{"id":1,"name":"shop"},"meta":{}}\n\n'
    )


@given(
    data=st.text(),
    event=st.none() | st.text(min_size=1).filter(lambda s: not set(s) & set("\r\n\0")),
    id=st.none() | st.text().filter(lambda s: not set(s) & set("\r\n\0")),
    retry_ms=st.none() | st.integers(0, 2**31),
    chunk_size=st.integers(0, 5),
)
def test_what_is_framed_is_read_back(
    data: str, event: str | None, id: str | None, retry_ms: int | None, chunk_size: int
) -> None:
    sent = frame.encode(data, event=event, id=id, retry_ms=retry_ms)
    read = data.replace("\r\n", "\n").replace("\r", "\n")
    expected = ServerEvent(event or "message", read, id or "", retry_ms)
    assert parse(sent + sent, chunk_size) == [expected] * 2


@given(st.recursive(st.none() | st.text() | st.integers(), st.lists, max_leaves=5))
def test_a_message_is_read_back_whatever_its_data(data: object) -> None:
    (read,) = parse(_message(_stored(json.dumps(data, ensure_ascii=False))))
    assert (read.event, read.id) == ("message", "7")
    assert json.loads(read.data)["data"] == data
