"""Why a request is refused: the reasons, and what the answer says. Pure."""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """Why a request is refused; metrics, log lines and answers use these words."""

    MISSING = "missing"  #: there is no token
    MALFORMED = "malformed"  #: the token can't be read, or isn't one of ours
    EXPIRED = "expired"
    WRONG_ISSUER = "wrong_issuer"  #: the token's `iss` isn't configured
    WRONG_AUDIENCE = "wrong_audience"  #: the token is for another service
    BAD_SIGNATURE = "bad_signature"
    UNKNOWN_KEY = "unknown_key"  #: the issuer has no key that the token could be signed with
    REVOKED = "revoked"
    INSUFFICIENT_SCOPE = "insufficient_scope"  #: the token is right, but doesn't grant this
    UNAVAILABLE = "unavailable"  #: what the decision needs isn't there yet


_STATUS = {Reason.INSUFFICIENT_SCOPE: 403, Reason.UNAVAILABLE: 503}


class Refusal(Exception):
    """A request isn't allowed. The message is for people, and never holds a token.

    ``asked`` and ``granted`` say what was asked for and what is granted, where the reason is
    ``insufficient_scope``.
    """

    def __init__(self, reason: Reason, detail: str, *, asked: str = "", granted: str = "") -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail
        self.asked = asked
        self.granted = granted

    @property
    def status(self) -> int:
        """Return the answer's status: 401, 403 or 503."""
        return _STATUS.get(self.reason, 401)

    @property
    def is_temporary(self) -> bool:
        """Return whether the same request may be allowed soon."""
        return self.reason is Reason.UNAVAILABLE

    @property
    def challenge(self) -> str:
        """Return the answer's ``WWW-Authenticate``, "" where it has none. Rule: RFC 6750, 3."""
        if self.status == 401:
            return f'Bearer error="invalid_token", error_description="{self.reason}"'
        return 'Bearer error="insufficient_scope"' if self.status == 403 else ""
