"""From a request's credentials to a principal, or to a refusal. Pure, but for fetches of keys."""

from __future__ import annotations

import re
from typing import Protocol

from ..filters import Filter
from .credentials import Credentials, Presented, Rules, presented, refuse_url_tokens
from .principal import Principal
from .protocols import Authorizer, Revocations, TicketReader
from .refusal import Reason, Refusal
from .tokens import StaticTokens

_JWT = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]*){2}")
_SHOWN = 1000


class TokenReader(Protocol):
    """Reads signed tokens."""

    def read(self, token: str) -> Principal:
        """Return the principal of a token.

        :raises Refusal: it isn't valid, or can't be checked now.
        """

    def reset(self) -> None:
        """Forget what other threads were doing, as a child process must after a fork."""


class Access:
    """Says who sends a request. ``jwts`` is None where no issuer is configured.

    ``cookie`` is the name of the cookie that may carry a token, "" for none. ``tickets``,
    ``revocations`` and ``authorizer`` are None until somebody sets them.
    """

    def __init__(self, tokens: StaticTokens, jwts: TokenReader | None, cookie: str = "") -> None:
        #: Whether it knows other tokens than those that may publish everything.
        self.is_configured = False
        self._tokens = tokens
        self._jwts = jwts
        self.cookie = cookie
        self.tickets: TicketReader | None = None
        self.revocations: Revocations | None = None
        self.authorizer: Authorizer | None = None

    def reset(self) -> None:
        """Forget what other threads were doing, as a child process must after a fork."""
        if self._jwts is not None:
            self._jwts.reset()

    def authenticate(self, credentials: Credentials, rules: Rules) -> Principal:
        """Return who sends a request with these credentials.

        For a sink, a token in the URL is refused, and then the app's authorizer is asked first,
        unless the rules leave it out.
        What comes first decides: a bad header isn't made good by a cookie.

        :raises Refusal: nobody who is known.
        """
        principal = None
        if rules.sink:
            refuse_url_tokens(credentials)
            if self.authorizer is not None and rules.app:
                principal = self.authorizer(rules.sink)
        if principal is None:
            principal = self._read(presented(credentials, rules), rules)
        if self.revocations is not None:
            self.revocations.check(principal)
        return principal

    def _read(self, credential: Presented, rules: Rules) -> Principal:
        if credential.is_ticket:
            if self.tickets is None:
                raise Refusal(Reason.MALFORMED, "there are no tickets here")
            return self.tickets.read(credential.text, rules.sink)
        principal = self._tokens.find(credential.text)
        if principal is not None:
            return principal
        if not _JWT.fullmatch(credential.text):
            raise Refusal(Reason.MALFORMED, "the token is none that is known here")
        if self._jwts is None:
            raise Refusal(Reason.WRONG_ISSUER, "the token's issuer (`iss`) isn't accepted here")
        return self._jwts.read(credential.text)


def readable(principal: Principal, sink: str, asked: Filter) -> Filter:
    """Return the filter for what a principal reads of a sink: its grants, narrowed by the query.

    :raises Refusal: it may read nothing of what it asked for.
    """
    return granted_part(principal.grants.readable(sink), sink, asked)


def granted_part(granted: Filter, sink: str, asked: Filter) -> Filter:
    """Return the filter for what is asked for of a sink and granted.

    :raises Refusal: nothing is.
    """
    filter = granted.narrowed(asked)
    if not filter.selections:
        detail = f"the token doesn't grant what was asked for of the sink {sink}"
        raise insufficient(detail, asked.query(), granted)
    return filter


def insufficient(detail: str, asked: str, granted: Filter) -> Refusal:
    """Return the refusal of somebody who is known, and asks for more than is granted."""
    return Refusal(
        Reason.INSUFFICIENT_SCOPE,
        detail,
        asked=asked[:_SHOWN],
        granted=granted.query()[:_SHOWN],
    )
