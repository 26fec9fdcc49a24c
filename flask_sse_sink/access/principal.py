"""Who somebody is, and what they may do."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from .grants import Grants


class Kind(StrEnum):
    """How somebody is known."""

    TOKEN = "token"  #: a static token of the configuration
    JWT = "jwt"  #: a signed token of an issuer
    APP = "app"  #: the authorizer of the Flask app


class Identity(NamedTuple):
    """What tells people apart: equal subjects of two issuers are two people.

    ``issuer`` is empty but for :attr:`Kind.JWT`. ``subject`` is a static token's name, a JWT's
    ``sub``, or what the app's authorizer says.
    """

    kind: Kind
    issuer: str
    subject: str


class Principal(NamedTuple):
    """Somebody who was authenticated.

    ``issued_at`` and ``expires_at`` are in seconds since the epoch, None where there is none.
    ``name`` is what log lines and signals call them.
    """

    identity: Identity
    name: str
    grants: Grants
    issued_at: float | None = None
    expires_at: float | None = None
