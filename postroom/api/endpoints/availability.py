"""The availability endpoint: whether an address can be taken now."""

import msgspec
from msgspec import UNSET, UnsetType

from postroom.accounts import addresses
from postroom.address import RESERVED
from postroom.api.context import RequestContext, Result, resolve_user
from postroom.api.fields import parse_address, raise_if_any, text_problems
from postroom.api.problems import NO_DOMAIN
from postroom.api.route import route
from postroom.db import Tx
from postroom.domains import commands as domains
from postroom.parameters import DomainName, LocalPart, UserId


class AvailableQuery(msgspec.Struct, frozen=True):
    domain: DomainName
    local_part: LocalPart
    user_id: UserId | UnsetType = UNSET


class AvailableAnswer(msgspec.Struct, frozen=True):
    """`reason` is the code with which a create would be refused, or null."""

    available: bool
    reason: str | None


@route(
    "GET",
    "/v2/email-accounts/available",
    "accounts:read",
    "Is an address available",
    AvailableAnswer,
    missing=NO_DOMAIN,
)
async def get(context: RequestContext, query: AvailableQuery) -> Result:
    """Says whether an address on a domain of yours can be taken, as far as the address decides."""
    problems = text_problems(query.user_id)
    address = parse_address(query.domain, query.local_part, problems)
    raise_if_any(problems)
    user_id = resolve_user(context.actor, query.user_id)

    def work(tx: Tx) -> str | None:
        domain = domains.get(tx, context.actor, address.domain, user_id)
        if domain.status != "active":
            return "domain_not_active"
        if address.local_part in RESERVED:
            return "reserved_local_part"
        is_free = addresses.is_free(tx, domain.id, address.local_part, user_id)
        return None if is_free else "address_exists"

    reason = await context.services.database.read(work)
    return Result(AvailableAnswer(reason is None, reason))
