"""Who is let in: the streams that a process has room for, and the shares of them."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable

from .exceptions import TooManyClients


class Slots:
    """How many streams a process may have; threads that wait in streams are no use to others.

    ``per_address`` bounds the streams of one address; 0 doesn't.
    """

    def __init__(self, most: int, per_address: int = 0) -> None:
        self.most = most
        self.per_address = per_address
        self.taken = 0
        self._by_sink: Counter[str | None] = Counter()
        self._by_address: Counter[str | None] = Counter()
        self._lock = threading.Lock()

    def take(
        self, sink: str = "", sink_most: int = 0, address: str | None = None
    ) -> Callable[[], None]:
        """Take a slot and return what gives it back, which may be called more than once.

        ``sink_most`` bounds the streams of this sink; 0 doesn't.

        :raises TooManyClients: there is none left; the message says of which.
        """
        with self._lock:
            if self.taken >= self.most:
                raise TooManyClients(f"all {self.most} streams of this worker are taken")
            if sink_most and self._by_sink[sink] >= sink_most:
                raise TooManyClients(f"all {sink_most} streams of this sink are taken")
            if self.per_address and self._by_address[address] >= self.per_address:
                raise TooManyClients(f"your address has all {self.per_address} streams it may")
            self.taken += 1
            self._by_sink[sink] += 1
            self._by_address[address] += 1
        return _Slot(self, sink, address)

    def give_back(self, slot: _Slot) -> None:
        """Take back a slot that :meth:`take` gave, unless that was done before."""
        with self._lock:
            if not slot.held:
                return
            slot.held = False
            self.taken -= 1
            for counter, key in ((self._by_sink, slot.sink), (self._by_address, slot.address)):
                counter[key] -= 1
                if not counter[key]:
                    del counter[key]


class _Slot:
    """A slot that is taken; a call gives it back."""

    __slots__ = ("slots", "sink", "address", "held")

    def __init__(self, slots: Slots, sink: str, address: str | None) -> None:
        self.slots = slots
        self.sink = sink
        self.address = address
        self.held = True

    def __call__(self) -> None:
        self.slots.give_back(self)
