"""Events: what happened, written in the transaction that it tells of. They are the audit log and
the outbox.

`data` never holds a secret, and nothing is ever sent from here.
"""

from typing import Any

import msgspec

from postroom.actor import Actor
from postroom.db import Tx


class EventFacts(msgspec.Struct, frozen=True):
    """One thing that happened, without its time."""

    id: int
    type: str
    account_id: int | None
    domain_id: int | None
    user_id: str | None
    key_id: int | None
    request_id: str | None
    client_address: str | None
    data: dict[str, Any]


class Event(EventFacts, frozen=True):
    """One thing that happened. `created_at` is in milliseconds since 1970 UTC."""

    created_at: int


NAMES = ", ".join(Event.__struct_fields__)
INSERT = """
INSERT INTO events (organization_id, type, account_id, domain_id, user_id, key_id, request_id, client_address,
  data, created_at)
VALUES (:organization, :type, :account_id, :domain_id, :user_id, :key_id, :request_id, :client_address,
  :data, :now)"""
COLUMNS = f"SELECT {NAMES} FROM events WHERE organization_id = :organization"
FILTERS = {
    "account_id": " AND account_id = :account_id",
    "domain_id": " AND domain_id = :domain_id",
    "bound": " AND domain_id IN (SELECT domain_id FROM api_key_domains WHERE key_id = :bound)",
    "user_id": " AND user_id = :user_id",
}
# An account has few events, its domain and its user may have millions: the account chooses the
# index.
ACCOUNT_FILTERS = {
    "account_id": " AND account_id = :account_id",
    "domain_id": " AND +domain_id = :domain_id",
    "bound": " AND +domain_id IN (SELECT domain_id FROM api_key_domains WHERE key_id = :bound)",
    "user_id": " AND COALESCE(user_id, '') = :user_id",
}

# Ids go up with time, so the oldest events are the first in the table's key: no index is needed to
# find them. One that a wrong clock has written as of the future waits for its day.
OLDEST = "SELECT id, created_at FROM events WHERE id > 0 ORDER BY id LIMIT :limit"
FORGET = "DELETE FROM events WHERE id >= :first AND id <= :last AND created_at <= :before"

# Events that are removed in one transaction.
STEP = 500
# Past every id.
NO_END = 2**62

_encode = msgspec.json.Encoder().encode


def record(
    tx: Tx,
    actor: Actor,
    type_: str,
    *,
    account_id: int | None = None,
    domain_id: int | None = None,
    user_id: str | None = None,
    data: dict[str, Any] | None = None,
) -> None:
    """Writes one event; `type_` is in the past tense, as `account.created`."""
    tx.run(
        INSERT,
        organization=actor.organization_id,
        type=type_,
        account_id=account_id,
        domain_id=domain_id,
        user_id=user_id,
        key_id=actor.key_id,
        request_id=actor.request_id,
        client_address=actor.client_address,
        data=_encode(data or {}).decode(),
        now=tx.now,
    )


def page_sql(filters: frozenset[str], newest: bool = False) -> str:
    """The statement of a page with these filters, oldest or newest first."""
    pieces = ACCOUNT_FILTERS if "account_id" in filters else FILTERS
    where = "".join(text for name, text in pieces.items() if name in filters)
    order = "AND id < :after ORDER BY id DESC" if newest else "AND id > :after ORDER BY id"
    return f"{COLUMNS}{where} {order} LIMIT :limit"


def page(tx: Tx, actor: Actor, *, after: int, limit: int, newest: bool = False, **filters: int | str) -> list[Event]:
    """Events after a cursor (0: from the start), oldest or newest first. A key that is bound to
    a user or to domains sees theirs alone."""
    if actor.restricted_key_id is not None:
        filters["bound"] = actor.restricted_key_id
    sql = page_sql(frozenset(filters), newest)
    after = after or (NO_END if newest else 0)
    rows = tx.all(sql, organization=actor.organization_id, after=after, limit=limit, **filters)
    return [Event(*(*row[:8], msgspec.json.decode(row[8]), row[9])) for row in rows]


def forget(tx: Tx, before: int) -> int:
    """Removes the oldest events from before this time (milliseconds), STEP of them at most. How
    many it were."""
    old = [id_ for id_, at in tx.all(OLDEST, limit=STEP) if at <= before]
    if old:
        tx.run(FORGET, first=old[0], last=old[-1], before=before)
    return len(old)
