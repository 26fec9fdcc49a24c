"""Patterns over event types, rule by rule."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_sse_sink.filters import (
    EVERYTHING,
    MalformedQuery,
)
from flask_sse_sink.filters import (
    parse as parse_filter,
)
from flask_sse_sink.filters import (
    parse_query as parse_whole_query,
)
from flask_sse_sink.filters.patterns import (
    NO_TYPES,
    TypePatterns,
    without_covered,
)
from flask_sse_sink.filters.patterns import (
    parse_patterns as parse,
)


def parse_query(values: list[str]) -> TypePatterns:
    return parse_whole_query({"event_type": values}).types


@pytest.mark.parametrize(
    ("pattern", "event_type", "expected"),
    [
        ("*", "user", True),
        ("*", "user.login", True),
        ("user.*", "user.login", True),
        ("user.*", "user.login.failed", True),
        ("user.*", "user", False),
        ("user.*", "users.x", False),
        ("user.*", "User.login", False),
        ("user.*", "a.user.login", False),
        ("user.login.*", "user.login.failed", True),
        ("user.login.*", "user.login", False),
        ("user", "user", True),
        ("user", "user.login", False),
        ("user.login", "user.login", True),
        ("user.login", "user.logins", False),
        ("user_x.*", "user_x.login", True),
        ("user_x.*", "user1x.login", False),
        ("user%.*", "user%.login", True),
        ("user%.*", "user1.login", False),
        ("%", "%", True),
        ("%", "user", False),
        ("[a].*", "[a].x", True),
        ("[a].*", "a.x", False),
        ("us?r.*", "user.x", False),
        ("é.*", "é.x", True),
    ],
)
def test_a_pattern_matches_to_the_letter(pattern: str, event_type: str, expected: bool) -> None:
    assert parse([pattern]).matches_type(event_type) is expected


@pytest.mark.parametrize(
    "pattern",
    [
        "",
        "*.x",
        "a*",
        ".*",
        "**",
        "*.*",
        "a.*.b",
        "a.*b",
        "a*.*",
        "*a",
        "a\n",
        "a\0.*",
        "a\x7f",
        "a\x85",
        "\ta",
        "x" * 258,
    ],
)
def test_a_malformed_pattern_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match='is not a pattern; write "\\*"'):
        parse(["user.login", pattern])


def test_the_longest_type_can_be_named_and_so_can_what_is_under_it() -> None:
    assert parse(["x" * 255]).matches_type("x" * 255)
    assert parse(["x" * 253 + ".*"]).matches_type("x" * 253 + ".y")


def test_several_patterns_let_through_what_any_of_them_matches() -> None:
    found = parse(["user.*", "order", "cart.add"])
    types = ["user.login", "order", "cart.add", "cart.remove", "order.new", "user"]
    assert [t for t in types if found.matches_type(t)] == ["user.login", "order", "cart.add"]


def test_no_pattern_matches_nothing() -> None:
    assert not parse([]).matches_type("a")


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], ["*"]),
        ([""], ["*"]),
        (["", ","], ["*"]),
        ([" , "], ["*"]),
        (["user.*"], ["user.*"]),
        (["user.*,order"], ["order", "user.*"]),
        (["user.*", "order"], ["order", "user.*"]),
        (["user.* , order,,", ""], ["order", "user.*"]),
        (["a,*"], ["*"]),
    ],
)
def test_a_query_may_repeat_and_hold_commas_and_empty_values(
    values: list[str], expected: list[str]
) -> None:
    assert parse_query(values).values() == expected


def test_a_malformed_query_is_refused() -> None:
    with pytest.raises(MalformedQuery, match="'a\\*' is not a pattern"):
        parse_query(["user.*,a*"])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (["a", "b"], ["b", "a"]),
        (["a", "a"], ["a"]),
        (["a.*", "b.*"], ["b.*", "a.*"]),
        (["a.*", "a.b"], ["a.*"]),
        (["a.*", "a.b.*"], ["a.*"]),
        (["a.b.*", "a.*", "a.b.c.*", "a.b.c"], ["a.*"]),
        (["*", "a", "b.*"], ["*"]),
    ],
)
def test_filters_which_mean_the_same_are_equal(one: list[str], other: list[str]) -> None:
    assert parse(one) == parse(other)
    assert hash(parse(one)) == hash(parse(other))


def test_a_prefix_does_not_cover_the_type_of_its_own_name() -> None:
    assert parse(["a.*", "a", "ab.*"]) == TypePatterns(False, frozenset({"a"}), ("a.", "ab."))


def test_the_star_alone_is_everything() -> None:
    assert parse_filter(["*"]) == EVERYTHING


_word = st.text("ab_%.", min_size=1, max_size=6)


@given(st.lists(_word | _word.map(lambda w: w + ".*"), max_size=5), _word)
def test_a_filter_is_the_union_of_its_patterns_and_reads_back(
    patterns: list[str], event_type: str
) -> None:
    whole = parse(patterns)
    assert whole.matches_type(event_type) == any(
        parse([p]).matches_type(event_type) for p in patterns
    )
    assert parse(whole.values()) == whole


@given(st.lists(st.text()))
def test_a_query_is_a_filter_or_a_value_error(values: list[str]) -> None:
    try:
        found = parse_query(values)
    except ValueError as error:
        assert "is not a pattern" in str(error)
    else:
        assert parse_query([",".join(found.values())]) == found


def test_a_query_has_256_patterns_at_most() -> None:
    names = [f"n{n}.*" for n in range(256)]
    assert len(parse_query(names).prefixes) == 256
    assert parse_query([",".join(names) + ",,", ""]) == parse_query(names)
    for values in ([*names, "x"], [",".join(names), "x"], ["a"] * 257, [",".join("a" * 257)]):
        with pytest.raises(MalformedQuery, match="257 patterns; send at most 256"):
            parse_query(values)


def test_many_patterns_cost_little_more_than_few() -> None:
    compared = 0

    class Counted(str):
        def startswith(self, *args: Any) -> bool:
            nonlocal compared
            compared += len(args[0]) if isinstance(args[0], tuple) else 1
            return super().startswith(*args)

    for count in (100, 1_000, 10_000):
        compared = 0
        some = without_covered(
            [Counted(f"e{n}") for n in range(count)], [Counted(f"p{n}.") for n in range(count)]
        )
        other = TypePatterns(
            False, frozenset(), tuple(sorted(Counted(f"p{n}.") for n in range(count)))
        )
        narrowed = some.narrowed(other)
        assert narrowed is not None and len(narrowed.prefixes) == count
        assert compared < 10 * count


_SOME = st.lists(
    st.sampled_from(["*", "a", "a.*", "a.b", "a.b.*", "a.b.c", "ab", "b.*", "b.c", "c"]),
    min_size=1,
)


@given(_SOME, _SOME)
def test_a_narrowed_filter_lets_through_what_both_do(one: list[str], other: list[str]) -> None:
    both = parse(one).narrowed(parse(other))
    assert both == parse(other).narrowed(parse(one))
    both = both or NO_TYPES
    for name in ("a", "a.b", "a.b.c", "a.b.c.d", "a.x", "ab", "b", "b.c", "b.d", "c", "d"):
        assert both.matches_type(name) == (
            parse(one).matches_type(name) and parse(other).matches_type(name)
        )
