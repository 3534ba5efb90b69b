"""Addresses that a webhook may be sent to: without POSTROOM_WEBHOOK_ALLOW=private only those of the
Internet, so that nobody reaches the operator's network by a URL (decision 0294).

The list is ours and not that of the library, whose opinion differs between versions of Python.
"""

import asyncio
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from postroom.domains.resolver import Found, Resolver, Unanswered

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

LOCALHOST = "localhost"
# Addresses that POSTROOM_WEBHOOK_ALLOW=private allows.
PRIVATE = tuple(
    map(
        ip_network,
        ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "127.0.0.0/8", "::1/128", "fc00::/7"),
    )
)
# Addresses of machines that hand out credentials of the cloud. The first and the last would pass as
# addresses of the Internet or of the own network.
METADATA = frozenset(map(ip_address, ("168.63.129.16", "169.254.169.254", "100.100.100.200", "fd00:ec2::254")))
# The special addresses of IPv4 (RFC 6890, https://www.iana.org/assignments/iana-ipv4-special-registry).
SPECIAL = tuple(
    map(
        ip_network,
        (
            "0.0.0.0/8",
            "10.0.0.0/8",
            "100.64.0.0/10",
            "127.0.0.0/8",
            "169.254.0.0/16",
            "172.16.0.0/12",
            "192.0.0.0/24",
            "192.0.2.0/24",
            "192.88.99.0/24",
            "192.168.0.0/16",
            "198.18.0.0/15",
            "198.51.100.0/24",
            "203.0.113.0/24",
            "224.0.0.0/3",
        ),
    )
)
# IPv6 is the other way around: what is not in 2000::/3 is no address of the Internet, such as NAT64
# (64:ff9b::/96) and addresses that hold one of IPv4. The others: Teredo and protocols (2001::/23),
# documentation, 6to4.
GLOBAL6 = IPv6Network("2000::/3")
SPECIAL6 = tuple(map(ip_network, ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")))


class TargetRefused(Exception):
    """Nothing is sent there. The text says why, without the address, because a caller could learn
    the operator's network from it."""


def is_global(address: Address) -> bool:
    """Whether this is an address of the Internet."""
    if address in METADATA:
        return False
    if isinstance(address, IPv4Address):
        return not any(address in network for network in SPECIAL)
    return address in GLOBAL6 and not any(address in network for network in SPECIAL6)


def is_private(address: Address) -> bool:
    """Whether this is an address that POSTROOM_WEBHOOK_ALLOW=private allows."""
    return address not in METADATA and any(address in network for network in PRIVATE)


async def find(resolver: Resolver, host: str, *, allows_private: bool) -> list[Address]:
    """Returns the addresses of a host, all of them allowed. Raises TargetRefused if the name has
    none, or one that is not allowed; Unanswered."""
    found = await _addresses(resolver, host)
    if not found:
        raise TargetRefused("The name has no address.")
    for address in found:
        if not is_global(address) and not (allows_private and is_private(address)):
            raise TargetRefused("The address is not on the Internet.")
    return found


async def _addresses(resolver: Resolver, host: str) -> list[Address]:
    try:
        return [ip_address(host)]
    except ValueError:
        pass
    if host.rstrip(".") == LOCALHOST:  # RFC 6761, 6.3
        return [IPv4Address("127.0.0.1"), IPv6Address("::1")]
    both = await asyncio.gather(resolver.find(host, "A"), resolver.find(host, "AAAA"), return_exceptions=True)
    found = [value for answer in both if isinstance(answer, Found) for value in answer.values]
    for failure in both:
        if isinstance(failure, BaseException) and not (found and isinstance(failure, Unanswered)):
            raise failure
    return [ip_address(value) for value in found]
