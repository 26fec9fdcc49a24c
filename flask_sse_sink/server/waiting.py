"""The connections that no thread has: they wait on the main thread's poller."""

from __future__ import annotations

import contextlib
import selectors
from collections.abc import Callable, Iterator

from .http_connection import HttpConnection


class WaitingConnections:
    """The connections that no thread has, in the order in which their waiting began.

    Each is registered with the poller, and ``on_readable`` is called when it can be read.
    For the main thread only.
    """

    def __init__(
        self, poller: selectors.BaseSelector, on_readable: Callable[[HttpConnection], None]
    ) -> None:
        self._poller = poller
        self._on_readable = on_readable
        # When the waiting of each began; the oldest comes first.
        self._since: dict[HttpConnection, float] = {}

    def __len__(self) -> int:
        return len(self._since)

    def __iter__(self) -> Iterator[HttpConnection]:
        """Iterate over a copy: a connection may be removed meanwhile."""
        return iter(list(self._since))

    def keep(self, connection: HttpConnection) -> None:
        """Add a connection, or move it to the end if it waits for something else by now."""
        since = self._since.get(connection)
        if since == connection.since:
            return
        if since is None:
            self._poller.register(
                connection.sock, selectors.EVENT_READ, lambda sock: self._dispatch(connection)
            )
        else:
            del self._since[connection]
        self._since[connection] = connection.since

    def remove(self, connection: HttpConnection) -> None:
        """Remove a connection if it is among them; it must not be closed before."""
        if self._since.pop(connection, None) is not None:
            with contextlib.suppress(OSError, KeyError, ValueError):
                self._poller.unregister(connection.sock)

    def oldest(self) -> HttpConnection | None:
        """Return the connection that has waited for longest, None if there is none."""
        return next(iter(self._since), None)

    def overdue(self, now: float) -> list[HttpConnection]:
        """Return the connections whose deadline is over."""
        return [connection for connection in self._since if now >= connection.deadline]

    def _dispatch(self, connection: HttpConnection) -> None:
        # The poller tells several events at once, and one of them may have removed another's.
        if connection in self._since:
            self._on_readable(connection)
