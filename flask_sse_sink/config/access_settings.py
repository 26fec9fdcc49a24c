"""The settings of access: who may publish, who may read.

Longer than other modules: all settings of the section stand here, with their descriptions.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta, Struct

from .grants import PublishGrantSettings, ReadGrantSettings
from .values import Interval, Value, default, show

#: The fewest bytes of a secret that signs something.
SECRET_BYTES = 32

_VISIBLE = re.compile(r"[\x21-\x7e]{8,}")
_DIGEST = re.compile(r"[0-9A-Fa-f]{64}")
_COOKIE_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]*")

Algorithm = Literal[
    "RS256",
    "RS384",
    "RS512",
    "PS256",
    "PS384",
    "PS512",
    "ES256",
    "ES384",
    "ES512",
    "EdDSA",
    "HS256",
    "HS384",
    "HS512",
]
#: What an issuer may sign with where its ``algorithms`` are left out.
ASYMMETRIC: tuple[Algorithm, ...] = (
    "RS256",
    "RS384",
    "RS512",
    "PS256",
    "PS384",
    "PS512",
    "ES256",
    "ES384",
    "ES512",
    "EdDSA",
)


class Secrets(Value):
    """Secrets that sign tickets: the first signs, all of them are accepted.

    ``values`` is empty where there is none.
    """

    def __init__(self, values: tuple[bytes, ...] = ()) -> None:
        self.values = values

    def __str__(self) -> str:
        return f"{len(self.values)} secrets"

    @classmethod
    def read(cls, value: object) -> Self:
        if value == "":
            return cls()
        secrets: list[Any] = value if isinstance(value, list) else [value]
        if not all(isinstance(secret, str) for secret in secrets):
            raise ValueError("is not a secret; write text in quotes, or a list of these")
        values = tuple(secret.encode() for secret in secrets)
        if any(len(secret) < SECRET_BYTES for secret in values):
            raise ValueError(
                f"is too short; write a random secret of {SECRET_BYTES} bytes or more, e.g. what "
                "`python3 -c 'import secrets; print(secrets.token_urlsafe(32))'` prints"
            )
        return cls(values)

    @staticmethod
    def schema() -> dict[str, Any]:
        return {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}


class TokenDigest(Value):
    """A static token, of which only ``digest`` is kept: its SHA-256, b"" where there is none."""

    def __init__(self, digest: bytes = b"") -> None:
        self.digest = digest

    @classmethod
    def read(cls, value: object) -> Self:
        text = value if isinstance(value, str) else ""
        hexadecimal = text.removeprefix("sha256:")
        if hexadecimal != text:
            if not _DIGEST.fullmatch(hexadecimal):
                raise ValueError("is no digest; write sha256: and the 64 digits of the token's")
            return cls(bytes.fromhex(hexadecimal))
        if not _VISIBLE.fullmatch(text):
            raise ValueError(
                "is not a token; write 8 or more visible ASCII characters, or sha256:HEX"
            )
        return cls(hashlib.sha256(text.encode()).digest())

    @staticmethod
    def schema() -> dict[str, Any]:
        return {"type": "string", "minLength": 1}


class CookieName(Value, str):
    """The name of a cookie, "" for none."""

    @classmethod
    def read(cls, value: object) -> Self:
        if not isinstance(value, str) or not _COOKIE_NAME.fullmatch(value):
            raise ValueError(
                f"{show(value)} is no cookie's name; write letters, digits, - and _, "
                'or "" to take no token from cookies'
            )
        return cls(value)

    @staticmethod
    def schema() -> dict[str, Any]:
        return {"type": "string"}


class Jwks(Value, str):
    """Where an issuer's keys are: a URL, or a file's path. "" where the setting is left out."""

    @property
    def is_url(self) -> bool:
        """Return whether the keys are fetched over HTTP."""
        return "://" in self

    @classmethod
    def read(cls, value: object) -> Self:
        if not isinstance(value, str) or not value:
            raise ValueError(f"{show(value)} is not a URL or a file's path")
        if "://" in value and not _is_safe_url(value):
            raise ValueError(
                f"{show(value)} can't be fetched safely; write an https URL without a password "
                "(http only for localhost, 127.0.0.1 and ::1), or a file's path"
            )
        return cls(value)

    @staticmethod
    def schema() -> dict[str, Any]:
        return {"type": "string", "examples": ["https://auth.example/jwks.json", "jwks.json"]}


def _is_safe_url(text: str) -> bool:
    try:
        url = urlsplit(text)
        host, _ = url.hostname or "", url.port
    except ValueError:
        return False
    if not host or "@" in url.netloc:
        return False
    return url.scheme == "https" or (url.scheme == "http" and is_loopback(host))


def is_loopback(host: str) -> bool:
    """Return whether a host's name or address is this machine's own."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


class IssuerKey(Value):
    """An issuer's one key: a shared secret, or the path of a PEM file with its public key."""

    def __init__(self, text: str = "") -> None:
        self.text = text

    @classmethod
    def read(cls, value: object) -> Self:
        if not isinstance(value, str) or not value:
            raise ValueError("is not a key; write a shared secret in quotes, or a PEM file's path")
        return cls(value)

    @staticmethod
    def schema() -> dict[str, Any]:
        return {"type": "string", "minLength": 1}


class TicketLife(Interval):
    """For how long a ticket opens streams."""

    least = 1
    most = 86400


class TokenLife(Interval):
    """The longest life of a JWT."""

    least = 1
    most = 10 * 366 * 86400


class StaticTokenSettings(Struct, frozen=True, kw_only=True):
    """A token that stands in the configuration, and what it grants."""

    token: Annotated[
        TokenDigest, Meta(description="the token; or `sha256:HEX` of a random one")
    ] = default(TokenDigest())
    name: Annotated[str, Meta(description="what logs and signals call whoever has it")] = ""
    subscribe: Annotated[
        list[ReadGrantSettings], Meta(description="what it may read; alternatives")
    ] = []
    publish: Annotated[
        list[PublishGrantSettings], Meta(description="what it may publish; alternatives")
    ] = []


class IssuerSettings(Struct, frozen=True, kw_only=True):
    """An issuer of JWTs, and what each of its tokens grants."""

    issuer: Annotated[str, Meta(description="equals the claim `iss`")] = ""
    audience: Annotated[str, Meta(description="is in the claim `aud`")] = ""
    jwks: Annotated[
        Jwks, Meta(description="where its keys are: an https URL, or a file's path")
    ] = default(Jwks(""))
    key: Annotated[
        IssuerKey,
        Meta(description="in place of `jwks`: a PEM file's path; with HS256, a shared secret"),
    ] = default(IssuerKey())
    algorithms: Annotated[
        list[Algorithm], Meta(description="those it may sign with; by default asymmetric ones")
    ] = []
    claim: Annotated[
        str, Meta(description="the claim that holds a token's own grants; may be a URL")
    ] = "sse"
    subscribe: Annotated[
        list[ReadGrantSettings],
        Meta(description="what every valid token may read; `{NAME}` is that claim of it"),
    ] = []
    publish: Annotated[
        list[PublishGrantSettings],
        Meta(description="what every valid token may publish; `{NAME}` is that claim of it"),
    ] = []

    @property
    def accepted_algorithms(self) -> tuple[Algorithm, ...]:
        """Return the algorithms that its tokens may be signed with."""
        return tuple(self.algorithms) or ASYMMETRIC

    @property
    def shares_secret(self) -> bool:
        """Return whether ``key`` is a shared secret, and not a file's path."""
        return any(name.startswith("HS") for name in self.algorithms)


class AccessSettings(Struct, frozen=True, kw_only=True):
    """Who may publish, who may read."""

    secret: Annotated[
        Secrets,
        Meta(
            description="signs tickets: 32 bytes or more; of a list the first signs, all are "
            "accepted; without one there are no tickets"
        ),
    ] = default(Secrets())
    cookie: Annotated[
        CookieName, Meta(description='a cookie of this name may carry the token; `""` for none')
    ] = default(CookieName("sse_access_token"))
    ticket_ttl: Annotated[TicketLife, Meta(description="for how long a ticket opens streams")] = (
        default(TicketLife(60))
    )
    max_token_life: Annotated[
        TokenLife,
        Meta(description="a JWT that lives longer is refused; revocations are kept this long"),
    ] = default(TokenLife(30 * 86400))
    tokens: Annotated[
        list[StaticTokenSettings], Meta(description="static tokens, and what each grants")
    ] = []
    issuers: Annotated[
        list[IssuerSettings], Meta(description="issuers of JWTs, and what their tokens grant")
    ] = []


def resolved(settings: AccessSettings, base: Path) -> AccessSettings:
    """Return the settings with the relative paths of files taken from the folder ``base``."""
    issuers = []
    for issuer in settings.issuers:
        if issuer.jwks and not issuer.jwks.is_url:
            path = str(base / issuer.jwks)
            issuers.append(msgspec.structs.replace(issuer, jwks=Jwks(path)))
        elif issuer.key.text and not issuer.shares_secret:
            path = str(base / issuer.key.text)
            issuers.append(msgspec.structs.replace(issuer, key=IssuerKey(path)))
        else:
            issuers.append(issuer)
    return msgspec.structs.replace(settings, issuers=issuers)
