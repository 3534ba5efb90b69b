"""The MTA-STS policy (RFC 8461) of each active domain, for whoever sends mail to it.

A stranger would get wrong: the Host header alone says which domain is meant, and it must be spelt canonically; a
proxy in front must pass it on.
"""

import re

from postroom import dns, domains
from postroom.address import BadAddress, parse_domain
from postroom.api.auth import Headers
from postroom.api.call import Answer, Services
from postroom.errors import not_found

_HOST = re.compile(rb"mta-sts\.([a-z0-9.-]{1,253})(?::[0-9]{1,5})?", re.IGNORECASE)


async def policy(services: Services, headers: Headers) -> Answer:
    """Answers the policy to `mta-sts.` before an active domain; any other Host is 404."""
    name = _domain(headers)
    if name is None or not await services.database.read(lambda tx: domains.is_active(tx, name)):
        raise not_found()
    return Answer(dns.policy(services.mail_host))


def _domain(headers: Headers) -> str | None:
    """The domain that the one Host header is about."""
    hosts = [value for name, value in headers if name == b"host"]
    match = _HOST.fullmatch(hosts[0]) if len(hosts) == 1 else None
    try:
        return parse_domain(match[1].decode("ascii").lower()) if match else None
    except BadAddress:
        return None
