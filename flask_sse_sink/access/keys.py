"""The keys that an issuer's tokens are signed with. Needs PyJWT and cryptography."""

from __future__ import annotations

import json
from typing import Any, Protocol

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from jwt.algorithms import get_default_algorithms

from .refusal import Reason, Refusal

_CURVES = {"ES256": "secp256r1", "ES384": "secp384r1", "ES512": "secp521r1"}
_JWK_TYPES = {"RS": "RSA", "PS": "RSA", "ES": "EC", "Ed": "OKP"}
_MIN_RSA_BITS = 2048

_ALGORITHMS = get_default_algorithms()


class Keys(Protocol):
    """Where the keys of one issuer come from."""

    def find(self, kid: str | None, algorithm: str) -> Any:
        """Return the key for a token's ``kid`` and ``alg``.

        :raises Refusal: there is none, or the keys can't be had.
        """

    def reset(self) -> None:
        """Forget what other threads were doing, as a child process must after a fork."""


class SharedSecret:
    """A secret that the issuer shares with this server."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def find(self, kid: str | None, algorithm: str) -> bytes:
        """Return the secret, whatever the token calls it."""
        return self._secret

    def reset(self) -> None:
        """Do nothing."""


class PublicKey:
    """The one public key of an issuer."""

    def __init__(self, key: Any) -> None:
        self._key = key

    def find(self, kid: str | None, algorithm: str) -> Any:
        """Return the key, whatever the token calls it.

        :raises Refusal: it can't be of this algorithm.
        """
        if not fits(self._key, algorithm):
            raise Refusal(Reason.UNKNOWN_KEY, f"the issuer has no key for {algorithm}")
        return self._key

    def reset(self) -> None:
        """Do nothing."""


def public_key_of_pem(text: bytes) -> Any:
    """Return the public key that a PEM file holds, alone or in a certificate.

    :raises ValueError: it holds none that tokens can be checked with.
    """
    if b"PRIVATE KEY" in text:
        raise ValueError("holds a private key; write the public one, which is all that is needed")
    try:
        if b"BEGIN CERTIFICATE" in text:
            key: Any = x509.load_pem_x509_certificate(text).public_key()
        else:
            key = load_pem_public_key(text)
    except Exception as error:
        # The library raises errors of many kinds.
        raise ValueError("holds no public key in PEM format") from error
    if not any(fits(key, algorithm) for algorithm in _ALGORITHMS):
        raise ValueError(
            f"holds a key that can't be used; use RSA of {_MIN_RSA_BITS} bits+, EC or EdDSA"
        )
    return key


def fits(key: Any, algorithm: str) -> bool:
    """Return whether a public key is one for this algorithm, and long enough."""
    if isinstance(key, RSAPublicKey):
        return algorithm[:2] in ("RS", "PS") and key.key_size >= _MIN_RSA_BITS
    if isinstance(key, EllipticCurvePublicKey):
        return _CURVES.get(algorithm) == key.curve.name
    return isinstance(key, (Ed25519PublicKey, Ed448PublicKey)) and algorithm == "EdDSA"


class KeySet:
    """The keys of a JSON Web Key Set. Rule: RFC 7517.

    Only what stands in the set counts: nothing that a token names is fetched.

    :raises ValueError: the document is no such set.
    """

    def __init__(self, document: bytes) -> None:
        try:
            content = json.loads(document)
        except (ValueError, RecursionError):
            raise ValueError("it isn't JSON") from None
        entries = content.get("keys") if isinstance(content, dict) else None
        if not isinstance(entries, list):
            raise ValueError("it has no list `keys`, as a JSON Web Key Set has")
        self._entries = [each for each in entries if isinstance(each, dict)]
        if not self._entries:
            raise ValueError("it holds no key")
        self._keys: dict[tuple[str | None, str], Any] = {}

    def find(self, kid: str | None, algorithm: str) -> Any:
        """Return the key for a token's ``kid`` and ``alg``, None where there isn't exactly one.

        Without a ``kid``, that is the only key that fits the algorithm.
        """
        wanted = kid, algorithm
        if wanted not in self._keys:
            candidates = [each for each in self._entries if _may_verify(each, kid, algorithm)]
            key = _public_key(candidates[0], algorithm) if len(candidates) == 1 else None
            if key is None:
                # Not kept: a token may name any `kid`.
                return None
            self._keys[wanted] = key
        return self._keys[wanted]


def _may_verify(entry: dict[str, Any], kid: str | None, algorithm: str) -> bool:
    operations = entry.get("key_ops")
    return (
        (kid is None or entry.get("kid") == kid)
        and entry.get("kty") == _JWK_TYPES.get(algorithm[:2])
        and entry.get("alg", algorithm) == algorithm
        and entry.get("use", "sig") == "sig"
        and (operations is None or (isinstance(operations, list) and "verify" in operations))
        and _has_curve(entry, algorithm)
    )


def _has_curve(entry: dict[str, Any], algorithm: str) -> bool:
    if algorithm.startswith("ES"):
        return entry.get("crv") == {"ES256": "P-256", "ES384": "P-384"}.get(algorithm, "P-521")
    return algorithm != "EdDSA" or entry.get("crv") in ("Ed25519", "Ed448")


def _public_key(entry: dict[str, Any], algorithm: str) -> Any:
    """Return the key of an entry, None where it can't be used."""
    try:
        key: Any = _ALGORITHMS[algorithm].from_jwk(entry)
    except Exception:
        # The libraries raise errors of many kinds. One broken key must not spoil the others.
        return None
    if hasattr(key, "public_key"):
        # An issuer published a private key.
        key = key.public_key()
    return key if fits(key, algorithm) else None
