"""The stats endpoint: counts by status and domain, from counters."""

import msgspec
from msgspec import UNSET, UnsetType

from postroom.api.context import Answer, Call, sent_user
from postroom.api.decoding import Limit, Offset
from postroom.api.fields import raise_for, text_problems
from postroom.db import Tx
from postroom.tenants import usage
from postroom.tenants.usage import Count


class StatsQuery(msgspec.Struct, frozen=True):
    user_id: str | UnsetType = UNSET
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


async def get(call: Call, query: StatsQuery) -> Answer:
    """Counts live accounts by status, in all and by domain."""
    raise_for(text_problems(query.user_id))
    user_id = sent_user(call.actor, query.user_id)

    def work(tx: Tx) -> StatsAnswer:
        page = usage.by_domain(tx, call.actor, user_id, query.limit, query.offset)
        by_domain = [DomainCount(name, count) for name, count in page]
        return StatsAnswer(usage.totals(tx, call.actor, user_id), by_domain, query.limit, query.offset)

    return Answer(await call.services.database.search(work))
