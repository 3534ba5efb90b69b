"""URLs of webhooks, judged by their text alone: a name is resolved when it is dialled, not before.

Every program must read an accepted URL in the same way, so an accepted URL has only ASCII, no
backslash, no user information and a plain host.
"""

import ipaddress
import re
from urllib.parse import urlsplit

import msgspec

LONGEST = 2048
PORTS = {"https": 443, "http": 80}
PLACE = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?\.?)(?::([0-9]{1,5}))?")
LOCALHOST = "localhost"


class BadUrl(ValueError):
    """The text is one sentence for the caller."""


class Url(msgspec.Struct, frozen=True):
    """The parts of an accepted URL. `host` is a name or an address without brackets, in lower
    case."""

    text: str
    scheme: str
    host: str
    port: int


def parse(text: str, *, allows_private: bool) -> Url:
    """Returns the parts of a URL. With `allows_private` (POSTROOM_WEBHOOK_ALLOW), private addresses
    are accepted, and plain http to them. Raises BadUrl."""
    if len(text) > LONGEST:
        raise BadUrl(f"A URL has at most {LONGEST} characters.")
    if re.search(r"[^!-~]|\\", text):
        raise BadUrl("Write a URL in ASCII: a host in its xn-- form, other characters percent-encoded.")
    scheme, place = _split(text)
    found = PLACE.fullmatch(place)
    if not found:
        raise BadUrl("Use a URL like https://platform.example/hook, without a user or a password.")
    host, port = found[1].strip("[]").lower(), int(found[2] or PORTS[scheme])
    if not 1 <= port <= 65535:
        raise BadUrl("A port is a number from 1 to 65535.")
    address = _address(host, is_bracketed=place.startswith("["))
    is_private = host.rstrip(".") == LOCALHOST or (address is not None and not address.is_global)
    if is_private and not allows_private:
        raise BadUrl("This address is not on the Internet: POSTROOM_WEBHOOK_ALLOW=private allows it.")
    if scheme == "http" and not is_private:
        raise BadUrl("Use https: it keeps the events from others.")
    return Url(text, scheme, host, port)


def host_of(text: str) -> str:
    """Returns the host and port of an accepted URL: what events and logs may say, because a path or
    a query may hold a token."""
    return _split(text)[1]


def _split(text: str) -> tuple[str, str]:
    """The scheme, and the host with its port."""
    try:
        parts = urlsplit(text)
    except ValueError:
        raise BadUrl("Use a URL like https://platform.example/hook.") from None
    if parts.scheme not in PORTS or not text.lower().startswith(f"{parts.scheme}://"):
        raise BadUrl("Use a URL that begins with https://.")
    if parts.fragment:
        raise BadUrl("Leave the # and what follows away: it is never sent.")
    return parts.scheme, parts.netloc


def _address(host: str, *, is_bracketed: bool) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The literal address of a host; None for a name. Other notations of IPv4 are refused, because
    programs differ in what they read."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        if is_bracketed or re.fullmatch(r"(0x[0-9a-f]*|[0-9]+)", host.rstrip(".").rpartition(".")[2]):
            raise BadUrl("Write an address like 192.0.2.1 or [2001:db8::1].") from None
        return None
    return address
