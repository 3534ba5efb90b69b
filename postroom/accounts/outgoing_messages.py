"""Outgoing messages: those that the API hands to Postfix, each of them once (decision 0320).

The API announces a message here before it hands the message over. The milter takes an announced
message in the transaction that counts it, with its queue id, and refuses every other one. So a
second attempt finds out what became of the first, whatever was killed in between.
"""

import msgspec

from postroom.accounts import account_events
from postroom.accounts.model import Account
from postroom.accounts.sent_counts import NotSent
from postroom.actor import Actor
from postroom.cluster import nodes
from postroom.db import Tx
from postroom.idempotency import KEPT_MS, Attempt, reused

STEP = 500

# An attempt with the same Idempotency-Key finds the row of the first, until the key is forgotten.
ANNOUNCE = """
INSERT INTO outgoing_messages (account_id, message_id, key_id, name, request, node_id, announced_at)
VALUES (:account_id, :message_id, :key_id, :name, :request, :node_id, :now)
ON CONFLICT (key_id, name) DO UPDATE SET
  account_id = excluded.account_id, message_id = excluded.message_id, request = excluded.request,
  node_id = excluded.node_id, queue_id = NULL, announced_at = excluded.announced_at, told_at = NULL
WHERE outgoing_messages.announced_at <= :expired
RETURNING message_id"""
FIND_ATTEMPT = """
SELECT request, message_id, announced_at, queue_id FROM outgoing_messages
WHERE account_id = :account_id AND key_id = :key_id AND name = :name"""
WAS_TAKEN = """
SELECT 1 FROM outgoing_messages
WHERE account_id = :account_id AND key_id = :key_id AND name = :name AND request = :request AND queue_id IS NOT NULL"""
FIND = """
SELECT queue_id, EXISTS (
  SELECT 1 FROM sent_messages
  WHERE sent_messages.queue_id = outgoing_messages.queue_id AND sent_messages.node_id = outgoing_messages.node_id)
FROM outgoing_messages WHERE account_id = :account_id AND message_id = :message_id"""
TAKE = """
UPDATE outgoing_messages SET queue_id = :queue_id, node_id = :node_id
WHERE account_id = :account_id AND message_id = :message_id AND queue_id IS NULL RETURNING account_id"""
WITHDRAW = """
DELETE FROM outgoing_messages WHERE account_id = :account_id AND message_id = :message_id AND queue_id IS NULL"""
TELL = """
UPDATE outgoing_messages SET told_at = :now
WHERE account_id = :account_id AND message_id = :message_id AND told_at IS NULL RETURNING account_id"""
FORGET = """
DELETE FROM outgoing_messages WHERE announced_at <= (
  SELECT MAX(announced_at) FROM (
    SELECT announced_at FROM outgoing_messages WHERE announced_at <= :before
    ORDER BY announced_at LIMIT :limit) AS oldest) RETURNING account_id"""
ERASE = "DELETE FROM outgoing_messages WHERE account_id = :account_id"


class NotAnnounced(NotSent):
    """Nobody has announced this message, or it was taken before."""


class Announced(msgspec.Struct, frozen=True):
    """An announced message. `queue_id` is None until the milter has taken the message."""

    message_id: str
    announced_at: int
    queue_id: str | None = None


class Progress(msgspec.Struct, frozen=True):
    """How far a message is: its queue id once the milter has taken it, and whether it has a status,
    so that it was in the queue for certain."""

    queue_id: str | None
    has_status: bool


def announce(tx: Tx, account_id: int, message_id: str, tried: Attempt | None, node: str) -> Announced:
    """Announces a message, or returns what an earlier attempt with the same Idempotency-Key has
    announced. `node` is the name of this machine's node; empty: it is the only machine. Raises
    `idempotency_key_reused`."""
    key_id, name, request = (tried.key_id, tried.name, tried.request) if tried else (None, None, None)
    is_new = tx.one(
        ANNOUNCE,
        account_id=account_id,
        message_id=message_id,
        key_id=key_id,
        name=name,
        request=request,
        node_id=nodes.get(tx, node).id if node else 0,
        now=tx.now,
        expired=tx.now - KEPT_MS,
    )
    if is_new:
        return Announced(message_id, tx.now)
    row = tx.one(FIND_ATTEMPT, account_id=account_id, key_id=key_id, name=name)
    if row is None:  # another account's
        raise reused()
    if row[0] != request:
        raise reused()
    return Announced(*row[1:])


def was_taken(tx: Tx, account_id: int, tried: Attempt) -> bool:
    """Whether an earlier attempt of the same request has put its message into the queue."""
    named = {"key_id": tried.key_id, "name": tried.name, "request": tried.request}
    return tx.one(WAS_TAKEN, account_id=account_id, **named) is not None


def find(tx: Tx, account_id: int, message_id: str) -> Progress:
    """Returns how far a message is."""
    row = tx.one(FIND, account_id=account_id, message_id=message_id)
    return Progress(row[0], bool(row[1])) if row else Progress(None, False)


def take(tx: Tx, account_id: int, message_id: str, queue_id: str, node: str) -> None:
    """Takes an announced message, once: called by the milter, in the transaction that counts the
    message. `node` is the milter's, which may be another than that of the first attempt. Raises
    NotAnnounced."""
    values = {"account_id": account_id, "message_id": message_id, "queue_id": queue_id}
    if tx.one(TAKE, **values, node_id=nodes.get(tx, node).id if node else 0) is None:
        raise NotAnnounced("This message is not announced")


def withdraw(tx: Tx, account_id: int, message_id: str) -> None:
    """Forgets a message that Postfix has refused, unless the milter has taken it: then nobody can
    be certain."""
    tx.run(WITHDRAW, account_id=account_id, message_id=message_id)


def tell(tx: Tx, actor: Actor, account: Account, message_id: str, recipients: int) -> None:
    """Records the event of a message that is in the queue, once."""
    if tx.one(TELL, account_id=account.id, message_id=message_id, now=tx.now):
        account_events.record(tx, actor, "message.sent", account, rfc_message_id=message_id, recipients=recipients)


def forget(tx: Tx) -> int:
    """Deletes rows whose Idempotency-Key is forgotten, at most STEP. Returns the number of deleted
    rows."""
    return len(tx.all(FORGET, before=tx.now - KEPT_MS, limit=STEP))


def erase(tx: Tx, account_id: int) -> None:
    """Deletes the rows of an account."""
    tx.run(ERASE, account_id=account_id)
