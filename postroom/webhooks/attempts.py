"""The attempts of deliveries: which are due, what they send, and what becomes of them."""

import random
from typing import Any

import msgspec

from postroom.db import Row, Tx
from postroom.webhooks import bodies, passing_messages
from postroom.webhooks.lanes import Lane
from postroom.webhooks.passing_messages import HeldMessage
from postroom.webhooks.received_messages import HAS_MAIL
from postroom.webhooks.sender import Attempt

# Seconds until the next attempt, after each one that failed.
RETRIES = (5, 60, 300, 1800, 2 * 3600, 6 * 3600, 12 * 3600, 24 * 3600, 24 * 3600)
# A retry comes up to this part later, so that what failed together is not tried together.
JITTER = 0.2
# Largest number of deliveries of one lease, and of those from which a probe takes the first whose
# message can be read.
MOST, PROBES = 64, 16
# Largest number of rows that one transaction changes because nothing is sent any more.
STEP = 500
UNSENT = "The webhook was disabled."
GONE = {
    "event": "The event was removed, because it was too old.",
    "message": "The message is no longer in the mailbox.",
}
UNREAD = "The mailbox does not answer."
# Milliseconds until a delivery is tried again whose mailbox does not answer: a part of its age,
# within these limits, and up to twice that, so that what was not read together is not read together
# again.
UNREAD_MS, UNREAD_MOST_MS, UNREAD_PART = 30_000, 300_000, 0.1

EVENTS = f"""
SELECT webhook_deliveries.id, webhook_deliveries.source_kind, webhook_deliveries.source_id, webhook_deliveries.attempts,
  webhook_deliveries.retry, webhook_deliveries.next_at, webhook_deliveries.created_at,
  events.id, events.type, events.account_id, events.domain_id,
  (SELECT name FROM domains WHERE domains.id = events.domain_id), events.user_id, events.request_id, events.data,
  events.created_at, accounts.id, received_messages.uidvalidity, received_messages.uid, received_messages.trace,
  received_messages.received_at, accounts.address, accounts.user_id,
  COALESCE((SELECT node_id FROM account_homes WHERE account_homes.account_id = accounts.id), 0),
  accounts.deleted_at, passing_messages.uidvalidity, passing_messages.uid, passing_messages.hidden_id,
  passing_messages.held_uidvalidity, passing_messages.held_uid
FROM webhook_deliveries
LEFT JOIN events ON webhook_deliveries.source_kind = 'event'
  AND events.id = webhook_deliveries.source_id AND events.organization_id = webhook_deliveries.organization_id
LEFT JOIN received_messages ON webhook_deliveries.source_kind = 'message'
  AND received_messages.id = webhook_deliveries.source_id
  AND received_messages.organization_id = webhook_deliveries.organization_id
LEFT JOIN accounts ON accounts.id = received_messages.account_id AND {HAS_MAIL}
LEFT JOIN passing_messages ON passing_messages.message_id = received_messages.id
  AND passing_messages.organization_id = webhook_deliveries.organization_id AND held_uid IS NOT NULL
WHERE webhook_deliveries.organization_id = :organization AND webhook_deliveries.webhook_id = :webhook_id
  AND webhook_deliveries.status = 'pending'"""
DUE = f"{EVENTS} AND next_at <= :now ORDER BY next_at LIMIT :limit"
# A probe takes what could not be read last only if there is nothing else.
PROBE = f"""
{EVENTS} AND COALESCE(last_error, '') <> '{UNREAD}' ORDER BY webhook_deliveries.id LIMIT :limit"""
NEXT = f"{EVENTS} ORDER BY next_at LIMIT :limit"
RECORD = """
UPDATE webhook_deliveries SET status = :status, attempts = attempts + 1, retry = :retry, next_at = :next_at,
  last_status_code = :status_code, last_error = :error, duration_ms = :duration_ms, ended_at = :ended_at
WHERE id = :id AND organization_id = :organization AND status = 'pending'"""
END = """
UPDATE webhook_deliveries SET status = 'failed', next_at = NULL, last_status_code = NULL, last_error = :error,
  duration_ms = NULL, ended_at = :now
WHERE id = :id AND organization_id = :organization AND status = 'pending'"""
# The hidden account may have got the message since the worker looked for it.
IS_HELD = """
SELECT 1 FROM passing_messages
WHERE organization_id = :organization AND held_uid IS NOT NULL AND message_id = (
  SELECT source_id FROM webhook_deliveries
  WHERE id = :id AND organization_id = :organization AND source_kind = 'message')"""
POSTPONE = """
UPDATE webhook_deliveries SET next_at = :next_at, last_error = :error
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


class Message(msgspec.Struct, frozen=True):
    """A received message, and the account that got it. `received_at` is in milliseconds since 1970
    UTC; `node_id` is the node with the mailbox, 0 in an installation of one machine. If a hidden
    account holds the message, `held` says where, and `uidvalidity` and `uid` are its id in the
    links. `is_hidden`: a hidden account got the message."""

    account_id: int
    uidvalidity: int
    uid: int
    trace: str
    received_at: int
    address: str
    user_id: str
    node_id: int
    is_hidden: bool = False
    held: HeldMessage | None = None


class Due(msgspec.Struct, frozen=True):
    """A delivery that is to be sent now. `source` is the body of an event, or a message, which must
    be read; None if there is neither any more."""

    id: int
    message_id: str
    retry: int
    next_at: int
    created_at: int
    source: bytes | Message | None
    kind: str


def due(tx: Tx, lane: Lane) -> list[Due]:
    """Returns what this lease sends: to a failing endpoint the first of a few deliveries that can
    be read, to any other those that are due."""
    named = {"organization": lane.organization_id, "webhook_id": lane.webhook_id}
    if lane.is_probing:
        rows = tx.all(PROBE, **named, limit=PROBES) or tx.all(NEXT, **named, limit=PROBES)
    else:
        rows = tx.all(DUE, **named, now=tx.now, limit=MOST)
    return [
        Due(id_, bodies.message_id(kind, source), retry, next_at, created_at, _source(row), kind)
        for row in rows
        for id_, kind, source, _attempts, retry, next_at, created_at in [row[:7]]
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
    if is_done and one.kind == "message":
        passing_messages.deliver(tx, lane.organization_id, lane.webhook_id, one.id)
    return tx.one(STILL, id=lane.webhook_id, organization=lane.organization_id, url=lane.url) is not None


def skip(tx: Tx, lane: Lane, one: Due) -> None:
    """Ends a delivery whose source is gone."""
    whose = {"id": one.id, "organization": lane.organization_id}
    if isinstance(one.source, Message) and one.source.held is None and tx.one(IS_HELD, **whose):
        tx.run(POSTPONE, **whose, next_at=tx.now, error=None)
        return
    tx.run(END, **whose, error=GONE[one.kind], now=tx.now)


def postpone(tx: Tx, lane: Lane, one: Due) -> None:
    """Puts off a delivery whose mailbox does not answer now. That is not the endpoint's failure."""
    pause = min(max(UNREAD_MS, round((tx.now - one.created_at) * UNREAD_PART)), UNREAD_MOST_MS)
    next_at = max(one.next_at, tx.now + round(pause * (1 + random.random())))  # noqa: S311
    tx.run(POSTPONE, id=one.id, organization=lane.organization_id, next_at=next_at, error=UNREAD)


def drop(tx: Tx, webhook_id: int) -> int:
    """Ends pending deliveries of a webhook that is disabled, at most STEP. Returns their number."""
    return len(tx.all(DROP, webhook_id=webhook_id, error=UNSENT, now=tx.now, limit=STEP))


def erase(tx: Tx, webhook_id: int) -> int:
    """Removes deliveries of a webhook that is deleted, at most STEP. Returns their number."""
    return len(tx.all(ERASE, webhook_id=webhook_id, limit=STEP))


def _source(row: Row) -> bytes | Message | None:
    event, message = row[7:16], row[16:]
    if event[0] is not None:
        return bodies.of_event(event)
    return None if message[0] is None else _message(*message)


def _message(*row: Any) -> Message:
    *known, deleted_at, uidvalidity, uid, hidden_id, held_uidvalidity, held_uid = row
    changed: dict[str, Any] = {"is_hidden": deleted_at is not None}
    if held_uid is not None:
        changed |= {"uidvalidity": uidvalidity, "uid": uid}
        changed["held"] = HeldMessage(hidden_id, held_uidvalidity, held_uid)
    return msgspec.structs.replace(Message(*known), **changed)


def _wait(retry: int) -> int:
    """Milliseconds until this retry."""
    return round(RETRIES[retry - 1] * 1000 * (1 + random.random() * JITTER))  # noqa: S311
