"""JSON Web Tokens of the configured issuers. Needs PyJWT.

Rules: RFC 7519; RFC 8725 "JSON Web Token Best Current Practices".
"""

from __future__ import annotations

import base64
import math
import re
import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jwt
import msgspec
from msgspec import Struct

from .claims import grants_of_claim
from .grants import Grants
from .keys import Keys
from .principal import Identity, Kind, Principal
from .refusal import Reason, Refusal
from .templates import ConfiguredGrants

MAX_LENGTH = 16 * 1024
#: For clocks that differ: applies to ``nbf`` and ``iat``, never to ``exp``.
LEEWAY_SECONDS = 60

_SHAPE = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.[A-Za-z0-9_-]+")
# `exp` is checked below, without leeway; `sub` may be an integer.
_OPTIONS: Any = {
    "require": ["iss", "aud", "exp"],
    "verify_exp": False,
    "verify_sub": False,
    "verify_jti": False,
}
_REASONS: tuple[tuple[type[Exception], Reason, str], ...] = (
    (jwt.InvalidSignatureError, Reason.BAD_SIGNATURE, "the token's signature is wrong"),
    (jwt.InvalidAlgorithmError, Reason.BAD_SIGNATURE, "the token's algorithm isn't accepted"),
    (jwt.InvalidAudienceError, Reason.WRONG_AUDIENCE, "the token is for another audience"),
    (jwt.InvalidIssuerError, Reason.WRONG_ISSUER, "the token's issuer isn't accepted"),
    (jwt.ImmatureSignatureError, Reason.MALFORMED, "the token isn't valid yet (nbf or iat)"),
)


class Issuer(NamedTuple):
    """An issuer of tokens, and what its tokens are worth.

    ``name`` is what its tokens have as ``iss``; ``claim`` holds a token's own grants, which are
    added to ``grants``.
    """

    name: str
    audience: str
    algorithms: frozenset[str]
    keys: Keys
    claim: str
    grants: ConfiguredGrants


class _Header(Struct):
    alg: str
    kid: str | None = None
    crit: Any = None


class _Payload(Struct):
    iss: str | None = None


_decode_header = msgspec.json.Decoder(_Header).decode
_decode_payload = msgspec.json.Decoder(_Payload).decode


class JWTs:
    """Reads the tokens of these issuers.

    A token that lives longer than ``max_life`` seconds is refused. ``clock`` returns seconds since
    the epoch.
    """

    def __init__(
        self,
        issuers: Iterable[Issuer],
        max_life: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._issuers = {issuer.name: issuer for issuer in issuers}
        self._max_life = max_life
        self._clock = clock

    def reset(self) -> None:
        """Forget what other threads were doing, as a child process must after a fork."""
        for issuer in self._issuers.values():
            issuer.keys.reset()

    def read(self, token: str) -> Principal:
        """Return the principal of a token. This may wait for the issuer's keys.

        :raises Refusal: the token isn't valid, or can't be checked now.
        """
        header, name = _peek(token)
        issuer = self._issuers.get(name or "")
        if issuer is None:
            raise Refusal(Reason.WRONG_ISSUER, "the token's issuer (`iss`) isn't accepted here")
        if header.alg not in issuer.algorithms:
            raise Refusal(Reason.BAD_SIGNATURE, "the token's algorithm isn't accepted")
        key = issuer.keys.find(header.kid, header.alg)
        claims = _verified(token, key, header.alg, issuer)
        issued_at, expires_at = self._times(claims)
        subject = _subject(claims)
        return Principal(
            Identity(Kind.JWT, issuer.name, subject),
            subject or issuer.name,
            _grants(claims, issuer),
            issued_at,
            expires_at,
        )

    def _times(self, claims: dict[str, Any]) -> tuple[float | None, float]:
        now = self._clock()
        expires_at = _seconds(claims, "exp")
        issued_at = _seconds(claims, "iat") if "iat" in claims else None
        if "nbf" in claims:
            # PyJWT compares it, but also takes what is no time for one.
            _seconds(claims, "nbf")
        if now >= expires_at:
            raise Refusal(Reason.EXPIRED, "the token has expired; get a new one")
        if expires_at - (now if issued_at is None else issued_at) > self._max_life:
            raise _malformed(
                f"the token lives longer than {self._max_life:g} seconds (access.max_token_life)"
            )
        return issued_at, expires_at


def _peek(token: str) -> tuple[_Header, str | None]:
    """Return the header of a token and its issuer's name, neither of which is verified yet."""
    parts = _SHAPE.fullmatch(token) if len(token) <= MAX_LENGTH else None
    if parts is None:
        raise _malformed("the token is no JWT, or too long")
    try:
        header = _decode_header(_unpacked(parts[1]))
        name = _decode_payload(_unpacked(parts[2])).iss
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise _malformed("the token's header or payload can't be read") from None
    if header.crit is not None:
        raise _malformed("the token has extensions (`crit`) that aren't supported")
    return header, name


def _unpacked(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def _verified(token: str, key: Any, algorithm: str, issuer: Issuer) -> dict[str, Any]:
    """Return the claims of a token whose signature, issuer, audience and ``nbf`` are right."""
    try:
        return jwt.decode(
            token,
            key,
            algorithms=[algorithm],
            options=_OPTIONS,
            audience=issuer.audience,
            issuer=issuer.name,
            leeway=LEEWAY_SECONDS,
        )
    except jwt.MissingRequiredClaimError as error:
        reason = Reason.WRONG_AUDIENCE if error.claim == "aud" else Reason.MALFORMED
        raise Refusal(reason, f"the token has no claim `{error.claim}`") from None
    except (jwt.PyJWTError, ArithmeticError, RecursionError, TypeError, ValueError) as error:
        for kind, reason, detail in _REASONS:
            if isinstance(error, kind):
                raise Refusal(reason, detail) from None
        # The library's message may quote the token.
        raise _malformed("the token can't be read") from None


def _seconds(claims: dict[str, Any], name: str) -> float:
    value = claims[name]
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not _is_time(value):
        raise _malformed(f"the token's claim `{name}` is no time")
    return float(value)


def _is_time(value: int | float) -> bool:
    # Comparing says no to NaN, too.
    return -1e12 < value < 1e12 and math.isfinite(value)


def _subject(claims: dict[str, Any]) -> str:
    """Return the claim ``sub``, "" where a token has none."""
    subject = claims.get("sub", "")
    if isinstance(subject, bool) or not isinstance(subject, (str, int)):
        raise _malformed("the token's claim `sub` is neither text nor an integer")
    return str(subject)


def _grants(claims: dict[str, Any], issuer: Issuer) -> Grants:
    grants = issuer.grants.for_claims(claims)
    if issuer.claim not in claims:
        return grants
    try:
        return grants.and_also(grants_of_claim(claims[issuer.claim]))
    except ValueError as error:
        # The message may quote the token, whose characters must not end a line of the log.
        cause = "".join(char if char.isprintable() else "?" for char in str(error)[:300])
        detail = f"the grants in the token (`{issuer.claim}`) are malformed: {cause}"
        raise _malformed(detail) from None


def _malformed(detail: str) -> Refusal:
    return Refusal(Reason.MALFORMED, detail)
