"""Events on their way in."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_sse_sink.event import NewEvent, Source, decode_envelope, encode_envelope
from flask_sse_sink.exceptions import Fault, InvalidEvent
from flask_sse_sink.submission import MAX_FAULTS, decode, decode_lines, new_event


def _refused(body: bytes, lines: bool = False) -> InvalidEvent:
    with pytest.raises(InvalidEvent) as caught:
        (decode_lines if lines else decode)(body)
    return caught.value


def test_a_single_event_is_read() -> None:
    (event,) = decode(
        b'{"event_type":"user.login","event_id":"e1","entity_id":"u1","data":{"a":1},'
        b'"source":"shop","meta":{"b":2},"occurred_at":"2026-01-02T03:04:05Z"}'
    )
    assert (event.event_type, event.event_id, event.entity_id) == ("user.login", "e1", "u1")
    assert (event.data, event.meta, event.source) == ('{"a":1}', '{"b":2}', "shop")
    assert event.occurred_at == "2026-01-02T03:04:05+00:00"


def test_what_is_left_out_gets_a_default() -> None:
    one, other = decode(b'[{"event_type":"a"},{"event_type":"a"}]')
    assert re.fullmatch("evt_[0-9a-f]{32}", one.event_id)
    assert one.event_id != other.event_id
    assert (one.source, one.entity_id, one.occurred_at) == ("default", None, None)
    assert (one.data, one.meta) == ("{}", "{}")


def test_data_may_be_any_json_and_null_is_kept() -> None:
    for text in ("null", "1", '"x"', "[]", "false"):
        (event,) = decode(b'{"event_type":"a","data":%b}' % text.encode())
        assert event.data == text


def test_an_array_is_read_in_order() -> None:
    events = decode(b'[{"event_type":"a"},{"event_type":"b"}]')
    assert [event.event_type for event in events] == ["a", "b"]
    assert decode(b"[]") == []


def test_lines_are_read_in_order_and_blank_ones_skipped() -> None:
    events = decode_lines(b'\n{"event_type":"a"}\r\n\r\n  \n{"event_type":"b"}')
    assert [event.event_type for event in events] == ["a", "b"]
    assert decode_lines(b"\n \n") == []


@pytest.mark.parametrize("reader", [decode, decode_lines])
def test_a_byte_order_mark_is_ignored(reader: object) -> None:
    assert callable(reader)
    (event,) = reader(b'\xef\xbb\xbf{"event_type":"a"}')
    assert event.event_type == "a"


@pytest.mark.parametrize(
    ("body", "loc", "msg"),
    [
        (b"{}", "", "missing required field `event_type`"),
        (b'{"event_type":1}', "event_type", "Expected `str`, got `int`"),
        (b'{"event_type":""}', "event_type", "length >= 1"),
        (b'{"event_type":"%b"}' % (b"x" * 256), "event_type", "length <= 255"),
        (b'{"event_type":"a","event_id":"a\\nb"}', "event_id", "no control characters"),
        (b'{"event_type":"a","event_id":"a\\n"}', "event_id", "no control characters"),
        (b'{"event_type":"a","source":"\\u0000"}', "source", "no control characters"),
        (b'{"event_type":"a","entity_id":""}', "entity_id", "length >= 1"),
        (b'{"event_type":"a","meta":[]}', "meta", "got `array`"),
        (b'{"event_type":"a","occurred_at":"soon"}', "occurred_at", "Invalid RFC3339"),
        (b'{"event_type":"a","id":3}', "", "unknown field `id`; put what is yours into"),
        (b"3", "", "Expected `object`, got `int`"),
        (b'"x"', "", "Expected `object`, got `str`"),
        (b"null", "", "Expected `object`, got `null`"),
        (b"[3]", "[0]", "Expected `object`, got `int`"),
        (
            b'[{"event_type":"a"},{"event_type":"a"},{"event_type":"a"},{"event_type":2}]',
            "[3].event_type",
            "Expected `str`, got `int`",
        ),
    ],
)
def test_a_fault_says_where_and_what(body: bytes, loc: str, msg: str) -> None:
    error = _refused(body)
    assert not error.malformed
    (fault,) = error.faults
    assert fault.loc == loc
    assert msg in fault.msg
    assert str(error) == (f"{loc}: {fault.msg}" if loc else fault.msg)


@pytest.mark.parametrize("name", [".", "a.", ".a", "a..b", "a\\nb", "a.\\u0085"])
def test_an_event_type_is_names_with_single_dots(name: str) -> None:
    (fault,) = _refused(b'{"event_type":"%b"}' % name.encode()).faults
    assert fault.loc == "event_type"
    assert "single dots, e.g. `user.login`" in fault.msg


def test_every_wrong_event_of_an_array_is_a_fault() -> None:
    error = _refused(b'[{"event_type":1},{"event_type":"a"},{},{"event_type":"b","event_id":2}]')
    assert [fault.loc for fault in error.faults] == ["[0].event_type", "[2]", "[3].event_id"]


def test_a_refusal_lists_a_limited_number_of_faults() -> None:
    wrong = MAX_FAULTS + 50
    assert len(_refused(b"[" + b",".join([b"{}"] * wrong) + b"]").faults) == MAX_FAULTS
    assert len(_refused(b"{}\n" * wrong, lines=True).faults) == MAX_FAULTS


def test_a_wrong_line_is_named_by_index_and_line_number() -> None:
    error = _refused(b'{"event_type":"a"}\n\n{"event_type":1}\n{x\n', lines=True)
    assert error.malformed
    first, second = error.faults
    assert first == Fault("[1].event_type", "Expected `str`, got `int`")
    assert second.loc == "[2]"
    assert second.msg.startswith("line 4: not JSON: ")


def test_a_wrong_line_which_is_json_is_not_malformed() -> None:
    assert not _refused(b'{"event_type":"a"}\n{}', lines=True).malformed


@pytest.mark.parametrize(
    "body", [b"", b" ", b"{", b'{"event_type":"a"', b'{"event_type":"a"} x', b"nonsense", b"NaN"]
)
def test_what_is_not_json_is_malformed(body: bytes) -> None:
    error = _refused(body)
    assert error.malformed
    assert error.faults[0].msg.startswith("not JSON: ")


@pytest.mark.parametrize("reader", [decode, decode_lines])
def test_bad_utf_8_is_malformed_even_inside_data(reader: object) -> None:
    assert callable(reader)
    with pytest.raises(InvalidEvent, match="not UTF-8 at byte 27; JSON is sent as") as caught:
        reader(b'{"event_type":"a","data":"x\xff"}')
    assert caught.value.malformed


def test_deep_nesting_is_malformed() -> None:
    for body in (b'{"event_type":"a","data":' + b"[" * 100_000, b'{"a":' * 100_000):
        error = _refused(body)
        assert error.malformed or "unknown field" in str(error)
    deep = b'{"event_type":"a","data":%b%b}' % (b"[" * 100_000, b"]" * 100_000)
    assert _refused(deep).faults == (Fault("", "nested too deeply"),)
    assert "nested too deeply" in str(_refused(deep, lines=True))


@pytest.mark.parametrize(
    "number", ["1.10", "1e400", "123456789012345678901234567890", "-0", "0.1000000000000000055"]
)
def test_numbers_keep_their_digits(number: str) -> None:
    body = f'{{"event_type":"a","data":{{"n":{number}}},"meta":{{"n":{number}}}}}'
    (event,) = decode(body.encode())
    assert (event.data, event.meta) == (f'{{"n":{number}}}',) * 2


def test_pretty_printed_data_ends_up_on_one_line() -> None:
    value = {"a": [1, 2, {"b": "x\ny \u2028 z"}], "c": {}, "d": " spaced  out "}
    text = json.dumps({"event_type": "a", "data": value, "meta": value}, indent=4)
    (event,) = decode(text.replace("\n", "\r\n").encode())
    for made in (event.data, event.meta):
        assert "\n" not in made and "\r" not in made
        assert json.loads(made) == value
    assert event.data.startswith('{"a":[1,2,')


def test_new_event_takes_python_values() -> None:
    at = datetime(2026, 1, 2, tzinfo=UTC)
    event = new_event("a.b", {"at": at, "d": Decimal("1.10")}, entity_id="u", meta={"x": None})
    assert event.data == '{"at":"2026-01-02T00:00:00Z","d":"1.10"}'
    assert (event.entity_id, event.meta, event.source) == ("u", '{"x":null}', "default")
    assert event.event_id
    assert new_event("a").data == "{}"
    assert new_event("a", None).data == "null"
    assert new_event("a", occurred_at=at).occurred_at == "2026-01-02T00:00:00+00:00"


def test_new_event_refuses_what_is_wrong() -> None:
    with pytest.raises(InvalidEvent, match=r"^event_type: "):
        new_event("a..b")
    with pytest.raises(InvalidEvent, match="unknown field `colour`"):
        new_event("a", colour="red")
    with pytest.raises(InvalidEvent, match="can't be encoded as JSON"):
        new_event("a", object())
    with pytest.raises(InvalidEvent, match="can't be encoded as JSON"):
        new_event("a", "\ud800")
    endless: list[object] = []
    endless.append(endless)
    with pytest.raises(InvalidEvent, match="can't be encoded as JSON"):
        new_event("a", endless)


def _check(events: list[NewEvent]) -> None:
    for event in events:
        assert event.event_id and event.source
        for text in (event.data, event.meta):
            assert "\n" not in text and "\r" not in text
            json.loads(text)


@given(st.binary() | st.text('[]{}",:01ae \n').map(str.encode))
def test_decoding_anything_gives_events_or_invalid_event(body: bytes) -> None:
    for whole in (body.lstrip(b"[ \n\r\t"), b'{"event_type":"a","data":' + body + b"}"):
        for reader in (decode, decode_lines):
            try:
                _check(reader(whole))
            except InvalidEvent as error:
                assert error.faults


_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)
_key = st.sampled_from(["event_type", "event_id", "entity_id", "data", "source", "meta", "x"])
_envelope = st.dictionaries(_key, st.just("a.b") | _json)


@given(_envelope | st.lists(_envelope) | _json, st.booleans(), st.sampled_from([None, 2]))
def test_decoding_any_json_gives_events_or_invalid_event(
    value: object, ascii_only: bool, indent: int | None
) -> None:
    body = json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode()
    try:
        events = decode(body)
    except InvalidEvent as error:
        assert error.faults
        assert not error.malformed
    else:
        _check(events)
        given_events = value if isinstance(value, list) else [value]
        for event, sent in zip(events, given_events, strict=True):
            assert json.loads(event.data) == sent.get("data", {})


def test_an_event_is_what_its_envelope_says() -> None:
    new = new_event("a.b", {"n": 1}, event_id="e", entity_id="u", source="s", meta={"m": []})
    event = new.as_event(7, "2026-01-02T03:04:05+00:00", Source(3, "s"))
    envelope = encode_envelope(event)
    assert envelope == (
        b'{"id":7,"event_id":"e","event_type":"a.b","entity_id":"u",'
        b'"created_at":"2026-01-02T03:04:05+00:00","data":{"n":1},'
        b'"source":{"id":3,"name":"s"},"meta":{"m":[]}}'
    )
    assert decode_envelope(envelope) == event


def test_events_hold_nothing_but_their_fields() -> None:
    new = new_event("a")
    for value in (new, new.as_event(1, "", Source(1, "s"))):
        assert not hasattr(value, "__dict__")
        with pytest.raises(AttributeError):
            value.event_type = "b"  # type: ignore[misc]
