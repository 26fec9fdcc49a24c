"""Who is let in: the streams that a process has room for, and the shares of them."""

from __future__ import annotations

import ipaddress
import threading
from collections import Counter
from collections.abc import Callable

from .exceptions import TooManyClients

# IPv4 addresses as IPv6 servers see them through a translator. Rule: RFC 6052, 2.1.
_TRANSLATED = ipaddress.IPv6Network("64:ff9b::/96")
_SUBSCRIBER_BITS = 64


class Slots:
    """How many streams a process may have; threads that wait in streams are no use to others.

    ``per_address`` bounds the streams of one address (:func:`counted_address`); 0 doesn't.
    """

    def __init__(self, most: int, per_address: int = 0) -> None:
        self.most = most
        self.per_address = per_address
        self.taken = 0
        self._by_sink: Counter[str] = Counter()
        self._by_address: Counter[str] = Counter()
        self._lock = threading.Lock()

    def take(
        self, sink: str = "", sink_most: int = 0, address: str | None = None
    ) -> Callable[[], None]:
        """Take a slot and return what gives it back, which may be called more than once.

        ``sink_most`` bounds the streams of this sink; 0 doesn't.

        :raises TooManyClients: there is none left; the message says of which.
        """
        counted = counted_address(address) if self.per_address else ""
        with self._lock:
            if self.taken >= self.most:
                raise TooManyClients(f"all {self.most} streams of this worker are taken")
            if sink_most and self._by_sink[sink] >= sink_most:
                raise TooManyClients(f"all {sink_most} streams of this sink are taken")
            if self.per_address and self._by_address[counted] >= self.per_address:
                raise TooManyClients(f"your address has all {self.per_address} streams it may")
            self.taken += 1
            self._by_sink[sink] += 1
            self._by_address[counted] += 1
        return _Slot(self, sink, counted)

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

    def __init__(self, slots: Slots, sink: str, address: str) -> None:
        self.slots = slots
        self.sink = sink
        self.address = address
        self.held = True

    def __call__(self) -> None:
        self.slots.give_back(self)


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
