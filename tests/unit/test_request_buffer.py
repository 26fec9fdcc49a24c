"""When a request on its way in is given a thread."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_sse_sink.server.request_buffer import WHOLE_REQUEST_BYTES, RequestBuffer

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST /ingest HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n0123456789"
CODED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
CHUNKED = CODED + b"3\r\nabc\r\nA;x=y\r\n0123\r\n6789\r\n0\r\n\r\n"
TRAILERS = CODED + b"3\r\nabc\r\n0\r\nA: b\r\nC: d\r\n\r\n"
REQUESTS = [GET, POST, CHUNKED, TRAILERS]


def fed(*pieces: bytes) -> Iterator[bool]:
    buffer = RequestBuffer()
    for piece in pieces:
        buffer.add(piece)
        yield buffer.is_complete()


@pytest.mark.parametrize("request_bytes", REQUESTS)
def test_a_request_is_complete_with_its_last_byte_and_not_before(request_bytes: bytes) -> None:
    told = list(fed(*(request_bytes[n : n + 1] for n in range(len(request_bytes)))))
    assert told == [False] * (len(request_bytes) - 1) + [True]


@given(st.sampled_from(REQUESTS), st.lists(st.integers(0, 200)))
def test_it_does_not_matter_how_a_request_is_cut(request_bytes: bytes, cuts: list[int]) -> None:
    places = sorted({0, len(request_bytes), *(n for n in cuts if n < len(request_bytes))})
    pieces = [request_bytes[a:b] for a, b in itertools.pairwise(places)]
    *before, last = fed(*pieces)
    assert not any(before)
    assert last


@given(st.binary(max_size=300))
def test_no_bytes_break_it(data: bytes) -> None:
    for head in (b"", GET[:-4] + b"\r\n\r\n", CODED):
        buffer = RequestBuffer(head + data)
        buffer.is_complete()
        assert buffer.take() == head + data


@pytest.mark.parametrize(
    "hopeless",
    [
        b"GET / HTTP/1.1\nHost: a\n\n",
        b"GET /" + b"x" * WHOLE_REQUEST_BYTES,
        CODED + b"zz\r\n",
        CODED + b"-1\r\n",
        CODED + b"fffffffff\r\n",
        CODED + b"3\r\nabcd\r\n",
        CODED + b"1" * 5000,
        b"POST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: -5\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 5 5\r\n\r\n",
    ],
)
def test_what_the_parser_will_refuse_is_not_waited_for(hopeless: bytes) -> None:
    assert RequestBuffer(hopeless).is_complete()


@pytest.mark.parametrize(
    ("head", "size"),
    [
        (b"POST / HTTP/1.1\r\nContent-Length: 1000000\r\n\r\n", 1_000_000),
        (CODED + b"F4240\r\n", 1_000_000),
    ],
)
def test_a_large_body_is_left_to_a_thread(head: bytes, size: int) -> None:
    assert RequestBuffer(head).is_complete()


def test_a_body_is_not_waited_for_where_its_client_waits_itself() -> None:
    head = b"POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 10\r\n\r\n"
    assert RequestBuffer(head).is_complete()


def test_what_stands_behind_a_request_is_kept_and_does_not_count() -> None:
    buffer = RequestBuffer(POST + GET[:5])
    assert buffer.is_complete()
    assert buffer.take() == POST + GET[:5]
    assert not buffer
    assert not buffer.in_body


def test_a_request_is_in_its_body_from_the_end_of_its_head() -> None:
    buffer = RequestBuffer(POST[:-11])
    assert (buffer.is_complete(), buffer.in_body) == (False, False)
    buffer.add(POST[-11:-5])
    assert (buffer.is_complete(), buffer.in_body) == (False, True)
