"""Networks from which a key may be used, in CIDR notation.

A socket that listens on IPv6 and IPv4 shows an IPv4 client as `::ffff:203.0.113.7` (RFC 4291
2.5.5.2). Such a client is compared by its IPv4 address.
"""

import functools
import ipaddress
from collections.abc import Sequence

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def parse(text: str) -> str:
    """Returns the canonical CIDR notation of a network or a single address. Raises ValueError."""
    if not text.isascii() or "%" in text:  # the library accepts digits of every script, and zones
        raise ValueError("not a network")
    return str(ipaddress.ip_network(text))


def holds(networks: Sequence[str], address: str) -> bool:
    """Whether one of the networks contains the address. False if the text is not an address."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped:
        found = found.ipv4_mapped
    return any(found in _read(network) for network in networks)


def within(inner: Sequence[str], outer: Sequence[str]) -> bool:
    """Whether each inner network lies in one of the outer networks."""
    return all(any(_inside(network, other) for other in outer) for network in inner)


@functools.lru_cache(4096)
def _read(text: str) -> Network:
    """Cached, because every request checks the networks of its key."""
    return ipaddress.ip_network(text)


def _inside(inner: str, outer: str) -> bool:
    small, large = _read(inner), _read(outer)
    if isinstance(small, ipaddress.IPv4Network) and isinstance(large, ipaddress.IPv4Network):
        return small.subnet_of(large)
    if isinstance(small, ipaddress.IPv6Network) and isinstance(large, ipaddress.IPv6Network):
        return small.subnet_of(large)
    return False
