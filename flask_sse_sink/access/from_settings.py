"""Makes the access of an app from its settings."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from ..config.access_settings import AccessSettings, IssuerSettings
from ..config.settings import Settings
from ..exceptions import ConfigError
from .authenticate import Access, TokenReader
from .fetch import FetchFailed, fetch, read_file
from .grants import PUBLISH_EVERYTHING
from .principal import Identity, Kind, Principal
from .templates import ConfiguredGrants
from .tokens import StaticTokens, digest

#: Who publishes with one of ``ingest.tokens``, which have no names.
INGEST = Principal(Identity(Kind.TOKEN, "", ""), "ingest.tokens", PUBLISH_EVERYTHING)


def from_settings(settings: Settings, waiters: Callable[[], int] = lambda: 8) -> Access:
    """Return the access that the settings describe. Fetches nothing.

    ``waiters`` returns how many requests may wait for an issuer's keys.

    :raises ConfigError: a library is missing, or a key's file can't be used.
    """
    access = settings.access
    jwts = None
    if access.issuers:
        jwts = _jwts(access, lambda: max(1, waiters() // len(access.issuers)))
    made = Access(StaticTokens(_static_tokens(settings)), jwts, access.cookie)
    made.is_configured = bool(access.tokens or access.issuers)
    return made


def _static_tokens(settings: Settings) -> Iterator[tuple[bytes, Principal]]:
    for token in settings.access.tokens:
        grants = ConfiguredGrants(token.subscribe, token.publish).for_claims({})
        identity = Identity(Kind.TOKEN, "", token.name)
        yield token.token.digest, Principal(identity, token.name, grants)
    for text in settings.ingest.tokens:
        yield digest(text), INGEST


def _jwts(access: AccessSettings, waiters: Callable[[], int]) -> TokenReader:
    try:
        # An optional dependency.
        from .jwt import Issuer, JWTs
    except ImportError as error:
        raise ConfigError(
            "access.issuers needs more libraries: pip install 'flask-sse-sink[jwt]'"
        ) from error
    return JWTs(
        [
            Issuer(
                issuer.issuer,
                issuer.audience,
                frozenset(issuer.accepted_algorithms),
                _keys(issuer, f"access.issuers[{n}]", waiters),
                issuer.claim,
                ConfiguredGrants(issuer.subscribe, issuer.publish),
            )
            for n, issuer in enumerate(access.issuers)
        ],
        access.max_token_life,
    )


def _keys(issuer: IssuerSettings, path: str, waiters: Callable[[], int]) -> Any:
    """Return where an issuer's keys come from. A file of keys is read when it is needed."""
    from .jwks import FetchedKeys
    from .keys import PublicKey, SharedSecret, public_key_of_pem

    if issuer.jwks:
        load = fetch if issuer.jwks.is_url else read_file
        return FetchedKeys(lambda: load(issuer.jwks), issuer.issuer, waiters)
    if issuer.shares_secret:
        return SharedSecret(issuer.key.text.encode())
    try:
        return PublicKey(public_key_of_pem(read_file(issuer.key.text)))
    except FetchFailed:
        # The text isn't shown: it may be a secret for which `algorithms` was forgotten.
        raise ConfigError(
            f"{path}.key: is no PEM file that can be read; for a shared secret, "
            "write algorithms: [HS256]"
        ) from None
    except ValueError as error:
        raise ConfigError(f"{path}.key: {error}") from None
