"""The stats endpoint: counts by status and domain, from counters."""

import msgspec
from msgspec import UNSET, UnsetType

from postroom.api.context import RequestContext, Result, resolve_user
from postroom.api.fields import raise_if_any, text_problems
from postroom.api.problems import NO_USER
from postroom.api.route import route
from postroom.db import Tx
from postroom.parameters import Limit, Offset, UserId
from postroom.tenants import usage
from postroom.tenants.usage import Count


class StatsQuery(msgspec.Struct, frozen=True):
    user_id: UserId | UnsetType = UNSET
    limit: Limit = 50
    offset: Offset = 0


class DomainCount(msgspec.Struct, frozen=True):
    domain: str
    accounts: Count


class StatsAnswer(msgspec.Struct, frozen=True):
    accounts: Count
    domains: list[DomainCount]
    limit: int
    offset: int


@route("GET", "/v2/stats", "stats:read", "Count accounts", StatsAnswer, missing=NO_USER)
async def get(context: RequestContext, query: StatsQuery) -> Result:
    """Counts live accounts by status, in all and by domain."""
    raise_if_any(text_problems(query.user_id))
    user_id = resolve_user(context.actor, query.user_id)

    def work(tx: Tx) -> StatsAnswer:
        page = usage.by_domain(tx, context.actor, user_id, query.limit, query.offset)
        by_domain = [DomainCount(name, count) for name, count in page]
        return StatsAnswer(usage.totals(tx, context.actor, user_id), by_domain, query.limit, query.offset)

    return Result(await context.services.database.read_slow(work))
