"""What a request says of who sends it, and which of that counts. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from .refusal import Reason, Refusal

#: Parameters of the query that are refused where they have a value: URLs stand in logs and
#: histories. Rule: RFC 9700, 4.3.2.
URL_TOKENS = ("access_token", "token", "authorization")
TICKET = "ticket"

_NO_ORIGINS: frozenset[str] = frozenset()


class Credentials(NamedTuple):
    """The parts of a request that may say who sends it, and which page it comes from.

    ``authorization`` has every value of that header, ``cookies`` every value of the cookie with
    the configured name. ``own_origin`` is the origin that the request was sent to.
    """

    authorization: Sequence[str] = ()
    query: Mapping[str, Sequence[str]] = {}
    cookies: Sequence[str] = ()
    origin: str | None = None
    sec_fetch_site: str | None = None
    own_origin: str = ""


class Rules(NamedTuple):
    """Which credentials count for an endpoint.

    ``sink`` is the sink that is asked for, "" where there is none. ``tickets`` and ``cookies``
    say whether these count. The cookies of pages of another origin count only if it is one of
    ``origins``. With ``needs_origin``, a cookie counts only in a request that has an ``Origin``.
    ``app`` says whether the app's authorizer, which often goes by a cookie, is asked.
    """

    sink: str = ""
    tickets: bool = False
    cookies: bool = False
    origins: frozenset[str] = _NO_ORIGINS
    needs_origin: bool = False
    app: bool = True


#: For publishing: the header alone.
HEADER_ONLY = Rules()


class Presented(NamedTuple):
    """The one credential of a request that counts; ``is_ticket`` says that it is a ticket."""

    text: str
    is_ticket: bool = False


def refuse_url_tokens(credentials: Credentials) -> None:
    """Check that no token stands in the URL.

    :raises Refusal: one does.
    """
    for name in URL_TOKENS:
        if any(credentials.query.get(name, ())):
            raise Refusal(
                Reason.MALFORMED,
                f"a token in the URL (`{name}`) isn't accepted, because URLs are logged; send "
                "the header `Authorization: Bearer TOKEN`, or a ticket",
            )


def presented(credentials: Credentials, rules: Rules) -> Presented:
    """Return the credential that counts: the header, else the ticket, else the cookie.

    :raises Refusal: there is none, or what comes first can't be read.
    """
    if credentials.authorization:
        return Presented(_bearer(credentials.authorization))
    tickets = [value for value in credentials.query.get(TICKET, ()) if value]
    if rules.tickets and tickets:
        return Presented(_single(tickets, "tickets"), is_ticket=True)
    if rules.cookies and credentials.cookies and _cookies_count(credentials, rules):
        return Presented(_single(credentials.cookies, "cookies with a token"))
    raise Refusal(Reason.MISSING, "send the header `Authorization: Bearer TOKEN`")


def _bearer(values: Sequence[str]) -> str:
    scheme, _, token = _single(values, "Authorization headers").partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not token:
        raise Refusal(Reason.MALFORMED, "the header has to be `Authorization: Bearer TOKEN`")
    return token


def _single(values: Sequence[str], what: str) -> str:
    if len(values) != 1:
        raise Refusal(Reason.MALFORMED, f"the request has {len(values)} {what}; send one")
    return values[0]


def _cookies_count(credentials: Credentials, rules: Rules) -> bool:
    """Return whether the request's cookies count, by the page that it comes from.

    A browser adds cookies to requests of every page, also of one that means harm.
    """
    origin = credentials.origin
    if origin is not None and origin in rules.origins:
        return True
    if credentials.sec_fetch_site == "cross-site":
        return False
    if origin is None:
        return not rules.needs_origin
    return origin == credentials.own_origin
