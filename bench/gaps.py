"""The time between two heartbeats of a client."""

from __future__ import annotations

from array import array


class Gaps:
    """The gaps between the heartbeats of each of many clients."""

    def __init__(self) -> None:
        self._last: dict[int, int] = {}
        self.nanoseconds = array("q")
        """Each gap, of all clients."""

    def add(self, client: int, now: int) -> None:
        """Note a heartbeat of this client, at a moment in nanoseconds."""
        last = self._last.get(client)
        if last is not None:
            self.nanoseconds.append(now - last)
        self._last[client] = now

    @property
    def clients(self) -> int:
        """Return how many clients have had a heartbeat."""
        return len(self._last)
