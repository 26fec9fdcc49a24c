"""The tests' own reader, against the examples of WHATWG HTML 9.2.6."""

from __future__ import annotations

import pytest

from support.sse import Parser, ServerEvent, parse

M = "message"
EXAMPLES: dict[str, tuple[bytes, list[ServerEvent]]] = {
    "stock ticker": (
        b"data: YHOO\ndata: +2\ndata: 10\n\n",
        [ServerEvent(M, "YHOO\n+2\n10")],
    ),
    "comment, ids and a leading space": (
        b": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\n"
        b"data:  third event\n\n",
        [
            ServerEvent(M, "first event", "1"),
            ServerEvent(M, "second event"),
            ServerEvent(M, " third event"),
        ],
    ),
    "empty data, and a block that never ends": (
        b"data\n\ndata\ndata\n\ndata:",
        [ServerEvent(M, ""), ServerEvent(M, "\n")],
    ),
    "one space after the colon is dropped": (
        b"data:test\n\ndata: test\n\n",
        [ServerEvent(M, "test")] * 2,
    ),
    "named events": (
        b"event: add\ndata: 73857293\n\nevent: remove\ndata: 2153\n\nevent: add\ndata: 113411\n\n",
        [
            ServerEvent("add", "73857293"),
            ServerEvent("remove", "2153"),
            ServerEvent("add", "113411"),
        ],
    ),
    "every line end": (
        b"data: a\rdata: b\r\ndata: c\n\r\ndata: d\r\rdata: e\n\n",
        [ServerEvent(M, "a\nb\nc"), ServerEvent(M, "d"), ServerEvent(M, "e")],
    ),
    "byte order mark": (b"\xef\xbb\xbfdata: a\n\n", [ServerEvent(M, "a")]),
    "ids stay, an id with NUL doesn't count": (
        b"id: 7\ndata: a\n\ndata: b\n\nid: 8\0\ndata: c\n\n",
        [ServerEvent(M, "a", "7"), ServerEvent(M, "b", "7"), ServerEvent(M, "c", "7")],
    ),
    "retry takes digits alone": (
        b"retry: 250\ndata: a\n\nretry: 1x\ndata: b\n\n",
        [ServerEvent(M, "a", "", 250), ServerEvent(M, "b")],
    ),
    "unknown fields and a block without data": (
        b"foo: bar\nevent: x\n\ndata: a\n\n",
        [ServerEvent(M, "a")],
    ),
    "other separators are text": (
        "data: a\u2028b\u0085c\x0bd\U0001f600\n\n".encode(),
        [ServerEvent(M, "a\u2028b\u0085c\x0bd\U0001f600")],
    ),
}


@pytest.mark.parametrize("chunk_size", [0, 1, 2, 3, 7])
@pytest.mark.parametrize("name", EXAMPLES)
def test_the_examples_are_read_in_chunks_of_any_size(name: str, chunk_size: int) -> None:
    stream, expected = EXAMPLES[name]
    assert parse(stream, chunk_size) == expected


def test_comments_and_the_retry_hint_are_kept() -> None:
    parser = Parser()
    assert parser.feed(b": hello\nretry: 10\n\n") == []
    assert (parser.comments, parser.retry) == (["hello"], 10)


def test_an_event_is_dispatched_by_the_cr_that_ends_it() -> None:
    parser = Parser()
    assert parser.feed(b"data: a\r\r") == [ServerEvent(M, "a")]
    assert parser.feed(b"\ndata: b\n\n") == [ServerEvent(M, "b")]
