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
    "account.renamed",
    "account.suspended",
    "account.disabled",
    "account.resumed",
    "account.forwarding_changed",
    "account.vacation_changed",
    "account.password_reset",
    "account.password_set",
    "account.setup_link_created",
    "account.scripts_disabled",
    "account.signed_out",
    "account.owner_signed_in",
    "account.sessions_pending",
    "account.sessions_ended",
    "account.deleted",
    "account.restored",
    "account.purged",
    "account.quota_warning",
    "account.over_quota",
    "account.under_quota",
    "account.send_limit_reached",
    "account.send_blocked",
    "account.login_attack_started",
    "account.login_attack_ended",
    "account.moved",
    "account.move_cancelled",
    "message.read",
    "message.sent",
    "message.updated",
    "message.deleted",
    "mail_token.created",
    "credential.created",
    "credential.deleted",
    "alias.created",
    "alias.updated",
    "alias.deleted",
    "alias.expired",
    "alias.orphaned",
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
    "domain.route_changed",
    "console.signed_in",
    "limits.changed",
    "key.created",
    "key.revoked",
    "webhook.created",
    "webhook.updated",
    "webhook.deleted",
    "webhook.disabled",
    "webhook.secret_rotated",
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
    "key_id": " AND key_id = :key_id",
    "type": " AND type = :type",
}
# These are compared row by row where another filter leaves less to read.
BESIDE = {"key_id": " AND +key_id = :key_id", "type": " AND COALESCE(type, '') = :type"}
BESIDE_USER = {**BESIDE, "domain_id": " AND +domain_id = :domain_id"}
# An account has few events; its domain and its user may have millions. These conditions make the
# database use the account's index.
ACCOUNT_FILTERS = {
    "account_id": " AND account_id = :account_id",
    "domain_id": " AND +domain_id = :domain_id",
    "bound": " AND +domain_id IN (SELECT domain_id FROM api_key_domains WHERE key_id = :bound)",
    "user_id": " AND COALESCE(user_id, '') = :user_id",
    **BESIDE,
}
# Ids increase with time, so bisecting the ids finds a time without an index of its own.
PROBE = """
SELECT id, created_at FROM events WHERE organization_id = :organization AND id >= :id ORDER BY id LIMIT 1"""

# Ids increase with time, so the oldest events come first in the primary key and need no other
# index. An event that a wrong clock dated in the future is kept until that date has passed.
OLDEST = "SELECT id, created_at FROM events WHERE id > 0 AND id < :below ORDER BY id LIMIT :limit"
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
    if "user_id" in filters:
        pieces = pieces | BESIDE_USER
    elif "domain_id" in filters:
        pieces = pieces | BESIDE
    elif "key_id" in filters:
        pieces = pieces | {"type": BESIDE["type"]}
    where = "".join(text for name, text in pieces.items() if name in filters)
    order = "ORDER BY id DESC" if newest else "ORDER BY id"
    return f"{COLUMNS}{where} AND id > :above AND id < :below {order} LIMIT :limit"


def page(
    tx: Tx,
    actor: Actor,
    *,
    after: int,
    limit: int,
    newest: bool = False,
    since: int | None = None,
    until: int | None = None,
    **filters: int | str,
) -> list[Event]:
    """Returns events after a cursor (0: from the start), oldest or newest first; with `since` from
    this time on, with `until` before that time (milliseconds since 1970 UTC). A key that is bound
    to a user or to domains sees only the events of that user or those domains."""
    if actor.restricted_key_id is not None:
        filters["bound"] = actor.restricted_key_id
    sql = page_sql(frozenset(filters), newest)
    above = 0 if since is None else _first(tx, actor, since) - 1
    below = NO_END if until is None else _first(tx, actor, until)
    if after and newest:
        below = min(below, after)
    elif after:
        above = max(above, after)
    rows = tx.all(sql, organization=actor.organization_id, above=above, below=below, limit=limit, **filters)
    return [Event(*(*row[:8], msgspec.json.decode(row[8]), row[9])) for row in rows]


def _first(tx: Tx, actor: Actor, time: int) -> int:
    """Returns the lowest id that an event of this time or later may have."""

    def earlier(id_: int) -> int | None:
        """The first event from this id on, if it is earlier than the time."""
        found = tx.one(PROBE, organization=actor.organization_id, id=id_)
        return found[0] if found and found[1] < time else None

    low, high = 1, 1
    while (found := earlier(high)) is not None:
        low, high = found + 1, 2 * (found + 1)
    while low < high:
        middle = (low + high) // 2
        if (found := earlier(middle)) is None:
            high = middle
        else:
            low = found + 1
    return low


def forget(tx: Tx, before: int, below: int = NO_END) -> int:
    """Removes the oldest events up to the time `before` (milliseconds since 1970 UTC), at most
    STEP of them, and none from the id `below` on. Returns the number of events that were old
    enough."""
    old = [id_ for id_, at in tx.all(OLDEST, below=below, limit=STEP) if at <= before]
    if old:
        tx.run(FORGET, first=old[0], last=old[-1], before=before)
    return len(old)
