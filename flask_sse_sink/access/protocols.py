"""What :class:`~.authenticate.Access` asks of parts that may be missing."""

from __future__ import annotations

from typing import Protocol

from .principal import Principal


class TicketReader(Protocol):
    """Reads tickets."""

    def read(self, ticket: str, sink: str) -> Principal:
        """Return the principal of a ticket for this sink.

        :raises Refusal: it isn't one of ours, is for another sink, or has expired.
        """


class Revocations(Protocol):
    """Knows what was revoked."""

    def check(self, principal: Principal) -> None:
        """Check that the principal's token wasn't revoked.

        :raises Refusal: it was, or that can't be known now.
        """


class Authorizer(Protocol):
    """The app's own decision about the current request."""

    def __call__(self, sink: str, /) -> Principal | None:
        """Return who reads the sink in this request, None to leave that to the tokens."""
