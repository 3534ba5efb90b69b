"""The attempts of deliveries: which are due, what they send, and what becomes of them."""

import random

import msgspec

from postroom.db import Tx
from postroom.webhooks import bodies
from postroom.webhooks.lanes import Lane
from postroom.webhooks.sender import Attempt

# Seconds until the next attempt, after each one that failed.
RETRIES = (5, 60, 300, 1800, 2 * 3600, 6 * 3600, 12 * 3600, 24 * 3600, 24 * 3600)
# A retry comes up to this part later, so that what failed together is not tried together.
JITTER = 0.2
# Largest number of deliveries of one lease.
MOST = 64
# Largest number of rows that one transaction changes because nothing is sent any more.
STEP = 500
UNSENT = "The webhook was disabled."
PRUNED = "The event was removed, because it was too old."

EVENTS = """
SELECT webhook_deliveries.id, webhook_deliveries.source_kind, webhook_deliveries.source_id, webhook_deliveries.attempts,
  webhook_deliveries.retry, webhook_deliveries.next_at, events.id, events.type, events.account_id, events.domain_id,
  (SELECT name FROM domains WHERE domains.id = events.domain_id), events.user_id, events.request_id, events.data,
  events.created_at
FROM webhook_deliveries LEFT JOIN events
  ON events.id = webhook_deliveries.source_id AND events.organization_id = webhook_deliveries.organization_id
WHERE webhook_deliveries.organization_id = :organization AND webhook_deliveries.webhook_id = :webhook_id
  AND webhook_deliveries.status = 'pending'"""
DUE = f"{EVENTS} AND next_at <= :now ORDER BY next_at LIMIT :limit"
OLDEST = f"{EVENTS} ORDER BY webhook_deliveries.id LIMIT :limit"
RECORD = """
UPDATE webhook_deliveries SET status = :status, attempts = attempts + :made, retry = :retry, next_at = :next_at,
  last_status_code = :status_code, last_error = :error, duration_ms = :duration_ms, ended_at = :ended_at
WHERE id = :id AND organization_id = :organization AND status = 'pending'"""
STILL = "SELECT 1 FROM webhooks WHERE id = :id AND organization_id = :organization AND url = :url AND status = 'active'"
DROP = """
UPDATE webhook_deliveries SET status = 'failed', next_at = NULL, last_error = :error, ended_at = :now
WHERE id IN (
  SELECT id FROM webhook_deliveries WHERE webhook_id = :webhook_id AND status = 'pending' ORDER BY id LIMIT :limit)
RETURNING id"""
ERASE = """
DELETE FROM webhook_deliveries WHERE id IN (
  SELECT id FROM webhook_deliveries WHERE webhook_id = :webhook_id ORDER BY id LIMIT :limit) RETURNING id"""


class Due(msgspec.Struct, frozen=True):
    """A delivery that is to be sent now. `body` is None if its source is gone."""

    id: int
    message_id: str
    retry: int
    next_at: int
    body: bytes | None


def due(tx: Tx, lane: Lane) -> list[Due]:
    """Returns what to send in this lease: of a failing endpoint the oldest delivery, of any other
    those that are due."""
    named = {"organization": lane.organization_id, "webhook_id": lane.webhook_id}
    oldest = tx.all(OLDEST, **named, limit=1) if lane.is_probing else None
    rows = tx.all(DUE, **named, now=tx.now, limit=MOST) if oldest is None else oldest
    return [
        Due(
            row[0],
            bodies.message_id(row[1], row[2]),
            row[4],
            row[5],
            None if row[6] is None else bodies.of_event(row[6:]),
        )
        for row in rows
    ]


def record(tx: Tx, lane: Lane, one: Due, attempt: Attempt) -> bool:
    """Writes down what became of an attempt, and when the next one is due. A probe of a delivery
    that was not due takes no retry away. Returns whether the webhook still is as the lease found
    it, so that no more is sent to one that was disabled or has another URL."""
    is_done, was_due = attempt.error is None, one.next_at <= tx.now
    retry = one.retry + int(not is_done and was_due)
    is_over = is_done or retry > len(RETRIES)
    later = tx.now + _wait(min(retry, len(RETRIES))) if was_due else one.next_at
    tx.run(
        RECORD,
        made=1,
        id=one.id,
        organization=lane.organization_id,
        status="delivered" if is_done else "failed" if is_over else "pending",
        retry=retry,
        next_at=None if is_over else later,
        status_code=attempt.status_code,
        error=attempt.error,
        duration_ms=attempt.duration_ms,
        ended_at=tx.now if is_over else None,
    )
    return tx.one(STILL, id=lane.webhook_id, organization=lane.organization_id, url=lane.url) is not None


def skip(tx: Tx, lane: Lane, one: Due) -> None:
    """Ends a delivery whose source is gone."""
    tx.run(
        RECORD,
        made=0,
        id=one.id,
        organization=lane.organization_id,
        status="failed",
        retry=one.retry,
        next_at=None,
        status_code=None,
        error=PRUNED,
        duration_ms=None,
        ended_at=tx.now,
    )


def drop(tx: Tx, webhook_id: int) -> int:
    """Ends pending deliveries of a webhook that is disabled, at most STEP. Returns their number."""
    return len(tx.all(DROP, webhook_id=webhook_id, error=UNSENT, now=tx.now, limit=STEP))


def erase(tx: Tx, webhook_id: int) -> int:
    """Removes deliveries of a webhook that is deleted, at most STEP. Returns their number."""
    return len(tx.all(ERASE, webhook_id=webhook_id, limit=STEP))


def _wait(retry: int) -> int:
    """Milliseconds until this retry."""
    return round(RETRIES[retry - 1] * 1000 * (1 + random.random() * JITTER))  # noqa: S311
