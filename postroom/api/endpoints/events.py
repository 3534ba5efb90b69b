"""The events endpoint: the audit log with a cursor, oldest first unless asked otherwise."""

import math
from datetime import datetime
from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType

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
from postroom.events import TYPES, Event, EventFacts
from postroom.parameters import (
    AccountId,
    After,
    DomainName,
    EventKeyId,
    EventTypeName,
    Limit,
    Since,
    Until,
    UserId,
)

MOMENT = Annotated[datetime, Meta(tz=True)]


class EventsQuery(msgspec.Struct, frozen=True):
    account_id: AccountId | UnsetType = UNSET
    domain: DomainName | UnsetType = UNSET
    user_id: UserId | UnsetType = UNSET
    type: Annotated[EventTypeName[str], Meta(extra_json_schema={"enum": list(TYPES)})] | UnsetType = UNSET
    key_id: EventKeyId | UnsetType = UNSET
    since: Since | UnsetType = UNSET
    until: Until | UnsetType = UNSET
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
    """Lists the events, filtered by account, domain, user, type, key or time."""
    problems: list[FieldError] = text_problems(query.user_id)
    if query.type is not UNSET and query.type not in TYPES:
        problems.append(FieldError("type", "invalid", f"Use one of: {', '.join(TYPES)}."))
    since, until = _time(query.since, "since", problems), _time(query.until, "until", problems)
    name = UNSET if query.domain is UNSET else parse_domain_field(query.domain, problems)
    newest = is_newest(query.order, problems)
    raise_if_any(problems)
    user_id = resolve_user(context.actor, query.user_id)
    filters: dict[str, int | str] = {} if user_id is None else {"user_id": user_id}
    sent = {"account_id": query.account_id, "type": query.type, "key_id": query.key_id}
    filters |= {field: value for field, value in sent.items() if value is not UNSET}

    def work(tx: Tx) -> list[Event]:
        if name is not UNSET:
            domain = domains.find(tx, context.actor, name, user_id)
            if domain is None:
                return []
            filters["domain_id"] = domain.id
        page = {"after": query.after, "limit": query.limit + 1, "since": since, "until": until}
        return events.page(tx, context.actor, newest=newest, **page, **filters)  # type: ignore[arg-type]

    found = await context.services.database.read_slow(work)
    items = [_show(event) for event in found[: query.limit]]
    headers = next_link(context, items[-1].id, query.limit) if len(found) > query.limit else {}
    return Result(EventsAnswer(items, query.limit, query.after), headers=tuple(headers.items()))


def _time(sent: str | UnsetType, field: str, problems: list[FieldError]) -> int | None:
    """A time of the query in milliseconds since 1970 UTC. Any problem is added to `problems`."""
    if sent is UNSET:
        return None
    try:
        moment = msgspec.convert(sent, MOMENT)
    except msgspec.ValidationError:
        problems.append(FieldError(field, "invalid", "Use a time with its zone, like 2027-01-31T00:00:00Z."))
        return None
    return math.ceil(moment.timestamp() * 1000)


_show = filler(ShownEvent)
