"""Passing messages: mail of a domain whose route keeps none (forward mode `webhook`).

A message waits in its mailbox until the webhook of the route has it; after KEPT_MS without that,
the message is erased. Once the webhook has the message, the hidden account of the domain holds it
for LINKED_MS, so that its links work, and then it is erased (decision 0313). Mail to an address
that nobody has is in the hidden account from the beginning.
"""

from typing import Literal

import msgspec

from postroom.db import Tx

DAY_MS = 24 * 3600 * 1000
KEPT_MS, LINKED_MS = 7 * DAY_MS, DAY_MS
# Largest number of rows that one transaction removes, and of those that a look for work returns.
STEP, MOST = 500, 50

State = Literal["waiting", "delivered", "held"]

# A hidden account keeps no mail in any mode.
ADD = """
INSERT INTO passing_messages (message_id, organization_id, webhook_id, account_id, hidden_id, state, due_at,
  uidvalidity, uid)
SELECT received_messages.id, received_messages.organization_id, webhooks.id, received_messages.account_id,
  hidden_accounts.account_id, 'waiting', :due_at, uidvalidity, uid
FROM received_messages
JOIN webhooks ON webhooks.id = :webhook_id
JOIN hidden_accounts ON hidden_accounts.domain_id = webhooks.domain_id AND hidden_accounts.ended_at IS NULL
WHERE received_messages.id = :received_id
  AND (webhooks.forward_mode = 'webhook' OR hidden_accounts.account_id = received_messages.account_id)
ON CONFLICT DO NOTHING"""
# Whether the message still has to go: it stays if the route has another mode by now, or if the
# domain is lost.
PASSES = """
(passing_messages.account_id = passing_messages.hidden_id OR EXISTS (
  SELECT 1 FROM webhooks JOIN domains ON domains.id = webhooks.domain_id
  WHERE webhooks.id = passing_messages.webhook_id AND webhooks.forward_mode = 'webhook'
    AND domains.status <> 'pending'))"""
# The message of a delivery that its webhook has just got.
GOT = """
WHERE organization_id = :organization AND webhook_id = :webhook_id AND state = 'waiting' AND message_id = (
  SELECT source_id FROM webhook_deliveries
  WHERE id = :delivery_id AND organization_id = :organization AND source_kind = 'message')"""
DELIVER = f"""
UPDATE passing_messages SET
  state = CASE WHEN account_id = hidden_id THEN 'held' ELSE 'delivered' END,
  due_at = CASE WHEN account_id = hidden_id THEN CAST(:ends_at AS BIGINT) ELSE CAST(:now AS BIGINT) END
{GOT} AND {PASSES}"""
# What the webhook got while the route kept mail stays, whatever the mode is later.
STAY = f"DELETE FROM passing_messages {GOT} AND NOT {PASSES}"
DUE = """
SELECT message_id FROM passing_messages
WHERE due_at <= :now
  AND NOT EXISTS (SELECT 1 FROM leases WHERE kind = 'passing' AND item = passing_messages.message_id AND free_at > :now)
ORDER BY due_at LIMIT :limit"""
IS_DUE = "SELECT 1 FROM passing_messages WHERE message_id = :received_id AND due_at <= :now"
GET = f"""
SELECT message_id, passing_messages.account_id, hidden_id, state, passing_messages.uidvalidity, passing_messages.uid,
  held_uidvalidity, held_uid, received_messages.trace, received_messages.received_at, {PASSES},
  accounts.deleted_at IS NOT NULL AND passing_messages.account_id <> hidden_id
FROM passing_messages
JOIN accounts ON accounts.id = passing_messages.account_id
LEFT JOIN received_messages ON received_messages.id = message_id
WHERE message_id = :received_id AND due_at <= :now"""
KEEP = """
UPDATE passing_messages SET uidvalidity = :uidvalidity, uid = :uid, held_uidvalidity = :held_uidvalidity,
  held_uid = :held_uid
WHERE message_id = :received_id AND state = 'delivered'"""
HOLD = """
UPDATE passing_messages SET state = 'held', due_at = :ends_at WHERE message_id = :received_id AND state = 'delivered'"""
FORGET = "DELETE FROM passing_messages WHERE message_id = :received_id"
# A link names the place of the delivery, or one to which the owner had moved the message.
HELD = """
SELECT hidden_id, held_uidvalidity, held_uid FROM passing_messages
WHERE organization_id = :organization AND account_id = :account_id AND uidvalidity = :uidvalidity AND uid = :uid
  AND held_uid IS NOT NULL
UNION ALL
SELECT hidden_id, held_uidvalidity, held_uid
FROM received_messages JOIN passing_messages ON passing_messages.message_id = received_messages.id
WHERE received_messages.organization_id = :organization AND received_messages.account_id = :account_id
  AND received_messages.uidvalidity = :uidvalidity AND received_messages.uid = :uid AND held_uid IS NOT NULL
LIMIT 1"""
CLAIMED = """
SELECT COALESCE(held_uid, uid) FROM passing_messages
WHERE hidden_id = :account_id AND COALESCE(held_uidvalidity, uidvalidity) = :uidvalidity
  AND (held_uid IS NOT NULL OR account_id = hidden_id)"""
# What a hidden account holds of another account is erased there.
HASTEN = """
UPDATE passing_messages SET state = 'held', due_at = :now
WHERE account_id = :account_id AND hidden_id <> :account_id AND held_uid IS NOT NULL
  AND (state <> 'held' OR due_at > :now)"""
ERASE = """
DELETE FROM passing_messages WHERE message_id IN (
  SELECT message_id FROM passing_messages WHERE account_id = :account_id AND state <> 'held' LIMIT :limit)
RETURNING message_id"""
ERASE_HIDDEN = """
DELETE FROM passing_messages WHERE message_id IN (
  SELECT message_id FROM passing_messages WHERE hidden_id = :account_id LIMIT :limit)
RETURNING message_id"""
# After a restore: what the webhook has not got can be sent again first, within the days of KEPT_MS.
KEEP_ALL = """
UPDATE passing_messages SET due_at = CAST(strftime('%s', 'now', '+7 days') AS INTEGER) * 1000 WHERE state = 'waiting'"""


class PassingMessage(msgspec.Struct, frozen=True):
    """A message that must leave the place where it is. `uidvalidity` and `uid` are its id in the
    links, `held_uidvalidity` and `held_uid` its place in the hidden account, or None. `trace` is
    None if nothing is known of the message any more. `received_at` is in milliseconds since 1970
    UTC. `passes`: the route still keeps no mail. `is_deleted`: the account is deleted, and its mail
    is out of reach until the account is restored or purged."""

    message_id: int
    account_id: int
    hidden_id: int
    state: State
    uidvalidity: int
    uid: int
    held_uidvalidity: int | None
    held_uid: int | None
    trace: str | None
    received_at: int | None
    passes: bool
    is_deleted: bool = False


class HeldMessage(msgspec.Struct, frozen=True):
    """Where a hidden account holds a message."""

    account_id: int
    uidvalidity: int
    uid: int


def add(tx: Tx, message_id: int, webhook_id: int) -> None:
    """Notes that a message which was received for the webhook of a route must leave its mailbox,
    unless the route keeps mail."""
    tx.run(ADD, received_id=message_id, webhook_id=webhook_id, due_at=tx.now + KEPT_MS)


def deliver(tx: Tx, organization_id: int, webhook_id: int, delivery_id: int) -> None:
    """Notes that the endpoint of a webhook has got the message of a delivery."""
    named = {"organization": organization_id, "webhook_id": webhook_id, "delivery_id": delivery_id}
    tx.run(DELIVER, **named, now=tx.now, ends_at=tx.now + LINKED_MS)
    tx.run(STAY, **named)


def due(tx: Tx) -> list[int]:
    """Returns messages that must leave the place where they are, at most MOST, and that no worker
    has leased."""
    return [row[0] for row in tx.all(DUE, now=tx.now, limit=MOST)]


def is_due(tx: Tx, message_id: int) -> bool:
    """Whether the message must leave now."""
    return tx.one(IS_DUE, received_id=message_id, now=tx.now) is not None


def get(tx: Tx, message_id: int) -> PassingMessage | None:
    """Returns a message that must leave now."""
    row = tx.one(GET, received_id=message_id, now=tx.now)
    return PassingMessage(*row) if row else None


def keep(tx: Tx, message: PassingMessage) -> None:
    """Writes down which id the message had last, and where the hidden account has its copy."""
    named = {name: getattr(message, name) for name in ("uidvalidity", "uid", "held_uidvalidity", "held_uid")}
    tx.run(KEEP, received_id=message.message_id, **named)


def hold(tx: Tx, message_id: int) -> None:
    """Writes down that only the hidden account has the message."""
    tx.run(HOLD, received_id=message_id, ends_at=tx.now + LINKED_MS)


def forget(tx: Tx, message_id: int) -> None:
    """Removes the row of a message that is gone, or that stays."""
    tx.run(FORGET, received_id=message_id)


def held(tx: Tx, organization_id: int, account_id: int, uidvalidity: int, uid: int) -> HeldMessage | None:
    """Returns where the message of a link is held; None if it is not."""
    named = {"account_id": account_id, "uidvalidity": uidvalidity, "uid": uid}
    row = tx.one(HELD, organization=organization_id, **named)
    return HeldMessage(*row) if row else None


def claimed(tx: Tx, hidden_id: int, uidvalidity: int) -> set[int]:
    """Returns the UIDs of the messages of a hidden account that still have to leave it."""
    return {row[0] for row in tx.all(CLAIMED, account_id=hidden_id, uidvalidity=uidvalidity)}


def erase(tx: Tx, account_id: int) -> int:
    """Removes what is known of the messages of an account whose mail is erased, at most STEP rows
    of each kind. Returns the largest number of a kind."""
    tx.run(HASTEN, account_id=account_id, now=tx.now)
    return max(len(tx.all(sql, account_id=account_id, limit=STEP)) for sql in (ERASE, ERASE_HIDDEN))
