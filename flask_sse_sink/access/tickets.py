"""Tickets: short-lived, signed texts that open the streams of one sink.

A browser's ``EventSource`` can't send headers, and a token must not stand in a URL. So a client
exchanges its token for a ticket, which may stand in a URL: it opens one sink for a short time,
and does nothing else.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence

import msgspec
from itsdangerous import BadPayload, BadSignature, URLSafeSerializer

from ..filters import Filter
from . import selection_json
from .grants import Grants, ReadGrant
from .principal import Identity, Kind, Principal
from .refusal import Reason, Refusal

#: The most characters that a ticket may have: a request line must hold it beside the rest.
MAX_LENGTH = 3072

# Signatures for anything else that an app signs with the same secret are none of a ticket.
_SALT = b"flask-sse-sink.ticket"
_VERSION = 1


class TicketTooLarge(ValueError):
    """The grants don't fit into a ticket of :data:`MAX_LENGTH` characters."""


class _Content(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    """What a ticket holds, in this order: an array is shorter than an object.

    ``until`` is when the ticket ends, ``expires_at`` when the token does that it was made from.
    ``events`` are the selections that may be read of the sink.
    """

    version: int
    until: float
    sink: str
    kind: Kind
    issuer: str
    subject: str
    name: str
    issued_at: float | None
    expires_at: float | None
    events: list[dict[str, list[str]]]


class _JSON:
    """The encoding of what is signed, as itsdangerous wants it."""

    def __init__(self) -> None:
        self._decoder = msgspec.json.Decoder(_Content)

    def dumps(self, content: object) -> str:
        return msgspec.json.encode(content).decode()

    def loads(self, data: str) -> _Content:
        return self._decoder.decode(data)


class Tickets:
    """Makes tickets that are valid for ``ttl`` seconds, and reads them.

    ``secrets`` are one or more: the first signs, and what any of them signed is taken. So a new
    secret is put before the old one, which is taken away after ``ttl`` seconds. ``clock`` returns
    seconds since the epoch.
    """

    def __init__(
        self,
        secrets: Sequence[bytes],
        ttl: float = 60.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if not secrets:
            raise ValueError("tickets need a secret to sign with")
        self.ttl = ttl
        self._clock = clock
        self._serializer: URLSafeSerializer = URLSafeSerializer(
            # itsdangerous signs with the last key.
            list(reversed(secrets)),
            salt=_SALT,
            serializer=_JSON(),
            signer_kwargs={"key_derivation": "hmac", "digest_method": hashlib.sha256},
        )

    def make(self, principal: Principal, sink: str, events: Filter) -> tuple[str, float]:
        """Return a ticket of the principal for these events of the sink, and its seconds.

        It ends after ``ttl`` seconds, and with the principal's token if that ends before.

        :raises TicketTooLarge: the events can't be described in so few characters.
        """
        now = self._clock()
        seconds = self.ttl
        if principal.expires_at is not None:
            seconds = min(seconds, principal.expires_at - now)
        content = _Content(
            _VERSION,
            now + seconds,
            sink,
            *principal.identity,
            principal.name,
            principal.issued_at,
            principal.expires_at,
            [selection_json.to_json(each) for each in events.selections],
        )
        ticket: str = self._serializer.dumps(content)
        if len(ticket) > MAX_LENGTH:
            raise TicketTooLarge(
                f"the grants need a ticket of {len(ticket)} characters, and {MAX_LENGTH} are "
                "possible; narrow it by entity_id, event_type or source"
            )
        return ticket, seconds

    def read(self, ticket: str, sink: str) -> Principal:
        """Return the principal of a ticket for this sink, whose grants are for this sink alone.

        :raises Refusal: it isn't one of ours, is for another sink, or has ended.
        """
        content = self._content(ticket)
        try:
            events = [selection_json.from_json(each) for each in content.events]
        except ValueError:
            raise _malformed() from None
        now = self._clock()
        if now >= content.until or (content.expires_at is not None and now >= content.expires_at):
            raise Refusal(Reason.EXPIRED, "the ticket has expired; get a new one")
        if sink != content.sink:
            raise Refusal(
                Reason.INSUFFICIENT_SCOPE,
                "the ticket is for another sink",
                asked=f"the sink {sink}",
                granted=f"the sink {content.sink}",
            )
        sinks = frozenset((sink,))
        return Principal(
            Identity(content.kind, content.issuer, content.subject),
            content.name,
            Grants(tuple(ReadGrant(sinks, each) for each in events)),
            content.issued_at,
            content.expires_at,
        )

    def _content(self, ticket: str) -> _Content:
        if len(ticket) > MAX_LENGTH or "." not in ticket:
            raise _malformed()
        try:
            content: _Content = self._serializer.loads(ticket)
        # A BadPayload is signed by us, perhaps by another version.
        except BadPayload:
            raise _malformed() from None
        except (BadSignature, UnicodeError):
            raise Refusal(
                Reason.BAD_SIGNATURE, "the ticket isn't signed with a secret of this server"
            ) from None
        if content.version != _VERSION:
            raise _malformed()
        return content


def _malformed() -> Refusal:
    return Refusal(Reason.MALFORMED, "the ticket can't be read; get a new one")
