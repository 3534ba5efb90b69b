"""Who calls: the API key of `x-api-key` or `Authorization: Bearer`, and the address of the client.

A stranger would get wrong: the query string is never looked at for a key, and X-Forwarded-For counts only from
networks that the operator trusts.
"""

import ipaddress
from collections.abc import Sequence

Headers = Sequence[tuple[bytes, bytes]]
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def key_of(headers: Headers) -> str | None:
    """The API key that was sent, if any. Two different keys are none."""
    found = set()
    for name, value in headers:
        if name == b"x-api-key":
            found.add(value.strip())
        elif name == b"authorization" and value[:7].lower() == b"bearer ":
            found.add(value[7:].strip())
    if len(found) != 1:
        return None
    key = found.pop()
    return key.decode("ascii", "replace") if 0 < len(key) <= 200 else None


def client_address(peer: str, headers: Headers, trusted: Sequence[Network]) -> str:
    """The right-most address of X-Forwarded-For that is not a trusted proxy; without trust, the peer."""
    if not trusted or not _trusts(peer, trusted):
        return peer
    hops = [hop.strip() for name, value in headers if name == b"x-forwarded-for" for hop in _text(value).split(",")]
    address = peer
    for hop in reversed(hops):
        if not _is_address(hop):
            break
        address = hop
        if not _trusts(hop, trusted):
            break
    return address


def networks(texts: Sequence[str]) -> tuple[Network, ...]:
    """The trusted networks of the settings."""
    return tuple(ipaddress.ip_network(text) for text in texts)


def _trusts(address: str, trusted: Sequence[Network]) -> bool:
    return _is_address(address) and any(ipaddress.ip_address(address) in network for network in trusted)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _text(value: bytes) -> str:
    return value.decode("ascii", "replace")
