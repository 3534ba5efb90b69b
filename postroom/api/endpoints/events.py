"""The events endpoint: the audit log with a cursor, oldest first unless asked otherwise."""

import msgspec
from msgspec import UNSET, UnsetType

from postroom import events
from postroom.api.context import RequestContext, Result, resolve_user
from postroom.api.fields import Order, is_newest, parse_domain_field, raise_if_any, text_problems
from postroom.api.pagination import next_link
from postroom.api.problems import NO_USER
from postroom.api.projections import filler
from postroom.api.route import route
from postroom.db import Tx
from postroom.domains import commands as domains
from postroom.errors import FieldError
from postroom.events import Event, EventFacts
from postroom.parameters import AccountId, After, DomainName, Limit, UserId


class EventsQuery(msgspec.Struct, frozen=True):
    account_id: AccountId | UnsetType = UNSET
    domain: DomainName | UnsetType = UNSET
    user_id: UserId | UnsetType = UNSET
    order: Order = "oldest"
    limit: Limit = 50
    after: After = 0


class ShownEvent(EventFacts, frozen=True):
    created_at: str


class EventsAnswer(msgspec.Struct, frozen=True):
    items: list[ShownEvent]
    limit: int
    after: int


@route("GET", "/v2/events", "events:read", "List events", EventsAnswer, missing=NO_USER)
async def get_page(context: RequestContext, query: EventsQuery) -> Result:
    """Lists the events, filtered by account, domain or user."""
    problems: list[FieldError] = text_problems(query.user_id)
    name = UNSET if query.domain is UNSET else parse_domain_field(query.domain, problems)
    newest = is_newest(query.order, problems)
    raise_if_any(problems)
    user_id = resolve_user(context.actor, query.user_id)
    filters: dict[str, int | str] = {} if user_id is None else {"user_id": user_id}
    if query.account_id is not UNSET:
        filters["account_id"] = query.account_id

    def work(tx: Tx) -> list[Event]:
        if name is not UNSET:
            domain = domains.find(tx, context.actor, name, user_id)
            if domain is None:
                return []
            filters["domain_id"] = domain.id
        return events.page(tx, context.actor, after=query.after, limit=query.limit + 1, newest=newest, **filters)

    found = await context.services.database.read_slow(work)
    items = [_show(event) for event in found[: query.limit]]
    headers = next_link(context, items[-1].id, query.limit) if len(found) > query.limit else {}
    return Result(EventsAnswer(items, query.limit, query.after), headers=tuple(headers.items()))


_show = filler(ShownEvent)
