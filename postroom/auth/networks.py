"""Networks from which a key may be used, written as CIDR.

A socket that listens on IPv6 and IPv4 shows an IPv4 client as `::ffff:203.0.113.7`
(RFC 4291 2.5.5.2). It is looked for as the IPv4 address that it is.
"""

import functools
import ipaddress
from collections.abc import Sequence

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def parse(text: str) -> str:
    """The canonical CIDR of a network or a single address. Raises ValueError."""
    if not text.isascii():  # the library takes digits of every script
        raise ValueError("not a network")
    return str(ipaddress.ip_network(text))


def holds(networks: Sequence[str], address: str) -> bool:
    """Whether one of the networks has the address. What is no address is in none."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped:
        found = found.ipv4_mapped
    return any(found in _read(network) for network in networks)


def within(inner: Sequence[str], outer: Sequence[str]) -> bool:
    """Whether each of the inner networks lies in one of the outer ones."""
    return all(any(_inside(network, other) for other in outer) for network in inner)


@functools.lru_cache(4096)
def _read(text: str) -> Network:
    """Kept, because a key is checked at every request."""
    return ipaddress.ip_network(text)


def _inside(inner: str, outer: str) -> bool:
    small, large = _read(inner), _read(outer)
    if isinstance(small, ipaddress.IPv4Network) and isinstance(large, ipaddress.IPv4Network):
        return small.subnet_of(large)
    if isinstance(small, ipaddress.IPv6Network) and isinstance(large, ipaddress.IPv6Network):
        return small.subnet_of(large)
    return False
