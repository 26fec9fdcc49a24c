"""What a request for a stream asks for: which events, and from where on."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ..access.principal import Principal
from ..filters import Filter, MalformedQuery, parse_query
from .probe import parse_probe
from .since import parse_since

EARLIEST = "earliest"
#: The query's parameters for the last id, in the order in which they are looked at: ours, and
#: those of EventSource libraries that can't set headers.
LAST_ID_PARAMETERS = ("last_event_id", "lastEventId", "lastEventID", "Last-Event-ID")

_ID = re.compile(r"[0-9]{1,19}")
_MAX_ID = 2**63 - 1


class MalformedRequest(ValueError):
    """A request's query or header can't be used; ``title`` names it, the message has the cure."""

    def __init__(self, title: str, message: str) -> None:
        super().__init__(message)
        self.title = title


class ResumePosition(NamedTuple):
    """Where a client goes on: after an id, in the log with this identity if the client names one.

    ``earliest`` means that the client doesn't care about what is no longer kept. With
    ``since_us``, the client wants the events that were stored since that time, in microseconds
    since the epoch, and all those after ``id``.
    """

    id: int
    identity: str = ""
    earliest: bool = False
    since_us: int | None = None


class Subscription(NamedTuple):
    """The events that a client wants. Without a ``position``, it wants live events only.

    ``principal`` is who the client is, None where the sink is open to everybody. ``probe_frames``
    is how many frames of a probe it wants (:mod:`~.probe`). ``wants_settings`` says whether it
    asks for the notice ``settings``.
    """

    filter: Filter
    position: ResumePosition | None = None
    principal: Principal | None = None
    probe_frames: int = 0
    wants_settings: bool = False


def parse_position(
    header: str | None, parameter: str | None, identity: str | None = None
) -> ResumePosition | None:
    """Return where a request wants to go on, None where it wants live events only.

    ``header`` is the request's ``Last-Event-ID``, which wins; ``parameter`` is the value of one of
    :data:`LAST_ID_PARAMETERS`, and ``identity`` that of ``log``. Empty ones are as none.

    :raises ValueError: the value is no id; the message tells how to write one.
    """
    text = (header or "").strip() or (parameter or "").strip()
    if not text:
        return None
    if text == EARLIEST:
        return ResumePosition(0, earliest=True)
    if not _ID.fullmatch(text) or int(text) > _MAX_ID:
        raise ValueError(
            f"{text[:80]!r} is no event's id; send the id of the last event you have, "
            f"or `{EARLIEST}` for all that is kept"
        )
    return ResumePosition(int(text), (identity or "").strip())


def parse_subscription(
    query: Mapping[str, Sequence[str]], last_event_id: str | None, replay: bool
) -> Subscription:
    """Return what a request asks for: its query with all values, and its ``Last-Event-ID``.

    Without ``replay``, the sink has live events only, and positions are ignored.

    :raises MalformedRequest: the query or the header can't be used.
    """
    try:
        filter = parse_query(query)
    except MalformedQuery as error:
        raise MalformedRequest(f"Malformed {error.criterion}", str(error)) from None
    try:
        probe_frames = parse_probe(_first(query, "probe"))
    except ValueError as error:
        raise MalformedRequest("Malformed probe", str(error)) from None
    live = Subscription(filter, None, None, probe_frames, "settings" in query.get("info", ()))
    if not replay:
        return live
    values = (_first(query, name) for name in LAST_ID_PARAMETERS)
    parameter = next((value for value in values if value), None)
    try:
        position = parse_position(last_event_id, parameter, _first(query, "log"))
    except ValueError as error:
        raise MalformedRequest("Malformed last event id", str(error)) from None
    since = _first(query, "since")
    # An EventSource that connects again sends the id that it has, and the same URL.
    if position is None and since:
        try:
            position = ResumePosition(0, since_us=parse_since(since))
        except ValueError as error:
            raise MalformedRequest("Malformed since", str(error)) from None
    return live._replace(position=position)


def _first(query: Mapping[str, Sequence[str]], name: str) -> str:
    return query.get(name, [""])[0].strip()
