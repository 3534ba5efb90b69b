"""The domain that the Host header of a request without a key names.

The one Host header alone counts: a proxy in front must pass it on, and X-Forwarded-Host is ignored
(decision 0036).
"""

import re

from postroom.address import BadAddress, parse_domain
from postroom.api.exchange import Headers

_HOST = re.compile(rb"([a-z0-9.-]{1,320})(?::[0-9]{1,5})?", re.IGNORECASE)


def host_of(headers: Headers) -> str:
    """The name in the Host header, in lower case; an empty string if there is no Host header, or
    more than one."""
    hosts = [value for name, value in headers if name == b"host"]
    match = _HOST.fullmatch(hosts[0]) if len(hosts) == 1 else None
    return match[1].decode("ascii").lower() if match else ""


def domain_behind(label: str, host: str) -> str | None:
    """The domain in `<label>.<domain>`, or None."""
    return domain_in(host.removeprefix(f"{label}.")) if host.startswith(f"{label}.") else None


def domain_in(text: str) -> str | None:
    """The canonical domain name, or None if the text is not a domain name."""
    try:
        return parse_domain(text)
    except BadAddress:
        return None
