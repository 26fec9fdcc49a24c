"""Finds the numbers of the events, and heartbeats, in the bytes that a client receives (pure)."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

WARM_UP = 99_999_999
"""The number of events that only warm up a server; they are not counted as deliveries."""

HEARTBEAT = 100_000_000
"""Stands among the numbers for a heartbeat; events have eight digits."""

_HEARTBEAT_LINE = b"event: heartbeat\n"
_MARK = re.compile(rb"seq=(\d{8});|" + _HEARTBEAT_LINE)
_MARK_SIZE = len(_HEARTBEAT_LINE)
_KEPT = 4096

T = TypeVar("T")


class BadAnswer(Exception):
    """The server answered something other than a stream."""


class State(NamedTuple):
    """How far one client's response has been read."""

    in_head: bool = True
    chunked: bool = False
    left: int = 0
    """Bytes of the current chunk that are still to come, with the CRLF after it."""
    raw: bytes = b""
    """An unfinished head or chunk size."""
    body: bytes = b""
    """The end of the body, if what it begins isn't complete: a marker, or a frame."""
    ended: bool = False
    """Whether the server has ended the stream."""


def feed(state: State, data: bytes) -> tuple[State, tuple[int, ...]]:
    """Return the state after these bytes, and the numbers of the events whose markers end in them.

    It decodes chunked coding, so a marker may be split at any byte.

    :raises BadAnswer: the status isn't 200, or the server ended the stream.
    """
    state, body = decode(state, data)
    if state.ended:
        raise BadAnswer("the server ended the stream")
    body = state.body + body
    end = 0
    numbers = []
    for found in _MARK.finditer(body):
        numbers.append(int(found[1]) if found[1] else HEARTBEAT)
        end = found.end()
    kept = _beginning(body[max(end, len(body) - _MARK_SIZE + 1) :])
    return state._replace(body=kept), tuple(numbers)


def decode(state: State, data: bytes) -> tuple[State, bytes]:
    """Return the state after these bytes, and the bytes of the body in them.

    :raises BadAnswer: the status isn't 200.
    """
    raw = state.raw + data
    chunked = state.chunked
    if state.in_head:
        head, blank, rest = raw.partition(b"\r\n\r\n")
        if not blank:
            return state._replace(raw=raw), b""
        if head.split(maxsplit=2)[1] != b"200":
            raise BadAnswer(raw[:300].decode("latin-1"))
        chunked = b"transfer-encoding: chunked" in head.lower()
        raw = rest
    if not chunked:
        return State(in_head=False, body=state.body), raw
    body, left, raw, ended = _unchunk(state.left, raw)
    return State(False, True, left, raw, state.body, ended), body


def _unchunk(left: int, raw: bytes) -> tuple[bytes, int, bytes, bool]:
    """Return the body in these bytes, what is to come of its chunk, and an unfinished size.

    The last value says whether it was the last chunk.
    """
    parts: list[bytes] = []
    while raw:
        if not left:
            size, end, rest = raw.partition(b"\r\n")
            if not end:
                return b"".join(parts), 0, raw, False
            length = int(size.split(b";")[0], 16)
            if not length:
                return b"".join(parts), 0, b"", True
            left, raw = length + 2, rest
            continue
        taken = raw[:left]
        # The last two bytes of what is to come are the chunk's CRLF.
        parts.append(taken[: max(left - 2, 0)])
        left -= len(taken)
        raw = raw[len(taken) :]
    return b"".join(parts), left, b"", False


def _beginning(tail: bytes) -> bytes:
    """Return the end of ``tail`` that may be the beginning of a marker."""
    for at in range(len(tail)):
        rest = tail[at:]
        if _HEARTBEAT_LINE.startswith(rest):
            return rest
        if b"seq=".startswith(rest[:4]) and (rest[4:].isdigit() or not rest[4:]):
            return rest
    return b""


Feed = Callable[[State, bytes], tuple[State, tuple[T, ...]]]
"""A parser such as :func:`feed`, of numbers or of something else."""


class Reader(Generic[T]):
    """Reads for many clients. Most receive the same bytes; those are parsed once.

    A state is given as a number; a new client's is 0.
    """

    def __init__(self, feed: Feed[T]) -> None:
        self._feed = feed
        self._states = [State()]
        self._numbers_of_states = {State(): 0}
        self._known: dict[tuple[int, bytes], tuple[int, tuple[T, ...]]] = {}

    def feed(self, state: int, data: bytes) -> tuple[int, tuple[T, ...]]:
        """Return the client's next state and what was found, such as the events' numbers.

        :raises BadAnswer: see :func:`feed`.
        """
        key = (state, data)
        known = self._known.get(key)
        if known is None:
            after, numbers = self._feed(self._states[state], data)
            at = self._numbers_of_states.get(after)
            if at is None:
                at = self._numbers_of_states[after] = len(self._states)
                self._states.append(after)
            if len(self._known) >= _KEPT:
                self._known.clear()
            known = self._known[key] = (at, numbers)
        return known
