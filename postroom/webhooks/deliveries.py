"""Deliveries as a user sees them: one row per event and webhook, and sending one again.

A delivery that arrived stays for DELIVERED_MS and one that failed for FAILED_MS. An event is not
removed while a delivery of it is pending (decision 0297).
"""

from typing import Literal

import msgspec

from postroom.actor import Actor
from postroom.db import Row, Tx
from postroom.errors import Refused, not_found
from postroom.webhooks import fan_out, lanes, webhooks

Status = Literal["pending", "delivered", "failed"]
STATUSES: tuple[Status, ...] = ("pending", "delivered", "failed")

DAY_MS = 24 * 3600 * 1000
DELIVERED_MS, FAILED_MS = 7 * DAY_MS, 30 * DAY_MS
# Largest number of rows that one transaction removes or sends again.
STEP = 500
NO_END = 2**62

COLUMNS = """
SELECT id, CASE source_kind WHEN 'event' THEN source_id END, type, CASE source_kind WHEN 'message' THEN (
    SELECT account_id || '/' || uidvalidity || '.' || uid FROM received_messages
    WHERE received_messages.id = source_id AND received_messages.organization_id = :organization) END,
  status, attempts, next_at, last_status_code, last_error, duration_ms, created_at
FROM webhook_deliveries WHERE organization_id = :organization AND webhook_id = :webhook_id AND id < :below"""
PAGE = f"{COLUMNS} ORDER BY id DESC LIMIT :limit"
PAGE_OF_STATUS = f"{COLUMNS} AND status = :status ORDER BY id DESC LIMIT :limit"
AGAIN = """
UPDATE webhook_deliveries SET status = 'pending', retry = 0, next_at = :now, ended_at = NULL
WHERE id = :id AND organization_id = :organization AND webhook_id = :webhook_id RETURNING id"""
FAILED_AGAIN = """
UPDATE webhook_deliveries SET status = 'pending', retry = 0, next_at = :now, ended_at = NULL
WHERE organization_id = :organization AND id IN (
  SELECT id FROM webhook_deliveries
  WHERE organization_id = :organization AND webhook_id = :webhook_id AND status = 'failed' ORDER BY id LIMIT :limit)
RETURNING id"""
EVENTS = """
SELECT id, organization_id, type, account_id, domain_id, user_id FROM events
WHERE organization_id = :organization AND id > :after ORDER BY id LIMIT :limit"""
EVENT_AGAIN = """
INSERT INTO webhook_deliveries (organization_id, webhook_id, source_kind, source_id, type, status, next_at, created_at)
VALUES (:organization, :webhook_id, 'event', :event_id, :type, 'pending', :now, :now)
ON CONFLICT (webhook_id, source_kind, source_id) DO UPDATE
SET status = 'pending', retry = 0, next_at = :now, ended_at = NULL WHERE webhook_deliveries.status <> 'pending'"""

FORGET = """
DELETE FROM webhook_deliveries WHERE id IN (
  SELECT id FROM webhook_deliveries WHERE status = :status AND ended_at <= :before ORDER BY ended_at LIMIT :limit)
RETURNING id"""
NEEDED = "SELECT MIN(source_id) FROM webhook_deliveries WHERE source_kind = 'event' AND status = 'pending'"
PENDING = """
SELECT COUNT(*) FROM webhook_deliveries WHERE source_kind IN ('event', 'message') AND status = 'pending'"""
# After a restore: what was pending may have arrived since the backup, and what waits in the events
# too.
END_ALL = """
UPDATE webhook_deliveries SET status = 'failed', next_at = NULL, ended_at = created_at,
  last_error = 'The backup was restored before the delivery arrived.'
WHERE status = 'pending'"""
SKIP_ALL = "UPDATE webhooks SET after_event_id = (SELECT COALESCE(MAX(id), 0) FROM events)"


class DeliveredMessage(msgspec.Struct, frozen=True):
    """A message in an account, with the id that it had when it arrived."""

    account_id: int
    id: str


class Delivery(msgspec.Struct, frozen=True):
    """A delivery of an event or of a message; the other one of `event_id` and `message` is None.
    Times are in milliseconds since 1970 UTC; `next_at` is None unless it is pending, `duration_ms`
    is that of the last attempt."""

    id: int
    event_id: int | None
    type: str
    message: DeliveredMessage | None
    status: Status
    attempts: int
    next_at: int | None
    last_status_code: int | None
    last_error: str | None
    duration_ms: int | None
    created_at: int


class Replayed(msgspec.Struct, frozen=True):
    """How many deliveries are sent again. `is_more`: the same call, with `after_event_id` if it is
    set, goes on."""

    count: int
    is_more: bool = False
    after_event_id: int | None = None


def page(
    tx: Tx, actor: Actor, webhook_id: int, user_id: str | None, *, status: Status | None, after: int, limit: int
) -> list[Delivery]:
    """Returns deliveries of a webhook that the actor sees, the newest first, after a cursor (0:
    from the newest). Raises not_found."""
    webhooks.get(tx, actor, webhook_id, user_id)
    named = {"organization": actor.organization_id, "webhook_id": webhook_id, "below": after or NO_END}
    if status is None:
        rows = tx.all(PAGE, **named, limit=limit)
    else:
        rows = tx.all(PAGE_OF_STATUS, **named, status=status, limit=limit)
    return [_from_row(row) for row in rows]


def replay(tx: Tx, actor: Actor, webhook_id: int, user_id: str | None, delivery_id: int) -> Replayed:
    """Sends one delivery again, as if its event had just happened. Raises not_found (the webhook or
    the delivery), `webhook_disabled`."""
    named = _active(tx, actor, webhook_id, user_id)
    if tx.one(AGAIN, id=delivery_id, **named, now=tx.now) is None:
        raise not_found()
    lanes.wake(tx, webhook_id)
    return Replayed(1)


def replay_failed(tx: Tx, actor: Actor, webhook_id: int, user_id: str | None) -> Replayed:
    """Sends the oldest deliveries again that have failed, at most STEP. Raises not_found,
    `webhook_disabled`."""
    count = len(tx.all(FAILED_AGAIN, **_active(tx, actor, webhook_id, user_id), now=tx.now, limit=STEP))
    lanes.wake(tx, webhook_id)
    return Replayed(count, count == STEP)


def replay_after(tx: Tx, actor: Actor, webhook_id: int, user_id: str | None, after_event_id: int) -> Replayed:
    """Sends the events again that the webhook wants, after this one, also those from before its
    creation; at most STEP events are looked at. Raises not_found, `webhook_disabled`."""
    named = _active(tx, actor, webhook_id, user_id)
    found = tx.all(EVENTS, organization=actor.organization_id, after=after_event_id, limit=STEP)
    target = fan_out.target(tx, actor.organization_id, webhook_id)
    wanted = [event for event in (fan_out.Wanted(*row) for row in found) if target.wants(event)]
    for event in wanted:
        tx.run(EVENT_AGAIN, **named, event_id=event.id, type=event.type, now=tx.now)
    lanes.wake(tx, webhook_id)
    is_more = len(found) == STEP
    return Replayed(len(wanted), is_more, found[-1][0] if is_more else None)


def forget(tx: Tx) -> int:
    """Removes old deliveries, at most STEP of each kind. Returns the largest number of a kind."""
    kept = {"delivered": DELIVERED_MS, "failed": FAILED_MS}
    removed = [tx.all(FORGET, status=status, before=tx.now - ms, limit=STEP) for status, ms in kept.items()]
    return max(map(len, removed))


def first_needed(tx: Tx) -> int:
    """Returns the lowest id of an event that a delivery still needs, or that has no deliveries
    yet."""
    row = tx.one(NEEDED)
    position = fan_out.position(tx)
    unread = NO_END if position.first is None else max(position.first, position.done) + 1
    return min(unread, row[0] if row and row[0] is not None else NO_END)


def pending(tx: Tx) -> int:
    """Returns the number of pending deliveries."""
    row = tx.one(PENDING)
    return int(row[0]) if row else 0


def _from_row(row: Row) -> Delivery:
    id_, event_id, type_, name, *rest = row
    account_id, _, message_id = (name or "").partition("/")
    return Delivery(id_, event_id, type_, DeliveredMessage(int(account_id), message_id) if name else None, *rest)


def _active(tx: Tx, actor: Actor, webhook_id: int, user_id: str | None) -> dict[str, int]:
    if webhooks.get(tx, actor, webhook_id, user_id).status != "active":
        raise Refused("webhook_disabled", "Nothing is sent to this webhook: PUT it with status active first.")
    return {"organization": actor.organization_id, "webhook_id": webhook_id}
