"""Static tokens."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable

from .principal import Principal


def digest(token: str) -> bytes:
    """Return the SHA-256 of a token, as static tokens are kept."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()


class StaticTokens:
    """The static tokens of a configuration: pairs of a token's SHA-256 and who has it."""

    def __init__(self, tokens: Iterable[tuple[bytes, Principal]]) -> None:
        self._tokens = tuple(tokens)

    def find(self, token: str) -> Principal | None:
        """Return who has the token, None where it is none of these."""
        sent = digest(token)
        owner = None
        # Every token is compared, so that the time taken reveals nothing about any of them.
        for own, principal in self._tokens:
            if hmac.compare_digest(sent, own):
                owner = principal
        return owner
