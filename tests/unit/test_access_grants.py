"""What grants cover, and how claims fill their templates."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from flask_sse_sink.access.authenticate import readable
from flask_sse_sink.access.claims import grants_of_claim
from flask_sse_sink.access.grants import Grants
from flask_sse_sink.access.principal import Identity, Kind, Principal
from flask_sse_sink.access.refusal import Refusal
from flask_sse_sink.access.templates import ConfiguredGrants
from flask_sse_sink.config.grants import (
    EntityIds,
    EventTypes,
    PublishGrantSettings,
    ReadGrantSettings,
    SourceNames,
    Texts,
)
from flask_sse_sink.event import Event, Source
from flask_sse_sink.filters import Filter, parse, parse_query

SETTINGS: dict[str, type[Texts]] = {
    "event_type": EventTypes,
    "entity_id": EntityIds,
    "source": SourceNames,
    "sink": Texts,
}


def grant(**values: Any) -> ReadGrantSettings:
    read: dict[str, Any] = {name: SETTINGS[name].read(value) for name, value in values.items()}
    return ReadGrantSettings(**read)


def filled(claims: dict[str, Any], **values: Any) -> str:
    """Return what somebody with these claims reads of the sink `inbox`."""
    grants = ConfiguredGrants([grant(**values)], []).for_claims(claims)
    return grants.readable("inbox").query()


def event(event_type: str = "a", entity_id: str | None = None, source: str = "default") -> Event:
    return Event(1, "e", event_type, entity_id, "", Raw(b"{}"), Source(1, source), Raw(b"{}"))


def principal(grants: Grants) -> Principal:
    return Principal(Identity(Kind.TOKEN, "", "x"), "x", grants)


# Few names, so that they often meet.
names = st.sampled_from(["a", "b", "c.d", "*"])
texts = names | st.lists(names, max_size=3)
patterns = st.sampled_from(["*", "a", "a.*", "a.b", "a.b.*", "b", "c.*"])
selections = {
    "event_type": patterns | st.lists(patterns, max_size=3),
    "entity_id": texts,
    "source": texts,
}
grants_claims = st.fixed_dictionaries(
    {},
    optional={
        "subscribe": st.lists(
            st.fixed_dictionaries({}, optional={**selections, "sink": texts}), max_size=4
        ),
        "publish": st.lists(st.fixed_dictionaries({}, optional=selections), max_size=4),
    },
)
events = st.builds(
    event,
    st.sampled_from(["a", "a.b", "a.b.c", "b", "c.d", "ab"]),
    st.sampled_from([None, "a", "b", "c.d", "*", ""]),
    st.sampled_from(["a", "b", "c.d", "*", "default"]),
)
queries = st.fixed_dictionaries(
    {},
    optional={
        "event_type": st.lists(patterns, max_size=2),
        "entity_id": st.lists(names, max_size=2),
        "source": st.lists(names, max_size=2),
    },
)


def allows(values: Any, text: str | None) -> bool:
    """Return whether one of a grant's values is the text, written without the package's code."""
    return text in ([values] if isinstance(values, str) else values)


def allows_type(values: Any, event_type: str) -> bool:
    return any(
        pattern in ("*", event_type)
        or (pattern.endswith(".*") and event_type.startswith(pattern[:-1]))
        for pattern in ([values] if isinstance(values, str) else values)
    )


def covers(one: dict[str, Any], event: Event) -> bool:
    return (
        ("event_type" not in one or allows_type(one["event_type"], event.event_type))
        and ("entity_id" not in one or allows(one["entity_id"], event.entity_id))
        and ("source" not in one or allows(one["source"], event.source.name))
    )


@given(grants_claims, queries, patterns, events)
def test_what_a_principal_reads_is_sink_and_grants_and_query(
    claim: dict[str, Any], query: dict[str, list[str]], match: str, event: Event
) -> None:
    asked = parse_query(query)
    granted = any(
        covers(one, event) and ("sink" not in one or allows(one["sink"], "a"))
        for one in claim.get("subscribe", [])
    )
    expected = granted and asked.matches(event) and parse([match]).matches(event)
    try:
        filter = readable(principal(grants_of_claim(claim)), "a", asked)
    except Refusal as refusal:
        assert refusal.reason == "insufficient_scope"
        filter = Filter(())
    assert parse([match]).narrowed(filter).matches(event) == expected


@given(grants_claims, events)
def test_what_a_principal_publishes_is_what_a_grant_covers(
    claim: dict[str, Any], event: Event
) -> None:
    expected = any(covers(one, event) for one in claim.get("publish", []))
    assert grants_of_claim(claim).may_publish(event) == expected


@given(st.text(max_size=20), st.text(max_size=20))
def test_a_claim_is_taken_to_the_letter(claim: str, other: str) -> None:
    grants = ConfiguredGrants([grant(entity_id="{sub}")], []).for_claims({"sub": claim})
    assert not grants.readable("inbox").matches(event(entity_id=other)) or claim == other


@given(st.text(min_size=1, max_size=20), st.sampled_from(["x", "x.y", "a.x", "a.b.x"]))
def test_a_claim_never_widens_an_event_type(claim: str, event_type: str) -> None:
    grants = ConfiguredGrants([grant(event_type="a.{team}")], []).for_claims({"team": claim})
    assert grants.readable("inbox").matches(event(event_type)) == (event_type == f"a.{claim}")


@pytest.mark.parametrize(
    ("values", "claims", "expected"),
    [
        ({"entity_id": "{sub}"}, {"sub": "*"}, "event_type=*&entity_id=*"),
        ({"entity_id": "{sub}"}, {"sub": 7}, "event_type=*&entity_id=7"),
        ({"entity_id": "acme:{sub}"}, {"sub": "ann"}, "event_type=*&entity_id=acme:ann"),
        ({"entity_id": "{a}/{b}"}, {"a": "x", "b": "y"}, "event_type=*&entity_id=x/y"),
        ({"entity_id": "{teams}"}, {"teams": ["a", 1]}, "event_type=*&entity_id=1,a"),
        ({"entity_id": ["{sub}", "all"]}, {"sub": "ann"}, "event_type=*&entity_id=all,ann"),
        ({"entity_id": "{https://app.example/id}"}, {"https://app.example/id": "x"},
         "event_type=*&entity_id=x"),
        # Expanded once: a claim's own braces mean nothing.
        ({"entity_id": "{a}"}, {"a": "{b}", "b": "x"}, "event_type=*&entity_id={b}"),
        ({"entity_id": "{a}{b}"}, {"a": "{b}", "b": "x"}, "event_type=*&entity_id={b}x"),
        ({"source": "{sub}"}, {"sub": "shop"}, "event_type=*&source=shop"),
        ({"event_type": "user.{sub}.*"}, {"sub": "ann"}, "event_type=user.ann.*"),
        ({"event_type": "{teams}"}, {"teams": ["a", "b"]}, "event_type=a,b"),
        ({"sink": "inbox", "entity_id": "{sub}"}, {"sub": "a"}, "event_type=*&entity_id=a"),
        ({"sink": "other", "entity_id": "{sub}"}, {"sub": "a"}, "nothing"),
        # Void: the claim is missing, or of another kind.
        ({"entity_id": "{sub}"}, {}, "nothing"),
        ({"entity_id": "{sub}"}, {"sub": None}, "nothing"),
        ({"entity_id": "{sub}"}, {"sub": True}, "nothing"),
        ({"entity_id": "{sub}"}, {"sub": 1.5}, "nothing"),
        ({"entity_id": "{sub}"}, {"sub": {"a": 1}}, "nothing"),
        ({"entity_id": "{sub}"}, {"sub": []}, "nothing"),
        ({"entity_id": "{sub}"}, {"sub": ["a", None]}, "nothing"),
        ({"entity_id": "{sub}"}, {"sub": [["a"]]}, "nothing"),
        ({"entity_id": "{sub}"}, {"sub": "x" * 256}, "nothing"),
        ({"entity_id": "{sub}"}, {"sub": "a\nb"}, "nothing"),
        ({"entity_id": "{sub}"}, {"sub": ""}, "nothing"),
        ({"entity_id": "a:{sub}"}, {"sub": ["a"]}, "nothing"),
        ({"entity_id": ["{sub}", "all"]}, {}, "nothing"),
        # In a type it must be one name.
        ({"event_type": "user.{sub}"}, {"sub": "*"}, "nothing"),
        ({"event_type": "user.{sub}"}, {"sub": "a.b"}, "nothing"),
        ({"event_type": "user.{sub}"}, {"sub": ""}, "nothing"),
        ({"event_type": "{sub}"}, {"sub": "*"}, "nothing"),
        ({"event_type": "{sub}"}, {"sub": ["a", "b.*"]}, "nothing"),
    ],
)  # fmt: skip
def test_templates(values: dict[str, Any], claims: dict[str, Any], expected: str) -> None:
    assert filled(claims, **values) == expected


def test_a_void_grant_leaves_the_others() -> None:
    both = ConfiguredGrants([grant(entity_id="{sub}"), grant(source="shop")], [])
    assert both.for_claims({}).readable("inbox").query() == "event_type=*&source=shop"


def test_a_grant_of_everything_makes_the_filter_everything() -> None:
    grants = grants_of_claim(
        {"subscribe": [{"source": "a"}, {}], "publish": [{}, {"source": "a"}]}
    )
    assert grants.readable("inbox").everything
    assert grants.publishable.everything


@pytest.mark.parametrize(
    ("sources", "expected"),
    [
        (["shop"], "shop"),
        (["shop", "shop"], "shop"),
        ([["shop"]], "shop"),
        (["shop", "till"], None),
        ([["shop", "till"]], None),
        (["shop", None], None),
        ([], None),
    ],
)
def test_the_own_source_is_the_one_that_all_grants_name(
    sources: list[Any], expected: str | None
) -> None:
    publish = [
        PublishGrantSettings(source=SourceNames.read(name)) if name else PublishGrantSettings()
        for name in sources
    ]
    assert ConfiguredGrants([], publish).for_claims({}).own_source == expected


def test_a_refusal_says_what_was_asked_and_what_is_granted() -> None:
    somebody = principal(grants_of_claim({"subscribe": [{"event_type": "order.*"}]}))
    with pytest.raises(Refusal) as caught:
        readable(somebody, "inbox", parse(["user.*"]))
    assert (caught.value.asked, caught.value.granted) == (
        "event_type=user.*",
        "event_type=order.*",
    )
    with pytest.raises(Refusal) as caught:
        readable(principal(Grants()), "inbox", parse(["*"]))
    assert caught.value.granted == "nothing"
