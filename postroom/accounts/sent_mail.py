"""Sent mail: what became of the messages that an account has submitted, by recipient.

Postfix's log tells of it (mailplane/postfix/deliveries.py), perhaps twice and in another order: a
status moves only forward, so the same lines always lead to the same rows (decision 0275). The rows
are neither events nor part of them: the addresses of correspondents are in these tables alone.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Literal

import msgspec

from postroom.accounts import commands as accounts
from postroom.accounts import sent_days
from postroom.actor import Actor
from postroom.db import Tx

SentStatus = Literal["delivered", "delayed", "bounced"]
STATUSES: tuple[SentStatus, ...] = ("delivered", "delayed", "bounced")
# How far a status is. A message to an alias of several mailboxes is delivered once one of them has
# taken it, and bounced if one has refused it.
RANKS = {"delayed": 0, "delivered": 1, "bounced": 2}
KEPT_MS = 7 * 24 * 3600 * 1000
# Milliseconds between two updates of a row that stays delayed.
AGAIN_MS = 600_000
# Largest difference of two nodes' clocks.
SKEW_MS = 60_000
# Largest number of rows of a table that one transaction deletes.
STEP = 500
LONGEST_REASON = 500
LONGEST_MESSAGE_ID = 500
EXPIRED_CODE = "5.4.7"  # RFC 3463, 3.5: delivery time expired
# Larger than every id.
NO_END = 2**62

# Nothing is recorded of an account whose purge has begun, nor of one that is younger than the
# message: after a restore, the log may be of an account that had the same id.
PUT_MESSAGE = """
INSERT INTO sent_messages (account_id, node_id, queue_id, message_id, sent_at, told_at)
SELECT id, CAST(:node_id AS BIGINT), CAST(:queue_id AS TEXT), CAST(:message_id AS TEXT), CAST(:sent_at AS BIGINT),
  CAST(:told_at AS BIGINT)
FROM accounts WHERE id = :account_id AND created_at <= :latest AND purged_at IS NULL
ON CONFLICT (queue_id, node_id) DO UPDATE
SET told_at = CASE WHEN excluded.told_at > sent_messages.told_at THEN excluded.told_at ELSE sent_messages.told_at END
RETURNING id, account_id"""
FIND_MESSAGE = "SELECT id, account_id FROM sent_messages WHERE queue_id = :queue_id AND node_id = :node_id"
TELL = "UPDATE sent_messages SET told_at = :told_at WHERE id = :id AND told_at < :told_at"
END_DELAY = """
DELETE FROM sent_recipients WHERE sent_message_id = :id AND recipient = :recipient AND status = 'delayed'
RETURNING status"""
END_DELIVERY = """
DELETE FROM sent_recipients WHERE sent_message_id = :id AND recipient = :recipient
  AND status IN ('delayed', 'delivered') RETURNING status"""
PUT = """
INSERT INTO sent_recipients (sent_message_id, account_id, recipient, status, smtp_code, enhanced_code, reason, told_at)
VALUES (:id, :account_id, :recipient, :status, :smtp_code, :enhanced_code, :reason, :told_at)
ON CONFLICT (sent_message_id, recipient) DO NOTHING RETURNING status"""
DELAY_AGAIN = """
UPDATE sent_recipients SET smtp_code = :smtp_code, enhanced_code = :enhanced_code, reason = :reason, told_at = :told_at
WHERE sent_message_id = :id AND recipient = :recipient AND status = 'delayed' AND told_at <= :told_at - :again"""
DELAYED = "SELECT recipient FROM sent_recipients WHERE sent_message_id = :id AND status = 'delayed'"
LAST_DELAY = """
SELECT smtp_code, reason FROM sent_recipients
WHERE sent_message_id = :id AND recipient = :recipient AND status = 'delayed'"""
HAND_OVER = """
INSERT INTO sent_handovers (queue_id, target_id, sent_message_id, recipient, account_id, told_at)
VALUES (:queue_id, :target_id, :id, :recipient, :account_id, :told_at) ON CONFLICT DO NOTHING"""
PASSED = """
SELECT sent_message_id, account_id, recipient FROM sent_handovers
WHERE queue_id = :queue_id AND target_id = :target_id"""
PASSED_MESSAGE = "SELECT sent_message_id, account_id, recipient FROM sent_handovers WHERE queue_id = :queue_id"
KNOWN = """
SELECT sent_recipients.recipient, sent_recipients.status FROM sent_messages
JOIN sent_recipients ON sent_recipients.sent_message_id = sent_messages.id
WHERE sent_messages.queue_id = :queue_id AND sent_messages.node_id = :node_id"""

FIELDS = """sent_recipients.id, sent_messages.message_id, sent_recipients.recipient, sent_recipients.status,
  sent_recipients.smtp_code, sent_recipients.enhanced_code, sent_recipients.reason, sent_messages.sent_at,
  sent_recipients.told_at
FROM sent_recipients JOIN sent_messages ON sent_messages.id = sent_recipients.sent_message_id"""
PAGE = f"""
SELECT {FIELDS}
WHERE sent_recipients.account_id = :account_id AND sent_recipients.id < :below
ORDER BY sent_recipients.id DESC LIMIT :limit"""
PAGE_OF_MESSAGE = f"""
SELECT {FIELDS}
WHERE sent_recipients.sent_message_id IN (
  SELECT id FROM sent_messages WHERE account_id = :account_id AND message_id = :message_id)
  AND sent_recipients.id < :below
ORDER BY sent_recipients.id DESC LIMIT :limit"""

FORGET_RECIPIENTS = """
DELETE FROM sent_recipients WHERE id IN (
  SELECT id FROM sent_recipients WHERE told_at <= :before ORDER BY told_at LIMIT :limit) RETURNING id"""
FORGET_MESSAGES = """
DELETE FROM sent_messages WHERE id IN (
  SELECT id FROM sent_messages WHERE told_at <= :before AND NOT EXISTS (
    SELECT 1 FROM sent_recipients WHERE sent_recipients.sent_message_id = sent_messages.id)
  ORDER BY told_at LIMIT :limit) RETURNING id"""
FORGET_HANDOVERS = """
DELETE FROM sent_handovers WHERE queue_id IN (
  SELECT queue_id FROM sent_handovers WHERE told_at <= :before ORDER BY told_at LIMIT :limit)
  AND told_at <= :before RETURNING target_id"""
ERASE_RECIPIENTS = """
DELETE FROM sent_recipients WHERE id IN (
  SELECT id FROM sent_recipients WHERE account_id = :account_id ORDER BY id LIMIT :limit) RETURNING id"""
ERASE_MESSAGES = """
DELETE FROM sent_messages WHERE id IN (
  SELECT id FROM sent_messages WHERE account_id = :account_id AND NOT EXISTS (
    SELECT 1 FROM sent_recipients WHERE sent_recipients.sent_message_id = sent_messages.id)
  LIMIT :limit) RETURNING id"""
ERASE_HANDOVERS = "DELETE FROM sent_handovers WHERE account_id = :account_id"


class Told(msgspec.Struct, frozen=True):
    """What the log tells of one attempt, as mailplane/postfix/deliveries.py reads it. `expired`
    is about all recipients that are delayed, and `passed` about a mailbox on another node."""

    queue_id: str
    recipient: str | None
    target_id: int | None
    status: str
    smtp_code: int | None
    enhanced_code: str
    reason: str | None
    at: int
    passed_as: str = ""


class Sender(msgspec.Struct, frozen=True):
    """The account that submitted a message, the message's own id, and when it was submitted."""

    account_id: int
    message_id: str
    sent_at: int


class SentRecipient(msgspec.Struct, frozen=True):
    """One recipient of a sent message. Times are in milliseconds since 1970 UTC."""

    id: int
    message_id: str
    recipient: str
    status: SentStatus
    smtp_code: int | None
    enhanced_code: str
    reason: str | None
    sent_at: int
    status_at: int


class _Place(msgspec.Struct, frozen=True):
    """A recipient's row: its message and account."""

    id: int
    account_id: int
    recipient: str


def message_id_of(text: str) -> str:
    """Returns a Message-ID as it is stored: with its angle brackets, and cut as in the log."""
    text = text.strip()
    return (text if text.startswith("<") else f"<{text}>")[:LONGEST_MESSAGE_ID]


def page(
    tx: Tx, actor: Actor, id_: int, user_id: str | None, *, message_id: str | None, after: int, limit: int
) -> list[SentRecipient]:
    """Returns recipients of the account's messages, the last change first, of all messages or of
    those with this id. `after`: only those before this row; 0: from the start. Raises
    not_found."""
    account = accounts.get(tx, actor, id_, user_id)
    cut = {"account_id": account.id, "below": after or NO_END, "limit": limit}
    rows = tx.all(PAGE, **cut) if message_id is None else tx.all(PAGE_OF_MESSAGE, message_id=message_id, **cut)
    return [SentRecipient(*row) for row in rows]


def record(tx: Tx, node_id: int, told: Iterable[Told], senders: Mapping[str, Sender]) -> list[Told]:
    """Records what this node's log tells. Returns what is about a mailbox here and a message that
    no node has passed on yet; what belongs to no submitted message is dropped."""
    found: dict[str, tuple[int, int] | None] = {}
    early = []
    changes: Counter[tuple[int, str]] = Counter()
    for one in told:
        if one.at <= tx.now - KEPT_MS:
            continue
        if one.queue_id not in found:
            found[one.queue_id] = _message(tx, node_id, one, senders.get(one.queue_id))
        places = _places(tx, one, found[one.queue_id])
        for place in places:
            _tell(tx, one, place, changes)
        if not places and found[one.queue_id] is None and one.target_id is not None and one.recipient is None:
            early.append(one)
    sent_days.count(tx, changes)
    return early


def _message(tx: Tx, node_id: int, told: Told, sender: Sender | None) -> tuple[int, int] | None:
    """Returns the id and the account of the message, or None if nobody here has submitted it."""
    if sender is None:
        row = tx.one(FIND_MESSAGE, queue_id=told.queue_id, node_id=node_id)
    else:
        row = tx.one(
            PUT_MESSAGE,
            account_id=sender.account_id,
            node_id=node_id,
            queue_id=told.queue_id,
            message_id=sender.message_id,
            sent_at=min(sender.sent_at, tx.now),
            latest=sender.sent_at + SKEW_MS,
            told_at=min(told.at, tx.now),
        )
    return (int(row[0]), int(row[1])) if row else None


def _places(tx: Tx, told: Told, message: tuple[int, int] | None) -> list[_Place]:
    """Returns the recipients that an attempt is about."""
    if message is not None:
        if told.status == "expired":
            return [_Place(*message, row[0]) for row in tx.all(DELAYED, id=message[0])]
        return [] if told.recipient is None else [_Place(*message, told.recipient)]
    if told.status == "expired":
        return [_Place(*row) for row in tx.all(PASSED_MESSAGE, queue_id=told.queue_id)]
    if told.target_id is None or told.recipient is not None:
        return []
    return [_Place(*row) for row in tx.all(PASSED, queue_id=told.queue_id, target_id=told.target_id)]


def _tell(tx: Tx, told: Told, place: _Place, changes: Counter[tuple[int, str]]) -> None:
    """Records an attempt, and adds to `changes` how many recipients of the message have which
    status more."""
    told_at = min(told.at, tx.now)
    if told.status == "passed":
        of_place = msgspec.structs.asdict(place)
        tx.run(HAND_OVER, queue_id=told.passed_as, target_id=told.target_id, told_at=told_at, **of_place)
        return
    status, code, enhanced_code, reason = told.status, told.smtp_code, told.enhanced_code, told.reason
    if status == "expired":
        if not (row := tx.one(LAST_DELAY, id=place.id, recipient=place.recipient)):
            return
        status, code, enhanced_code, told_at = "bounced", row[0], EXPIRED_CODE, tx.now
        reason = f"too long in the queue: {row[1]}"[:LONGEST_REASON]
    values = {"smtp_code": code, "enhanced_code": enhanced_code, "reason": reason, "told_at": told_at}
    ended, begun = _put(tx, place, status, values)
    changes.subtract((place.id, old) for old in ended)
    changes.update((place.id, new) for new in begun)
    tx.run(TELL, id=place.id, told_at=told_at)


def _put(tx: Tx, place: _Place, status: str, values: dict[str, int | str | None]) -> tuple[list[str], list[str]]:
    """Puts a recipient's new status in the place of one that is less far. Returns the status that
    ended, if any, and the one that began, if any."""
    ended = []
    if status != "delayed":
        sql = END_DELAY if status == "delivered" else END_DELIVERY
        ended = [row[0] for row in tx.all(sql, id=place.id, recipient=place.recipient)]
    begun = [row[0] for row in tx.all(PUT, status=status, **values, **msgspec.structs.asdict(place))]
    if status == "delayed" and not begun:
        tx.run(DELAY_AGAIN, id=place.id, recipient=place.recipient, again=AGAIN_MS, **values)
    return ended, begun


def news(tx: Tx, node_id: int, told: Iterable[Told]) -> list[Told]:
    """Returns what is not recorded yet: a starting worker reads old lines again."""
    known: dict[str, dict[str, str]] = {}
    found = []
    for one in told:
        if one.queue_id not in known:
            known[one.queue_id] = dict(tx.all(KNOWN, queue_id=one.queue_id, node_id=node_id))
        before = known[one.queue_id].get(one.recipient or "")
        if before is None or RANKS.get(one.status, 3) > RANKS[before]:
            found.append(one)
    return found


def forget(tx: Tx) -> int:
    """Deletes rows that are older than KEPT_MS, at most STEP of each table. Returns the largest
    number of deleted rows."""
    return _delete(tx, (FORGET_RECIPIENTS, FORGET_MESSAGES, FORGET_HANDOVERS), before=tx.now - KEPT_MS)


def erase(tx: Tx, account_id: int) -> int:
    """Deletes the rows of an account whose purge has begun, at most STEP of each table. Returns the
    largest number of deleted rows."""
    tx.run(ERASE_HANDOVERS, account_id=account_id)
    return _delete(tx, (ERASE_RECIPIENTS, ERASE_MESSAGES), account_id=account_id)


def _delete(tx: Tx, statements: tuple[str, ...], **which: int) -> int:
    return max(len(tx.all(sql, limit=STEP, **which)) for sql in statements)
