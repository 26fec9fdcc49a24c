"""The clients of one sink, and the way of events to them."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from .. import metrics
from ..event import Event
from ..filters import Filter
from ..filters.index import FilterIndex
from . import frame
from .chunk import Chunk, split
from .client import Client
from .delivery import Delivery
from .direct_send import DirectSender
from .formats import Format
from .memory import Memory


class _Group:
    """The clients with one filter; ``senders`` is replaced, never changed in place."""

    __slots__ = ("members", "senders")

    def __init__(self) -> None:
        self.members: dict[Client, None] = {}
        self.senders: tuple[DirectSender, ...] | None = ()


class Subscribers:
    """The clients of the sink ``name``, grouped by their filters, and the dispatch to them.

    ``match`` is the sink's own filter, ``format`` what makes its frames. An index finds the groups
    whose filters let an event through. Clients that get the same events of a delivery share one
    chunk.
    """

    def __init__(
        self, name: str, match: Filter, memory: Memory, format: Format = frame.message
    ) -> None:
        self.name = name
        self.format = format
        self._match = match
        self._memory = memory
        self.reset()

    def reset(self) -> None:
        """Forget every client, as a child process must after a fork."""
        self._groups: dict[Filter, _Group] = {}
        self._index: FilterIndex[_Group] = FilterIndex()
        self._apart: dict[Client, None] = {}
        self._lock = threading.Lock()

    @property
    def match(self) -> Filter:
        """Return the filter of the sink, which narrows that of each client."""
        return self._match

    @property
    def clients(self) -> list[Client]:
        """Return the clients that are connected now."""
        with self._lock:
            live = [client for group in self._groups.values() for client in group.members]
            return [*live, *self._apart]

    @property
    def filters(self) -> list[Filter]:
        """Return the different filters of the clients that get live events."""
        with self._lock:
            return list(self._groups)

    def add(self, client: Client) -> None:
        """Let the client have all events from now on. To be called under the relay's lock."""
        with self._lock:
            self._apart.pop(client, None)
            group = self._groups.get(client.filter)
            if group is None:
                group = self._groups[client.filter] = _Group()
                self._index.add(group, client.filter)
            group.members[client] = None
            group.senders = None

    def set_apart(self, client: Client) -> None:
        """Let the client, which reads from the log, have no live events until it is added."""
        with self._lock:
            self._remove(client)
            self._apart[client] = None

    def discard(self, client: Client) -> None:
        """Remove the client; a second time does no harm."""
        with self._lock:
            self._remove(client)
            self._apart.pop(client, None)

    def _remove(self, client: Client) -> None:
        group = self._groups.get(client.filter)
        if group is not None:
            group.members.pop(client, None)
            group.senders = None
            if not group.members:
                del self._groups[client.filter]
                self._index.discard(group)

    def dispatch(self, delivery: Delivery) -> None:
        """Send to every client the events that the sink's filter and its own let through."""
        for indexes, groups in self._selected(delivery).items():
            for chunk in split(delivery.frames(indexes, self.format)):
                self._send(chunk, groups)

    def _selected(
        self, delivery: Sequence[Event]
    ) -> dict[tuple[int, ...], list[tuple[DirectSender, ...]]]:
        """Return which clients get which events, by the indexes of the events."""
        by_group: dict[_Group, list[int]] = {}
        selected: dict[tuple[int, ...], list[tuple[DirectSender, ...]]] = {}
        with self._lock:
            for n, event in enumerate(delivery):
                if self._match.matches(event):
                    for group in self._index.matching(event):
                        by_group.setdefault(group, []).append(n)
            for group, indexes in by_group.items():
                if group.senders is None:
                    group.senders = tuple([client.queue.sender for client in group.members])
                selected.setdefault(tuple(indexes), []).append(group.senders)
        return selected

    def _send(self, chunk: Chunk, groups: list[tuple[DirectSender, ...]]) -> None:
        for senders in groups:
            frames = 0
            for sender in senders:
                frames += sender.send(chunk)
            if frames:
                seconds = time.time() - chunk.stored_at
                metrics.get().sink(self.name).delivered(frames, seconds, "direct")
        # What waits in queues is kept as frames.
        chunk.wire = b""

    def on_gap(self, first_id: int, last_id: int) -> None:
        """Tell every client that these events were pruned before they could be streamed."""
        with self._lock:
            groups = [(filter, list(group.members)) for filter, group in self._groups.items()]
        for filter, clients in groups:
            everything = filter.everything and self._match.everything
            # How many of them a filter would have let through is unknown.
            count = last_id - first_id + 1 if everything else None
            gap = Chunk.of_gap(count, first_id, last_id, self._memory)
            for client in clients:
                client.queue.sender.send(gap)
                client.missed += count or 0
                metrics.get().sink(self.name).missed(count or 0)
            gap.wire = b""
