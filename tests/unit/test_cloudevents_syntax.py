"""What the attributes of a CloudEvent may hold."""

from __future__ import annotations

import json
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_sse_sink.cloudevents import syntax


@pytest.mark.parametrize("name", ["a", "1", "com4", "comexampleextension1", "x" * 50])
def test_names_have_lower_case_letters_and_digits(name: str) -> None:
    assert syntax.is_name(name)


@pytest.mark.parametrize("name", ["", "A", "a_b", "a-b", "a.b", "ü", "\u0663", "data", "a\n"])
def test_other_names_are_none(name: str) -> None:
    assert not syntax.is_name(name)


@pytest.mark.parametrize("text", ["", "a b", "Grüße \U0001f600", "\u2028\u2029", "\xa0", "\ufffd"])
def test_any_text_is_a_string(text: str) -> None:
    assert syntax.is_string(text)


@pytest.mark.parametrize(
    "code", [0, 9, 0x1F, 0x7F, 0x9F, 0xD800, 0xDFFF, 0xFDD0, 0xFDEF, 0xFFFE, 0xFFFF, 0x10FFFF]
)
def test_control_characters_surrogates_and_noncharacters_are_in_no_string(code: int) -> None:
    assert not syntax.is_string(f"a{chr(code)}b")


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0, True), (-(2**31), True), (2**31 - 1, True), (2**31, False), (True, False), ("1", False)],
)
def test_integers_have_32_bits(value: object, expected: bool) -> None:
    assert syntax.is_integer(value) is expected


URIS = [
    "https://github.com/cloudevents",
    "mailto:cncf-wg-serverless@lists.cncf.io",
    "urn:uuid:6e8bc430-9c3a-11d9-9669-0800200c9a66",
    "http://user:word@[2001:db8::7]:80/a/b;c=1?x=/?#frag/?",
    "file:///a",
    "a:",
    "x:/",
]
REFERENCES = [
    "/cloudevents/spec/pull/123",
    "1-555-123-4567",
    "web_frontend",
    "//host/a",
    "?q",
    "#f",
    "./a:b",
    "a/b:c",
    "%C3%BC",
    "/",
]
NO_REFERENCES = [
    "web frontend",
    "ü",
    "a:b c",
    "1:2",
    "%",
    "%zz",
    "a#b#c",
    "[::1]",
    "<a>",
    "a\\b",
    "http://[::1",
    "a|b",
    '"',
]


@pytest.mark.parametrize("text", URIS)
def test_uris(text: str) -> None:
    assert syntax.is_uri(text)
    assert syntax.is_uri_reference(text)


@pytest.mark.parametrize("text", REFERENCES)
def test_references_without_a_scheme_are_no_uris(text: str) -> None:
    assert syntax.is_uri_reference(text)
    assert not syntax.is_uri(text)


@pytest.mark.parametrize("text", NO_REFERENCES)
def test_what_is_no_reference(text: str) -> None:
    assert not syntax.is_uri_reference(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("web frontend", "web%20frontend"),
        ("https://x.example/ü?a b", "https://x.example/%C3%BC?a%20b"),
        ("1:2", "1%3A2"),
        ("100% sure", "100%25%20sure"),
        ("a%20b", "a%20b"),
        ("[::1]", "%5B%3A%3A1%5D"),
        ("//a@b@c", "//a%40b%40c"),
    ],
)
def test_a_source_becomes_a_reference(text: str, expected: str) -> None:
    assert syntax.uri_reference(text) == expected


@given(st.text(min_size=1, max_size=30) | st.text("/:@?#[]%a1 ", max_size=20))
def test_every_source_becomes_a_reference_which_stays_as_it_is(text: str) -> None:
    made = syntax.uri_reference(text.encode(errors="ignore").decode())
    assert syntax.is_uri_reference(made)
    assert syntax.uri_reference(made) == made


def test_no_text_makes_a_check_slow() -> None:
    for part in ("a", "%20", "a:", "//", "/", "@", "[", "a/", "?", ".", "a@", "://", "#", "?#"):
        assert not syntax.is_uri_reference(part * 10_000 + "\n")
    for part in ("; ", ";", " ", "; a=b ", '; a="', "\\", ";a=b;", "\t;\t", "; charset="):
        media_type = "text/plain" + part * 10_000 + "\n"
        assert not syntax.is_media_type(media_type)
        assert syntax.is_text(media_type) in (True, False)
    for part in ("1", "Z", ".1", "+00:00"):
        assert not syntax.is_timestamp("2020-01-01T00:00:00." + part * 10_000 + "\n")


@pytest.mark.parametrize(
    "text",
    [
        "2018-04-05T17:31:00Z",
        "2018-04-05t17:31:00z",
        "2018-04-05T17:31:00.123456789+02:00",
        "2016-12-31T23:59:60Z",
        "2024-02-29T00:00:00-00:00",
    ],
)
def test_times_of_rfc_3339(text: str) -> None:
    assert syntax.is_timestamp(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "noon",
        "2018-04-05",
        "2018-04-05T17:31:00",
        "2018-04-05 17:31:00Z",
        "2018-04-05T17:31Z",
        "2023-02-29T00:00:00Z",
        "0000-01-01T00:00:00Z",
        "2018-04-05T24:00:00Z",
        "2018-04-05T17:31:61Z",
        "2018-04-05T17:31:00+24:00",
        "2018-04-05T17:31:00+0200",
        "\u0662\u0660\u0661\u0668-04-05T17:31:00Z",
        "2018-04-05T17:31:00Z\n",
    ],
)
def test_other_times_are_none(text: str) -> None:
    assert not syntax.is_timestamp(text)


@given(st.datetimes(timezones=st.timezones()))
def test_what_python_writes_is_a_time_if_its_offset_has_whole_minutes(when: datetime) -> None:
    offset = when.utcoffset()
    assert offset is not None
    assert syntax.is_timestamp(when.isoformat()) is not bool(offset.total_seconds() % 60)


@pytest.mark.parametrize(
    "text",
    [
        "application/json",
        "TEXT/Plain; CharSet=utf-8",
        'text/plain;charset="utf-8"',
        "application/vnd.api+json;",
        'a/b; x="\\"; y"',
    ],
)
def test_media_types(text: str) -> None:
    assert syntax.is_media_type(text)


@pytest.mark.parametrize(
    "text", ["", "json", "a/", "/b", "a/b/c", "a/b; c", "a/b\n", "a b/c", "é/a"]
)
def test_what_is_no_media_type(text: str) -> None:
    assert not syntax.is_media_type(text)


@pytest.mark.parametrize(
    ("media_type", "is_json", "is_text"),
    [
        ("", True, False),
        ("application/json", True, False),
        ("Application/JSON; charset=utf-8", True, True),
        ("text/json", True, True),
        ("application/problem+json", True, False),
        ("application/jsonx", False, False),
        ("text/plain", False, True),
        ("text/plain; charset=iso-8859-1", False, False),
        ('text/plain; charset="UTF-8"', False, True),
        ("application/xml", False, True),
        ("image/svg+xml", False, True),
        ("application/octet-stream", False, False),
        ("application/octet-stream; charset=utf-8", False, True),
        ("application/x-www-form-urlencoded", False, True),
    ],
)
def test_media_types_of_json_and_of_text(media_type: str, is_json: bool, is_text: bool) -> None:
    assert (syntax.is_json(media_type), syntax.is_text(media_type)) == (is_json, is_text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("", True), ("YQ==", True), ("YQ", False), ("Y Q==", False), ("ü", False), ("_-==", False)],
)
def test_base64_is_that_of_the_standard_alphabet(text: str, expected: bool) -> None:
    assert syntax.is_base64(text) is expected


def test_names_that_json_escapes_are_no_names() -> None:
    assert not syntax.is_name(json.loads('"a\\u0000"'))
