"""The MTA-STS policy (RFC 8461) of each active domain, for whoever sends mail to it.

A stranger would get wrong: the Host header alone says which domain is meant (hosts.py).
"""

from postroom.api.context import Answer, Visit
from postroom.api.decoding import NoQuery
from postroom.api.host_header import domain_behind, host_of
from postroom.domains import commands as domains
from postroom.domains import dns_records
from postroom.errors import not_found


async def policy(visit: Visit, _query: NoQuery) -> Answer:
    """Answers the policy to `mta-sts.` before an active domain; any other Host is 404."""
    name = domain_behind("mta-sts", host_of(visit.headers))
    if name is None or not await visit.services.database.read(lambda tx: domains.is_active(tx, name)):
        raise not_found()
    return Answer(dns_records.policy(visit.services.mail_host))
