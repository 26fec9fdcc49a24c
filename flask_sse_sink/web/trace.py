"""The trace that a request belongs to, noted in its events. Rule: W3C Trace Context, 3."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Raw

from ..event import NewEvent

PARENT, STATE = "traceparent", "tracestate"

_PARENT = re.compile(
    r"(?!ff)(?P<version>[0-9a-f]{2})-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
    r"(?P<more>-[\x21-\x7e]*)?"
)
# Later versions of the rule may be longer; of those, too, no header of this length is sensible.
_MAX_PARENT = 256
_KEY = re.compile(r"[a-z][a-z0-9_*/-]{0,255}|[a-z0-9][a-z0-9_*/-]{0,240}@[a-z][a-z0-9_*/-]{0,13}")
_STATE_VALUE = re.compile(r"[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]")
_MAX_STATE = 512
_MAX_MEMBERS = 32

_encode = msgspec.json.Encoder().encode
_keys = msgspec.json.Decoder(dict[str, Raw]).decode


def noted(events: Sequence[NewEvent], environ: Mapping[str, Any]) -> list[NewEvent]:
    """Return the events, with the trace of their request in ``meta``.

    An event whose ``meta`` names a trace already keeps that one. A malformed trace is ignored.
    """
    trace = of_headers(environ.get("HTTP_TRACEPARENT"), environ.get("HTTP_TRACESTATE"))
    if not trace:
        return list(events)
    added = _encode(trace).decode()
    return [_with(event, added) for event in events]


def of_headers(parent: str | None, state: str | None) -> dict[str, str]:
    """Return the trace that two headers name, empty where ``traceparent`` is malformed."""
    parent = (parent or "").strip(" \t")
    match = _PARENT.fullmatch(parent)
    if match is None or len(parent) > _MAX_PARENT:
        return {}
    if match["version"] == "00" and match["more"] is not None:
        return {}
    trace = {PARENT: parent}
    if state and is_state(state):
        trace[STATE] = state.strip(" \t")
    return trace


def is_state(text: str) -> bool:
    """Return whether the text is a list of ``tracestate``. Rule: W3C Trace Context, 3.3.1."""
    members = [member.strip(" \t") for member in text.split(",")]
    named = [member for member in members if member]
    if not named or len(members) > _MAX_MEMBERS or len(text) > _MAX_STATE:
        return False
    keys = []
    for member in named:
        key, equals, value = member.partition("=")
        if not (equals and _KEY.fullmatch(key) and _STATE_VALUE.fullmatch(value)):
            return False
        keys.append(key)
    return len(set(keys)) == len(keys)


def _with(event: NewEvent, trace: str) -> NewEvent:
    """Return the event with the trace, which is JSON, added to its ``meta``."""
    if event.meta == "{}":
        return msgspec.structs.replace(event, meta=trace)
    keys = _keys(event.meta)
    if PARENT in keys or STATE in keys:
        return event
    return msgspec.structs.replace(event, meta=f"{event.meta[:-1]},{trace[1:]}")
