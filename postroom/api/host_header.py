"""Which domain the Host header of a request without a key is about.

The one Host header alone says it; a proxy in front must pass it on, and what it says in
X-Forwarded-Host is not looked at (decision 0036).
"""

import re

from postroom.address import BadAddress, parse_domain
from postroom.api.exchange import Headers

_HOST = re.compile(rb"([a-z0-9.-]{1,320})(?::[0-9]{1,5})?", re.IGNORECASE)


def host_of(headers: Headers) -> str:
    """The name in the Host header, in lower case; empty where there is none, or two."""
    hosts = [value for name, value in headers if name == b"host"]
    match = _HOST.fullmatch(hosts[0]) if len(hosts) == 1 else None
    return match[1].decode("ascii").lower() if match else ""


def domain_behind(label: str, host: str) -> str | None:
    """The domain in `<label>.<domain>`."""
    return domain_in(host.removeprefix(f"{label}.")) if host.startswith(f"{label}.") else None


def domain_in(text: str) -> str | None:
    """The canonical name, where the text is one."""
    try:
        return parse_domain(text)
    except BadAddress:
        return None
