"""Tickets, and the JSON of grants."""

from __future__ import annotations

import base64
import hashlib
import re
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from itsdangerous import URLSafeSerializer

from flask_sse_sink.access import selection_json
from flask_sse_sink.access.grants import Grants, ReadGrant
from flask_sse_sink.access.principal import Identity, Kind, Principal
from flask_sse_sink.access.refusal import Reason, Refusal
from flask_sse_sink.access.tickets import MAX_LENGTH, Tickets, TicketTooLarge
from flask_sse_sink.filters import EVERYTHING, Criterion, Filter, Selection, selection
from flask_sse_sink.filters.exact import EntityIds, Sources
from flask_sse_sink.filters.patterns import ALL_TYPES, NO_TYPES, parse_patterns

SECRET = b"a-secret-of-the-tests-with-32-bytes-and-more"
OTHER = b"another-secret-of-the-tests-with-32-bytes-or-so"

_names = st.text(st.characters(blacklist_categories=("Cs", "Cc")), max_size=20)
_words = st.from_regex(r"\A[a-zé*]{1,3}\Z").filter(lambda word: "*" not in word)
_types = st.lists(_words, min_size=1, max_size=3).map(".".join)
_patterns = st.one_of(st.just("*"), _types, _types.map(lambda name: f"{name}.*"))
_criteria: st.SearchStrategy[dict[str, Criterion]] = st.fixed_dictionaries(
    {},
    optional={
        "event_type": st.lists(_patterns, max_size=4).map(parse_patterns),
        "entity_id": st.frozensets(_names, max_size=3).map(EntityIds),
        "source": st.frozensets(_names, max_size=3).map(Sources),
    },
)
_selections = _criteria.map(selection)
_read_grants = st.builds(
    ReadGrant, st.one_of(st.none(), st.frozensets(_names, max_size=3)), _selections
)
_grants = st.builds(
    Grants,
    st.lists(_read_grants, max_size=3).map(tuple),
    st.lists(_selections, max_size=3).map(tuple),
)
_seconds = st.one_of(st.none(), st.floats(0, 1e6), st.integers(0, 10**6).map(float))
_principals = st.builds(
    Principal,
    st.builds(Identity, st.sampled_from(Kind), _names, _names),
    _names,
    st.just(Grants()),
    _seconds,
    _seconds.map(lambda at: None if at is None else at + 2e9),
)


class Clock:
    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def somebody(**more: Any) -> Principal:
    return Principal(Identity(Kind.JWT, "https://a/", "ann"), "ann", Grants(), **more)


def reason_of(tickets: Tickets, ticket: str) -> str:
    with pytest.raises(Refusal) as refused:
        tickets.read(ticket, "inbox")
    assert not ticket or ticket not in str(refused.value)
    return refused.value.reason


@given(_selections)
@example(Selection((("event_type", ALL_TYPES),)))
@example(Selection((("event_type", NO_TYPES),)))
def test_a_selection_is_the_same_after_json(events: Selection) -> None:
    text = msgspec.json.encode(selection_json.to_json(events))
    assert selection_json.from_json(msgspec.json.decode(text)) == events


@given(_grants)
def test_grants_are_the_same_after_json(grants: Grants) -> None:
    text = msgspec.json.encode(grants.to_json())
    assert Grants.of(**msgspec.json.decode(text)) == grants


def test_grants_take_one_value_or_a_list() -> None:
    one = Grants.of(subscribe=[{"sink": "inbox", "entity_id": "7"}], publish=[{"source": "shop"}])
    several = Grants.of(
        subscribe=[{"sink": ["inbox"], "entity_id": [7]}], publish=[{"source": ["shop"]}]
    )
    assert one == several
    assert one.readable("inbox") == Filter((selection({"entity_id": EntityIds(frozenset("7"))}),))
    assert one.readable("other") == Filter(())


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("inbox", "'inbox' is not an object"),
        ({"sinks": "inbox"}, "'sinks' is not known here; known are event_type, entity_id, source"),
        ({"entity_id": None}, "entity_id: None is neither a text nor a list of texts"),
        ({"entity_id": ["a", None]}, "entity_id: None is not a text"),
        ({"entity_id": True}, "entity_id: True is not a text"),
        ({"sink": {"a": 1}}, "sink: {'a': 1} is neither"),
        ({"event_type": "a*"}, "'a*' is not a pattern"),
        ({"source": "a\nb"}, "can't be a source's name"),
    ],
)
def test_malformed_grants_say_what_is_wrong(value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        Grants.of(subscribe=[value])


@given(_principals, _names, st.lists(_selections, max_size=3))
def test_a_ticket_gives_the_principal_back_for_its_sink_alone(
    principal: Principal, sink: str, events: list[Selection]
) -> None:
    tickets = Tickets([SECRET], clock=Clock(1e9))
    ticket, seconds = tickets.make(principal, sink, Filter(tuple(events)))
    assert seconds == 60
    read = tickets.read(ticket, sink)
    assert read._replace(grants=Grants()) == principal
    assert read.grants.publish == ()
    all_sinks = Grants(tuple(ReadGrant(None, each) for each in events))
    assert read.grants.readable(sink) == all_sinks.readable(sink)
    assert read.grants.readable(sink + "x") == Filter(())
    with pytest.raises(Refusal, match="another sink") as refused:
        tickets.read(ticket, sink + "x")
    assert refused.value.reason == Reason.INSUFFICIENT_SCOPE


def test_a_ticket_is_taken_often_until_its_time_is_over() -> None:
    clock = Clock()
    tickets = Tickets([SECRET], 60, clock)
    ticket, _ = tickets.make(somebody(), "inbox", EVERYTHING)
    clock.now = 1059.9
    assert [tickets.read(ticket, "inbox").identity.subject for _ in range(3)] == ["ann"] * 3
    clock.now = 1060.0
    assert reason_of(tickets, ticket) == Reason.EXPIRED


def test_a_ticket_ends_with_its_token() -> None:
    clock = Clock()
    tickets = Tickets([SECRET], 60, clock)
    ticket, seconds = tickets.make(somebody(expires_at=1010.5), "inbox", EVERYTHING)
    assert seconds == 10.5
    assert tickets.read(ticket, "inbox").expires_at == 1010.5
    clock.now = 1010.5
    assert reason_of(tickets, ticket) == Reason.EXPIRED


def test_the_first_secret_signs_and_each_is_taken() -> None:
    old, both, new = Tickets([OTHER]), Tickets([SECRET, OTHER]), Tickets([SECRET])
    by_old, _ = old.make(somebody(), "inbox", EVERYTHING)
    by_both, _ = both.make(somebody(), "inbox", EVERYTHING)
    assert both.read(by_old, "inbox") == old.read(by_old, "inbox")
    assert new.read(by_both, "inbox") == both.read(by_both, "inbox")
    assert reason_of(new, by_old) == Reason.BAD_SIGNATURE
    assert reason_of(old, by_both) == Reason.BAD_SIGNATURE


def test_a_ticket_is_short() -> None:
    grants = Grants.of(subscribe=[{"entity_id": "user_4711"}])
    principal = somebody(issued_at=1.7e9, expires_at=1.7e9 + 3600)
    ticket, _ = Tickets([SECRET]).make(principal, "inbox", grants.readable("inbox"))
    assert len(ticket) < 260


def test_what_no_ticket_can_hold_is_refused_as_it_is_made() -> None:
    ids = [
        base64.b85encode(bytes([n, 7 * n % 256, 31 * n % 256]) * 9).decode() for n in range(200)
    ]
    events = Grants.of(subscribe=[{"entity_id": ids}]).readable("inbox")
    with pytest.raises(TicketTooLarge, match="narrow it by entity_id"):
        Tickets([SECRET]).make(somebody(), "inbox", events)


@pytest.mark.parametrize(
    ("ticket", "reason"),
    [
        ("", Reason.MALFORMED),
        ("abc", Reason.MALFORMED),
        ("a." * MAX_LENGTH, Reason.MALFORMED),
        (".", Reason.BAD_SIGNATURE),
        ("a.b", Reason.BAD_SIGNATURE),
        ("é.ü", Reason.BAD_SIGNATURE),
        ("\udc80.a", Reason.BAD_SIGNATURE),
    ],
)
def test_what_is_no_ticket_is_refused_with_a_reason(ticket: str, reason: str) -> None:
    assert reason_of(Tickets([SECRET]), ticket) == reason


def test_a_changed_ticket_is_refused() -> None:
    tickets = Tickets([SECRET])
    ticket, _ = tickets.make(somebody(), "inbox", EVERYTHING)
    for place in range(0, len(ticket), 7):
        letter = "A" if ticket[place] != "A" else "B"
        changed = ticket[:place] + letter + ticket[place + 1 :]
        assert reason_of(tickets, changed) in (Reason.BAD_SIGNATURE, Reason.MALFORMED)


def _signed(content: object, salt: bytes = b"flask-sse-sink.ticket") -> str:
    kwargs = {"key_derivation": "hmac", "digest_method": hashlib.sha256}
    serializer: URLSafeSerializer = URLSafeSerializer(SECRET, salt, signer_kwargs=kwargs)
    signed = serializer.dumps(content)
    return signed if isinstance(signed, str) else signed.decode()


RIGHT = [1, 9e9, "inbox", "jwt", "", "ann", "ann", None, None, [{}]]


@pytest.mark.parametrize(
    "content",
    [
        {},
        [2, *RIGHT[1:]],
        RIGHT[:-1],
        [*RIGHT, 1],
        [*RIGHT[:-1], [{"event_type": ["a*"]}]],
        [*RIGHT[:3], "admin", *RIGHT[4:]],
    ],
)
def test_a_ticket_of_another_version_is_malformed(content: object) -> None:
    assert Tickets([SECRET]).read(_signed(RIGHT), "inbox").name == "ann"
    assert reason_of(Tickets([SECRET]), _signed(content)) == Reason.MALFORMED


def test_what_an_app_signed_for_something_else_is_no_ticket() -> None:
    assert reason_of(Tickets([SECRET]), _signed(RIGHT, b"itsdangerous")) == Reason.BAD_SIGNATURE


def test_tickets_need_a_secret() -> None:
    with pytest.raises(ValueError, match="secret"):
        Tickets([])
