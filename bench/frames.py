"""Whole frames in the bytes that a client receives, with what a client that comes back keeps."""

from __future__ import annotations

import re
from typing import NamedTuple

from .wire import State, decode

_ID = re.compile(rb"^id: (\d+)$", re.MULTILINE)
_RETRY = re.compile(rb"^retry: (\d+)$", re.MULTILINE)
_MARK = re.compile(rb"seq=(\d{8});")


class Frame(NamedTuple):
    """One frame; ``None`` where it doesn't have it."""

    id: int | None = None
    retry_ms: int | None = None
    number: int | None = None
    """The number of the event."""
    missed: bool = False
    """Whether it says that the client lost events."""


ENDED = Frame()
"""Comes last when the server has ended the stream."""


def feed(state: State, data: bytes) -> tuple[State, tuple[Frame, ...]]:
    """Return the state after these bytes, and the frames that are complete with them.

    :raises BadAnswer: the status isn't 200.
    """
    if state.ended:
        return state, ()
    state, body = decode(state, data)
    *complete, rest = (state.body + body).split(b"\n\n")
    frames = tuple(map(_frame, complete))
    return state._replace(body=rest), (*frames, ENDED) if state.ended else frames


def _frame(text: bytes) -> Frame:
    return Frame(_number(_ID, text), _number(_RETRY, text), _number(_MARK, text), _missed(text))


def _number(pattern: re.Pattern[bytes], text: bytes) -> int | None:
    found = pattern.search(text)
    return int(found[1]) if found else None


def _missed(text: bytes) -> bool:
    return b"\ndata: missed " in text
