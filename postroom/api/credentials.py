"""What a request's head says of who calls: the API key of `x-api-key` or `Authorization: Bearer`,
the cookie of the console, the site that asks, and the address of the client.

The query string is never looked at for a key, and X-Forwarded-For counts only from
networks that the operator trusts.
"""

import ipaddress
from collections.abc import Sequence

Headers = Sequence[tuple[bytes, bytes]]
# A browser takes a `__Host-` cookie over HTTPS only, and no other host can set it (RFC 6265bis
# 4.1.3.2).
SECURE_COOKIE = b"__Host-postroom"
COOKIE = b"postroom"
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def key_of(headers: Headers) -> str | None:
    """The API key that was sent, if any. Two different keys are none."""
    found = None
    for name, value in headers:
        if name == b"x-api-key":
            key = value.strip()
        elif name == b"authorization" and value[:7].lower() == b"bearer ":
            key = value[7:].strip()
        else:
            continue
        if found is not None and key != found:
            return None
        found = key
    return found.decode("ascii", "replace") if found and len(found) <= 200 else None


def sends_key(headers: Headers) -> bool:
    """Whether a header for a key is there, whatever it holds."""
    return any(name in (b"x-api-key", b"authorization") for name, _ in headers)


def session_token(headers: Headers) -> str | None:
    """What the cookie of a console session holds. The name that only TLS can set counts alone
    where it is there; two different ones of a name are none."""
    pairs = [pair.strip().partition(b"=") for n, value in headers if n == b"cookie" for pair in value.split(b";")]
    secure = {value for name, _, value in pairs if name == SECURE_COOKIE}
    found = secure or {value for name, _, value in pairs if name == COOKIE}
    return _text(value) if len(found) == 1 and 0 < len(value := found.pop()) <= 200 else None


def is_cross_site(headers: Headers) -> bool:
    """Whether a page of another site has made the browser send this. Browsers say so in
    Sec-Fetch-Site; over plain HTTP they leave it out, and then Origin has to be our own host
    where it is sent."""
    site, origin = header(headers, b"sec-fetch-site"), header(headers, b"origin")
    if site:
        return site not in ("same-origin", "none")
    return bool(origin) and origin.partition("://")[2] != header(headers, b"host")


def header(headers: Headers, wanted: bytes) -> str:
    """The first header of this name, or nothing."""
    return next((_text(value) for name, value in headers if name == wanted), "")


def client_address(peer: str, headers: Headers, trusted: Sequence[Network]) -> str:
    """The right-most address of X-Forwarded-For that is not a trusted proxy; without trust, the
    peer."""
    if not trusted or not trusts(peer, trusted):
        return peer
    hops = [hop.strip() for name, value in headers if name == b"x-forwarded-for" for hop in _text(value).split(",")]
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


def _text(value: bytes) -> str:
    return value.decode("ascii", "replace")
