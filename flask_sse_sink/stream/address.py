"""Addresses of peers, as streams are counted by them."""

from __future__ import annotations

import ipaddress

# IPv4 addresses as IPv6 servers see them through a translator. Rule: RFC 6052, 2.1.
_TRANSLATED = ipaddress.IPv6Network("64:ff9b::/96")
_SUBSCRIBER_BITS = 64


def counted_address(address: str | None) -> str:
    """Return what a peer's address is counted as: the address for IPv4, its /64 for IPv6.

    A provider gives each subscriber a /64 at least. A port that a proxy has added to the address
    (``192.0.2.1:1000``, ``[2001:db8::1]:1000``) is left out. An IPv4 address that is written as an
    IPv6 one (``::ffff:192.0.2.1``) counts as IPv4. Text that is no address counts as it is.
    """
    text = (address or "").strip()
    parsed = _parse(text)
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        if parsed in _TRANSLATED:
            return str(ipaddress.IPv4Address(int(parsed) & 0xFFFFFFFF))
        network = int(parsed) >> _SUBSCRIBER_BITS << _SUBSCRIBER_BITS
        return f"{ipaddress.IPv6Address(network)}/{_SUBSCRIBER_BITS}"
    return text if parsed is None else str(parsed)


def _parse(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None
