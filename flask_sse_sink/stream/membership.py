"""One client's place among the clients of a sink that get live events."""

from __future__ import annotations

from ..relay import Relay
from .client import Client
from .formats import Format
from .subscribers import Subscribers


class Membership:
    """How one client comes to the live events of a sink, and gets away from them again."""

    __slots__ = ("_client", "_relay", "_subscribers")

    def __init__(self, subscribers: Subscribers, relay: Relay, client: Client) -> None:
        self._subscribers = subscribers
        self._relay = relay
        self._client = client

    @property
    def format(self) -> Format:
        """Return what makes the frames of the client's events."""
        return self._subscribers.format

    def join(self) -> int:
        """Let the client have the live events, and return the id that they come after.

        :raises LogUnavailable: the client wasn't added; the same can be tried again.
        """
        return self._relay.join(self._add)

    def _add(self) -> None:
        self._client.queue.resume(self._relay.cursor)
        self._subscribers.add(self._client)

    def set_apart(self) -> None:
        """Keep the live events from the client while it reads from the log."""
        self._subscribers.set_apart(self._client)

    def delivered_up_to(self) -> int:
        """Return an id up to which all events were handed to the live clients that get them."""
        return self._relay.cursor

    def leave(self) -> None:
        """Let the client have no more events; a second time does no harm."""
        self._subscribers.discard(self._client)
