"""The index of filters finds just those that let an event through."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from flask_sse_sink.event import Event, Source
from flask_sse_sink.filters import EVERYTHING, Filter, parse, parse_query
from flask_sse_sink.filters.index import FilterIndex

TYPES = ["a", "a.b", "a.b.c", "a.bc", "b", "b.c", "ab.c"]
PATTERNS = [*TYPES, "a.*", "a.b.*", "b.*", "*"]
ENTITIES = ["e1", "e2", "e,3"]
SOURCES = ["s1", "s2"]

queries = st.fixed_dictionaries(
    {},
    optional={
        "event_type": st.lists(st.sampled_from(PATTERNS), min_size=1, max_size=3),
        # Twice at least: so commas are kept.
        "entity_id": st.lists(st.sampled_from(ENTITIES), min_size=2, max_size=3),
        "source": st.lists(st.sampled_from(SOURCES), min_size=1, max_size=2),
    },
).map(parse_query)
filters = st.lists(queries, min_size=1, max_size=3).map(
    lambda several: Filter(tuple(dict.fromkeys(s for each in several for s in each.selections)))
)


def event(event_type: str, entity_id: str | None = None, source: str = "s1") -> Event:
    at = "2026-01-01T00:00:00+00:00"
    return Event(1, "e", event_type, entity_id, at, Raw(b"{}"), Source(1, source), Raw(b"{}"))


EVENTS = [
    event(event_type, entity_id, source)
    for event_type in TYPES
    for entity_id in (None, *ENTITIES)
    for source in SOURCES
]


def check(index: FilterIndex[int], kept: dict[int, Filter]) -> None:
    for each in EVENTS:
        matching = index.matching(each)
        assert len(matching) == len(set(matching))
        assert set(matching) == {n for n, filter in kept.items() if filter.matches(each)}


@given(st.lists(filters, max_size=12), st.lists(st.integers(0, 11)))
def test_what_the_index_finds_is_what_matches(all: list[Filter], going: list[int]) -> None:
    index: FilterIndex[int] = FilterIndex()
    kept = dict(enumerate(all))
    for number, filter in kept.items():
        index.add(number, filter)
    check(index, kept)
    for number in going:
        index.discard(number)
        kept.pop(number, None)
    check(index, kept)
    for number in list(kept):
        index.discard(number)
    assert not any(index.matching(each) for each in EVENTS)


@given(filters, filters)
def test_a_narrowed_filter_lets_through_what_both_do(one: Filter, other: Filter) -> None:
    both = one.narrowed(other)
    for each in EVENTS:
        assert both.matches(each) == (one.matches(each) and other.matches(each))


def test_an_event_is_tried_against_no_filter_for_another_entity_or_type() -> None:
    tried = 0

    class Counted(frozenset[str]):
        def __contains__(self, item: object) -> bool:
            nonlocal tried
            tried += 1
            return super().__contains__(item)

    index: FilterIndex[int] = FilterIndex()
    for number in range(4000):
        index.add(number, parse_query({"entity_id": [f"user_{number}"], "event_type": ["a.*"]}))
        index.add(-number - 1, parse([f"own.n{number}", f"own.n{number}.*"]))
    index.add(9000, EVERYTHING)
    assert index.matching(event("a.b", "user_7")) == [9000, 7]
    assert index.matching(event("b", "user_7")) == [9000]
    assert index.matching(event("own.n7.x")) == [9000, -8]
    assert index.matching(event("own.n7")) == [9000, -8]
    assert index.matching(event("nobody")) == [9000]
    assert tried == 0


def test_values_given_once_are_split_at_commas_and_repeated_ones_are_whole() -> None:
    def ids(*values: str) -> list[str]:
        selection = parse_query({"entity_id": values}).selections[0]
        return [] if not selection.criteria else selection.get("entity_id").values()

    assert ids("a,b") == ["a", "b"]
    assert ids("a,b", "c") == ["a,b", "c"]
    assert ids("a,b", "a,b") == ["a,b"]
    assert ids("a,,") == ["a"]
    assert ids("") == ids("", "") == ids(",") == []
    assert ids("a, b") == [" b", "a"]
