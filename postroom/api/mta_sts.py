"""The MTA-STS policy (RFC 8461) of each active domain, for whoever sends mail to it.

A stranger would get wrong: the Host header alone says which domain is meant (hosts.py).
"""

from postroom import dns, domains
from postroom.api.call import Answer, Visit
from postroom.api.hosts import domain_behind, host_of
from postroom.api.wire import NoQuery
from postroom.errors import not_found


async def policy(visit: Visit, _query: NoQuery) -> Answer:
    """Answers the policy to `mta-sts.` before an active domain; any other Host is 404."""
    name = domain_behind("mta-sts", host_of(visit.headers))
    if name is None or not await visit.services.database.read(lambda tx: domains.is_active(tx, name)):
        raise not_found()
    return Answer(dns.policy(visit.services.mail_host))
