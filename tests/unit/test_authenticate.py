"""Which of a request's credentials count, and which come first."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from flask_sse_sink.access.authenticate import Access
from flask_sse_sink.access.credentials import HEADER_ONLY, Credentials, Rules
from flask_sse_sink.access.grants import Grants
from flask_sse_sink.access.principal import Identity, Kind, Principal
from flask_sse_sink.access.refusal import Reason, Refusal
from flask_sse_sink.access.tokens import StaticTokens, digest

PAGE = "https://app.example"
STREAM = Rules("inbox", tickets=True, cookies=True, origins=frozenset({PAGE}))
OWN = "https://events.example"


def somebody(name: str, kind: Kind = Kind.TOKEN) -> Principal:
    return Principal(Identity(kind, "", name), name, Grants())


class Tickets:
    def read(self, ticket: str, sink: str) -> Principal:
        if ticket != "good":
            raise Refusal(Reason.EXPIRED, "the ticket has expired")
        return somebody(f"ticket for {sink}")


class NobodyIsLeft:
    def check(self, principal: Principal) -> None:
        raise Refusal(Reason.REVOKED, "the token was revoked")


def access() -> Access:
    tokens = StaticTokens((digest(f"{name}-token"), somebody(name)) for name in ("ann", "bob"))
    made = Access(tokens, None, "cookie")
    made.tickets = Tickets()
    return made


def name_of(rules: Rules = STREAM, of: Access | None = None, **credentials: Any) -> str:
    return (of or access()).authenticate(Credentials(own_origin=OWN, **credentials), rules).name


def reason(rules: Rules = STREAM, of: Access | None = None, **credentials: Any) -> str:
    with pytest.raises(Refusal) as caught:
        name_of(rules, of, **credentials)
    return caught.value.reason


ANN = ("Bearer ann-token",)


def test_a_static_token_is_found_by_its_digest() -> None:
    assert name_of(authorization=ANN) == "ann"
    assert name_of(authorization=("bearer  bob-token ",)) == "bob"
    sha256 = hashlib.sha256(b"ann-token").hexdigest()
    for wrong in ("ann-toke", "ann-tokenx", "ANN-TOKEN", sha256, f"sha256:{sha256}", "é" * 9):
        assert reason(authorization=(f"Bearer {wrong}",)) == "malformed"


def test_without_credentials_the_token_is_missing() -> None:
    assert reason() == "missing"
    assert reason(query={"ticket": [""], "token": [""]}) == "missing"


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer ", "Basic YTpi", "ann-token", "Bearer ann-token, Bearer x"]
)
def test_a_bad_header_is_malformed_also_beside_a_good_cookie(header: str) -> None:
    assert reason(authorization=(header,)) == "malformed"
    assert reason(authorization=(header,), cookies=("ann-token",)) == "malformed"
    assert reason(authorization=(header,), query={"ticket": ["good"]}) == "malformed"


def test_two_headers_are_malformed_also_if_they_are_equal() -> None:
    assert reason(authorization=ANN * 2) == "malformed"
    assert reason(authorization=("Bearer ann-token,Bearer ann-token",)) == "malformed"


def test_what_looks_like_a_jwt_is_of_no_issuer_where_none_is_configured() -> None:
    assert reason(authorization=("Bearer eyJh.eyJp.c2ln",)) == "wrong_issuer"


@pytest.mark.parametrize("name", ["access_token", "token", "authorization"])
def test_a_token_in_the_url_is_refused_also_beside_a_good_header(name: str) -> None:
    assert reason(query={name: ["ann-token"]}) == "malformed"
    assert reason(query={name: ["x"]}, authorization=ANN) == "malformed"
    assert reason(query={name: ["", "x"]}, authorization=ANN) == "malformed"
    assert name_of(HEADER_ONLY, query={name: ["x"]}, authorization=ANN) == "ann"


def test_the_header_comes_before_the_ticket_and_the_ticket_before_the_cookie() -> None:
    ticket, cookie = {"ticket": ["good"]}, ("bob-token",)
    assert name_of(authorization=ANN, query=ticket, cookies=cookie) == "ann"
    assert name_of(query=ticket, cookies=cookie) == "ticket for inbox"
    assert name_of(cookies=cookie) == "bob"
    assert reason(query={"ticket": ["bad"]}, cookies=cookie) == "expired"


def test_two_tickets_or_two_cookies_of_one_name_are_malformed() -> None:
    assert reason(query={"ticket": ["good", "good"]}) == "malformed"
    assert reason(cookies=("ann-token", "ann-token")) == "malformed"
    assert reason(cookies=("ann-token", "bob-token")) == "malformed"


def test_for_publishing_the_header_alone_counts() -> None:
    assert name_of(HEADER_ONLY, authorization=ANN) == "ann"
    assert reason(HEADER_ONLY, query={"ticket": ["good"]}) == "missing"
    assert reason(HEADER_ONLY, cookies=("ann-token",)) == "missing"


def test_tickets_that_there_are_none_of_are_malformed() -> None:
    without = access()
    without.tickets = None
    assert reason(of=without, query={"ticket": ["good"]}) == "malformed"


@pytest.mark.parametrize(
    ("origin", "site", "counts"),
    [
        (None, None, True),
        (None, "same-origin", True),
        (None, "same-site", True),
        (None, "none", True),
        (None, "cross-site", False),
        (OWN, None, True),
        (OWN, "same-origin", True),
        (OWN, "cross-site", False),
        (PAGE, None, True),
        (PAGE, "cross-site", True),
        ("https://evil.example", None, False),
        ("https://evil.example", "same-site", False),
        ("http://events.example", "same-site", False),
        ("https://events.example:444", "same-site", False),
        ("null", None, False),
        ("null", "cross-site", False),
        ("", None, False),
        (f"{PAGE}.evil.example", "cross-site", False),
        (f"{PAGE}, {PAGE}", "cross-site", False),
    ],
)
def test_the_cookies_of_other_pages_are_ignored(
    origin: str | None, site: str | None, counts: bool
) -> None:
    request: dict[str, Any] = {
        "cookies": ("ann-token",),
        "origin": origin,
        "sec_fetch_site": site,
    }
    if counts:
        assert name_of(**request) == "ann"
    else:
        assert reason(**request) == "missing"
    # A header is sent on purpose.
    assert name_of(**request, authorization=ANN) == "ann"


def test_where_an_origin_is_needed_a_cookie_without_one_is_ignored() -> None:
    rules = Rules(cookies=True, origins=frozenset({PAGE}), needs_origin=True)
    assert reason(rules, cookies=("ann-token",)) == "missing"
    assert name_of(rules, cookies=("ann-token",), origin=OWN) == "ann"
    assert name_of(rules, cookies=("ann-token",), origin=PAGE) == "ann"


def test_the_authorizer_decides_before_the_tokens_or_leaves_it_to_them() -> None:
    asked: list[str] = []

    def authorizer(sink: str) -> Principal | None:
        asked.append(sink)
        return answer

    app = access()
    app.authorizer = authorizer
    answer: Principal | None = somebody("user", Kind.APP)
    assert name_of(of=app) == "user"
    assert name_of(of=app, authorization=("Basic x",)) == "user"
    answer = None
    assert reason(of=app) == "missing"
    assert name_of(of=app, authorization=ANN) == "ann"
    assert asked == ["inbox"] * 4
    # It decides about sinks only.
    assert name_of(HEADER_ONLY, of=app, authorization=ANN) == "ann"
    assert asked == ["inbox"] * 4


def test_whoever_was_revoked_is_refused_however_they_come() -> None:
    app = access()
    app.revocations = NobodyIsLeft()
    assert reason(of=app, authorization=ANN) == "revoked"
    assert reason(of=app, query={"ticket": ["good"]}) == "revoked"
    assert reason(of=app, cookies=("ann-token",)) == "revoked"
    assert reason(HEADER_ONLY, of=app, authorization=ANN) == "revoked"


@pytest.mark.parametrize("of", Reason)
def test_each_reason_has_its_status_and_challenge(of: Reason) -> None:
    refusal = Refusal(of, "why")
    if of is Reason.UNAVAILABLE:
        assert (refusal.status, refusal.challenge) == (503, "")
    elif of is Reason.INSUFFICIENT_SCOPE:
        assert (refusal.status, refusal.challenge) == (403, 'Bearer error="insufficient_scope"')
    else:
        expected = f'Bearer error="invalid_token", error_description="{of}"'
        assert (refusal.status, refusal.challenge) == (401, expected)
