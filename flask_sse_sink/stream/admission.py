"""Who is let in: the streams that a process has room for, and the shares of them."""

from __future__ import annotations

import ipaddress
import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable

from ..exceptions import TooManyClients

_log = logging.getLogger(__name__)

#: How long a stream that was admitted may take until its first bytes are asked for. A server asks
#: at once; where nobody does, something else was answered in place of the stream.
BEGIN_SECONDS = 10.0

# IPv4 addresses as IPv6 servers see them through a translator. Rule: RFC 6052, 2.1.
_TRANSLATED = ipaddress.IPv6Network("64:ff9b::/96")
_SUBSCRIBER_BITS = 64


class Slots:
    """How many streams a process may have; threads that wait in streams are no use to others.

    ``per_address`` bounds the streams of one address (:func:`counted_address`); 0 doesn't. A slot
    whose stream doesn't begin within ``begin_seconds`` is taken back.
    """

    def __init__(
        self,
        most: int,
        per_address: int = 0,
        begin_seconds: float = BEGIN_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.most = most
        self.per_address = per_address
        self.begin_seconds = begin_seconds
        self._clock = clock
        self._taken = 0
        self._by_sink: Counter[str] = Counter()
        self._by_address: Counter[str] = Counter()
        #: Slots whose streams haven't begun, and since when they wait; the oldest is the first.
        self._waiting: dict[Slot, float] = {}
        #: Slots that were given back, and are still counted.
        self._returned: deque[Slot] = deque()
        self._warned = False
        self._lock = threading.Lock()

    @property
    def taken(self) -> int:
        """Return how many slots are taken now."""
        with self._lock:
            self._settle()
            return self._taken

    def take(self, sink: str = "", sink_most: int = 0, address: str | None = None) -> Slot:
        """Take a slot and return it.

        ``sink_most`` bounds the streams of this sink; 0 doesn't.

        :raises TooManyClients: there is none left; the message says of which.
        """
        counted = counted_address(address) if self.per_address else ""
        with self._lock:
            self._settle()
            if self._taken >= self.most:
                raise TooManyClients(f"all {self.most} streams of this worker are taken")
            if sink_most and self._by_sink[sink] >= sink_most:
                raise TooManyClients(f"all {sink_most} streams of this sink are taken")
            if self.per_address and self._by_address[counted] >= self.per_address:
                raise TooManyClients(f"your address has all {self.per_address} streams it may")
            slot = Slot(self, sink, counted)
            self._taken += 1
            self._by_sink[sink] += 1
            self._by_address[counted] += 1
            self._waiting[slot] = self._clock()
        return slot

    def begin(self, slot: Slot) -> bool:
        """Note that the slot's stream begins; return False where it must not.

        That is where the slot was given back, or was begun with before.
        """
        with self._lock:
            self._settle()
            return self._waiting.pop(slot, None) is not None

    def give_back(self, slot: Slot) -> None:
        """Give a slot back; more than once does no harm.

        Takes no lock, so that a finalizer may call it, whatever the thread was doing.
        """
        self._returned.append(slot)

    def settle(self) -> None:
        """Take back what was given back or not used in time; :meth:`take` does so by itself."""
        with self._lock:
            self._settle()

    def _settle(self) -> None:
        """Count the slots that were given back, and take those back that were never used."""
        while self._returned:
            self._release(self._returned.popleft())
        overdue = self._clock() - self.begin_seconds
        while self._waiting:
            slot, since = next(iter(self._waiting.items()))
            if since > overdue:
                break
            self._release(slot)
            if not self._warned:
                self._warned = True
                _log.warning(
                    "a stream was admitted and nobody asked for its first bytes within %g s, so "
                    "its place is free again: something else was answered in its stead",
                    self.begin_seconds,
                )

    def _release(self, slot: Slot) -> None:
        if not slot.held:
            return
        slot.held = False
        self._waiting.pop(slot, None)
        self._taken -= 1
        for counter, key in ((self._by_sink, slot.sink), (self._by_address, slot.address)):
            counter[key] -= 1
            if not counter[key]:
                del counter[key]


class Slot:
    """A slot that is taken, until :meth:`give_back`."""

    __slots__ = ("_slots", "sink", "address", "held")

    def __init__(self, slots: Slots, sink: str, address: str) -> None:
        self._slots = slots
        self.sink = sink
        self.address = address
        self.held = True

    def begin(self) -> bool:
        """Return whether the stream may begin: once, unless the slot was given back."""
        return self._slots.begin(self)

    def give_back(self) -> None:
        """Give it back. Any thread may call it, a finalizer too, more than once."""
        self._slots.give_back(self)


def counted_address(address: str | None) -> str:
    """Return what a peer's address is counted as: the address for IPv4, its /64 for IPv6.

    A provider gives each subscriber a /64 at least. Proxies may add the port to an address
    (``192.0.2.1:1000``, ``[2001:db8::1]:1000``), which is left out, and write an IPv4 address as
    an IPv6 one (``::ffff:192.0.2.1``), which counts as IPv4. What is no address counts as it is.
    """
    text = (address or "").strip()
    found = _parsed(text)
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is not None:
            return str(found.ipv4_mapped)
        if found in _TRANSLATED:
            return str(ipaddress.IPv4Address(int(found) & 0xFFFFFFFF))
        network = int(found) >> _SUBSCRIBER_BITS << _SUBSCRIBER_BITS
        return f"{ipaddress.IPv6Address(network)}/{_SUBSCRIBER_BITS}"
    return text if found is None else str(found)


def _parsed(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None
