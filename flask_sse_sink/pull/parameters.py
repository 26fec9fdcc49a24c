"""What requests to a pulled sink ask for, from their query and their body."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, NamedTuple, TypeAlias

import msgspec
from msgspec import Meta, Struct

from ..config.values import Interval
from ..filters import Filter, MalformedQuery, parse_query
from .settings import PullSettings

#: The query of a request, with all values of each parameter.
Query: TypeAlias = Mapping[str, Sequence[str]]

_MICROSECONDS = 1_000_000
_NUMBER = re.compile(r"[0-9]{1,18}")
#: The largest number that may be an id.
MAX_ID = 10**18 - 1


class BadParameter(ValueError):
    """A parameter can't be used; ``name`` is its name, the message has the cure."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name


class Extract(NamedTuple):
    """What ``extract`` is asked for; ``lease_us`` is in microseconds, ``wait`` in seconds."""

    filter: Filter
    batch_size: int
    lease_us: int
    wait: float


class EventIds(Struct, forbid_unknown_fields=True):
    """The events that a request is for; without `ids`, all.

    A key that is misspelt is refused: without ``ids`` a request is for all events.
    """

    ids: list[Annotated[int, Meta(ge=1, le=MAX_ID)]] | None = None


def parse_extract(query: Query, settings: PullSettings) -> Extract:
    """Return what a request for a batch asks for.

    :raises BadParameter: a parameter can't be used.
    """
    try:
        filter = parse_query(query)
    except MalformedQuery as error:
        raise BadParameter(error.criterion, str(error)) from None
    batch_size = _number(query, "batch_size", settings.max_batch_size) or settings.batch_size
    lease = seconds(query, "lease")
    wait = seconds(query, "wait") or 0.0
    if wait > settings.max_wait:
        raise BadParameter("wait", f"{wait:g} s is too long; wait {settings.max_wait:g} s at most")
    lease_us = round((settings.lease if lease is None else lease) * _MICROSECONDS)
    return Extract(filter, batch_size, lease_us, wait)


def batch_size(query: Query, settings: PullSettings) -> int:
    """Return how many events a request wants.

    :raises BadParameter: it isn't a number from 1 to the sink's ``max_batch_size``.
    """
    return _number(query, "batch_size", settings.max_batch_size) or settings.batch_size


def id_in(query: Query, name: str) -> int | None:
    """Return the id that a parameter has, None where it is missing or empty.

    :raises BadParameter: it is no id.
    """
    return _number(query, name, MAX_ID, least=0)


def batch_in(query: Query) -> int:
    """Return the ``batch_id`` of a request.

    :raises BadParameter: it is missing, or no id.
    """
    batch = id_in(query, "batch_id")
    if batch is None:
        raise BadParameter("batch_id", "it is missing; send the `batch_id` of an extract")
    return batch


def _number(query: Query, name: str, most: int, least: int = 1) -> int | None:
    text = _text(query, name)
    if text is None:
        return None
    if not _NUMBER.fullmatch(text) or not least <= int(text) <= most:
        raise BadParameter(
            name, f"{text[:80]!r} can't be used; send a whole number from {least} to {most}"
        )
    return int(text)


def seconds(query: Query, name: str) -> float | None:
    """Return the seconds that a parameter has, None where it is missing or empty.

    :raises BadParameter: it is no interval.
    """
    text = _text(query, name)
    if text is None:
        return None
    try:
        return Interval.read(text)
    except ValueError as error:
        raise BadParameter(name, str(error)) from None


def _text(query: Query, name: str) -> str | None:
    values = [value.strip() for value in query.get(name, ()) if value.strip()]
    if len(values) > 1:
        raise BadParameter(name, f"it is given {len(values)} times; send it once")
    return values[0] if values else None


def ids_in(body: bytes) -> list[int] | None:
    """Return the ids that a body names, None for all: it is empty, or names none.

    :raises BadParameter: the body isn't JSON of the shape ``{"ids": [1, 2]}``.
    """
    if not body.strip():
        return None
    try:
        ids = msgspec.json.decode(body, type=EventIds).ids
    except (msgspec.MsgspecError, RecursionError, ValueError) as error:
        raise BadParameter(
            "ids", f'{error}; send e.g. {{"ids": [41, 42]}}, or no body for all'
        ) from None
    return ids
