"""Where a request comes from: the address of its client, which a trusted proxy names."""

import ipaddress
from collections.abc import Sequence

from postroom.api.exchange import Headers

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def client_address(peer: str, headers: Headers, trusted: Sequence[Network]) -> str:
    """The right-most address of X-Forwarded-For that is not a trusted proxy; without trust, the
    peer."""
    if not trusted or not trusts(peer, trusted):
        return peer
    hops = [
        hop.strip()
        for name, value in headers
        if name == b"x-forwarded-for"
        for hop in value.decode("ascii", "replace").split(",")
    ]
    address = peer
    for hop in reversed(hops):
        if not _is_address(hop):
            break
        address = hop
        if not trusts(hop, trusted):
            break
    return address


def is_loopback(address: str) -> bool:
    """Whether it is this host, by its own address."""
    return _is_address(address) and ipaddress.ip_address(address).is_loopback


def networks(texts: Sequence[str]) -> tuple[Network, ...]:
    """The trusted networks of the settings."""
    return tuple(ipaddress.ip_network(text) for text in texts)


def trusts(address: str, trusted: Sequence[Network]) -> bool:
    """Whether the address is in one of the networks."""
    return _is_address(address) and any(ipaddress.ip_address(address) in network for network in trusted)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
