"""The MTA-STS policy (RFC 8461) of each active domain, for servers that send mail to it.

The Host header alone says which domain is meant (host_header.py).
"""

from postroom.api.context import PublicRequest, Result
from postroom.api.decoding import NoQuery
from postroom.api.host_header import domain_behind, host_of
from postroom.api.problems import NO_HOST
from postroom.api.route import PUBLIC, route
from postroom.domains import commands as domains
from postroom.domains import dns_records
from postroom.errors import not_found


@route("GET", "/.well-known/mta-sts.txt", PUBLIC, "MTA-STS policy", str, missing=NO_HOST)
async def policy(public_request: PublicRequest, _query: NoQuery) -> Result:
    """Answers the policy to `mta-sts.` before an active domain; any other Host is 404."""
    name = domain_behind("mta-sts", host_of(public_request.headers))
    if name is None or not await public_request.services.database.read(lambda tx: domains.is_active(tx, name)):
        raise not_found()
    return Result(dns_records.policy(public_request.services.mail_host))
