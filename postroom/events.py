"""Events: the audit log and the outbox. An event is written in the same transaction as the change
that it describes.

`data` never holds a secret, and this module never sends anything.
"""

from typing import Any

import msgspec

from postroom.actor import Actor
from postroom.db import Tx

# Every type of event. tests/test_docs.py compares it with what the code records.
TYPES = (
    "account.created",
    "account.updated",
    "account.suspended",
    "account.disabled",
    "account.resumed",
    "account.password_reset",
    "account.scripts_disabled",
    "account.signed_out",
    "account.sessions_pending",
    "account.sessions_ended",
    "account.deleted",
    "account.restored",
    "account.purged",
    "account.moved",
    "account.move_cancelled",
    "domain.created",
    "domain.deleted",
    "domain.consented",
    "domain.activated",
    "domain.suspended",
    "domain.deactivated",
    "domain.lost",
    "domain.degraded",
    "domain.recovered",
    "domain.expired",
    "domain.dkim_rotated",
    "domain.dkim_switched",
    "console.signed_in",
    "limits.changed",
    "key.created",
    "key.revoked",
)


class EventFacts(msgspec.Struct, frozen=True):
    """An event without its time."""

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
    """An event. `created_at` is in milliseconds since 1970 UTC."""

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
# An account has few events; its domain and its user may have millions. These conditions make the
# database use the account's index.
ACCOUNT_FILTERS = {
    "account_id": " AND account_id = :account_id",
    "domain_id": " AND +domain_id = :domain_id",
    "bound": " AND +domain_id IN (SELECT domain_id FROM api_key_domains WHERE key_id = :bound)",
    "user_id": " AND COALESCE(user_id, '') = :user_id",
}

# Ids increase with time, so the oldest events come first in the primary key and need no other
# index. An event that a wrong clock dated in the future is kept until that date has passed.
OLDEST = "SELECT id, created_at FROM events WHERE id > 0 ORDER BY id LIMIT :limit"
FORGET = "DELETE FROM events WHERE id >= :first AND id <= :last AND created_at <= :before"

# Largest number of events that one transaction removes.
STEP = 500
# Larger than every id.
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
    """Writes one event; `type_` is in the past tense, like `account.created`."""
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
    """Returns the SQL for a page with these filters, oldest or newest event first."""
    pieces = ACCOUNT_FILTERS if "account_id" in filters else FILTERS
    where = "".join(text for name, text in pieces.items() if name in filters)
    order = "AND id < :after ORDER BY id DESC" if newest else "AND id > :after ORDER BY id"
    return f"{COLUMNS}{where} {order} LIMIT :limit"


def page(tx: Tx, actor: Actor, *, after: int, limit: int, newest: bool = False, **filters: int | str) -> list[Event]:
    """Returns events after a cursor (0: from the start), oldest or newest first. A key that is
    bound to a user or to domains sees only the events of that user or those domains."""
    if actor.restricted_key_id is not None:
        filters["bound"] = actor.restricted_key_id
    sql = page_sql(frozenset(filters), newest)
    after = after or (NO_END if newest else 0)
    rows = tx.all(sql, organization=actor.organization_id, after=after, limit=limit, **filters)
    return [Event(*(*row[:8], msgspec.json.decode(row[8]), row[9])) for row in rows]


def forget(tx: Tx, before: int) -> int:
    """Removes the oldest events up to the time `before` (milliseconds since 1970 UTC), at most
    STEP of them. Returns the number of events that were old enough."""
    old = [id_ for id_, at in tx.all(OLDEST, limit=STEP) if at <= before]
    if old:
        tx.run(FORGET, first=old[0], last=old[-1], before=before)
    return len(old)
