"""A kind of criterion registered from outside: streams, replays and errors have it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import pytest

from flask_sse_sink.event import Event
from flask_sse_sink.extension import runtime_of
from flask_sse_sink.filters import (
    CRITERIA,
    EVERYTHING,
    CriterionKind,
    Filter,
    MalformedQuery,
    parse,
    parse_query,
    split_at_commas,
)
from flask_sse_sink.submission import new_event
from support.apps import Listen, MakeApp
from support.chunks import event


class MaxSize(NamedTuple):
    """Lets events through whose data has so many bytes at most."""

    size: int

    def matches(self, event: Event) -> bool:
        return len(bytes(event.data)) <= self.size

    def narrowed(self, other: MaxSize) -> MaxSize | None:
        return min(self, other)

    def values(self) -> list[str]:
        return [str(self.size)]


def largest(values: list[str]) -> MaxSize:
    try:
        return MaxSize(max(int(value) for value in values))
    except ValueError:
        raise ValueError(f"{values[0]!r} is no size; write a number of bytes") from None


@pytest.fixture(autouse=True)
def max_size() -> Iterator[None]:
    CRITERIA.register("max_size", CriterionKind(split_at_commas, largest))
    yield
    CRITERIA.unregister("max_size")


def query(**values: str) -> Filter:
    return parse_query({name: [value] for name, value in values.items()})


def test_an_event_must_meet_all_criteria() -> None:
    both = query(event_type="a.*", max_size="5,3")
    passing = [(type, size) for type in ("a.b", "b") for size in (4, 5, 6)]
    assert [
        (type, size) for type, size in passing if both.matches(event(1, size, event_type=type))
    ] == [("a.b", 4), ("a.b", 5)]
    assert both == query(max_size="5", event_type="a.*")
    assert hash(both) == hash(query(max_size="5", event_type="a.*"))
    assert both.query() == "event_type=a.*&max_size=5"
    assert query(max_size="5").query() == "event_type=*&max_size=5"
    assert (both.everything, both.is_of_types) == (False, False)


def test_a_filter_is_narrowed_criterion_by_criterion() -> None:
    small = query(max_size="5")
    assert query(max_size="9").narrowed(small) == small
    assert parse(["a.*"]).narrowed(small) == query(event_type="a.*", max_size="5")
    assert EVERYTHING.narrowed(small) == small.narrowed(EVERYTHING) == small
    assert query(event_type="a", max_size="5").narrowed(parse(["b"])).selections == ()
    assert not parse(["a"]).narrowed(parse(["b"])).matches(event(1, event_type="a"))
    either = Filter(parse(["a"]).selections + small.selections)
    assert either.matches(event(1, 99, event_type="a")) and either.matches(event(1, 3))
    assert either.narrowed(parse(["b"])) == query(event_type="b", max_size="5")


def test_what_can_not_be_parsed_names_the_criterion(make_app: MakeApp) -> None:
    with pytest.raises(MalformedQuery) as caught:
        query(max_size="x")
    assert (caught.value.criterion, str(caught.value)) == (
        "max_size",
        "'x' is no size; write a number of bytes",
    )
    answer = make_app().test_client().get("/events_stream/?max_size=x")
    assert answer.status_code == 400
    assert answer.get_json()["title"] == "Malformed max_size"
    many = {"event_type": ["a"] * 200, "max_size": ["1"] * 57}
    with pytest.raises(MalformedQuery, match="257 values; send at most 256"):
        parse_query(many)


def test_a_stream_has_what_meets_it_live_and_in_a_replay(
    make_app: MakeApp, listen: Listen
) -> None:
    app = make_app(sink={"events_stream": {"type": "sse", "match": "a.*", "replay": True}})
    publish = runtime_of(app).publish
    publish([new_event("a.b", "x" * size) for size in (2, 20, 3)])
    publish([new_event("b", "x")])
    replayed = app.test_client().get(
        "/events_stream/?max_size=5&last_event_id=earliest", buffered=False
    )
    live = app.test_client().get("/events_stream/?max_size=5", buffered=False)
    frames = iter(replayed.iter_encoded())
    live_frames = iter(live.iter_encoded())
    next(live_frames)
    publish([new_event("a.c", "y" * size) for size in (30, 1)])
    data = b""
    while b'"y"' not in data:
        data += next(frames)
    assert [n for n in range(1, 7) if b"id: %d\n" % n in data] == [1, 3, 6]
    assert b"id: 6\n" in next(live_frames)
    replayed.close()
    live.close()


def test_an_unknown_parameter_is_passed_over() -> None:
    assert query(colour="red") == EVERYTHING
