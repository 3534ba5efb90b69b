"""Received messages: which webhooks get the mail of an account, which messages were delivered, and
up to where the folders of an account were looked at.

A worker looks at the mailbox (service/arrivals.py). A delivery is known by its trace, which all
copies of the message share, so a message that its owner moves is not sent again. The message itself
is in the mailbox only, and is read when it is sent (decisions 0310, 0311).
"""

from collections.abc import Sequence

import msgspec

from postroom.db import Tx
from postroom.webhooks import lanes, passing_messages

RECEIVED = "message.received"
DAY_MS = 24 * 3600 * 1000
# A message that was delivered longer ago counts as known. Rows stay longer than deliveries that
# failed, which can be sent again.
OLDEST_MS, KEPT_MS = 30 * DAY_MS, 90 * DAY_MS
# Largest number of rows that one transaction removes, and of accounts that one read returns.
STEP = 500

IS_WANTED = "SELECT 1 FROM webhooks WHERE messages_since >= 0 AND status = 'active' LIMIT 1"
# Whether an account has mail: it lives, or it is a hidden one.
HAS_MAIL = """
(accounts.deleted_at IS NULL OR EXISTS (
  SELECT 1 FROM hidden_accounts WHERE hidden_accounts.account_id = accounts.id AND ended_at IS NULL))"""
# Whether a webhook gets the mail of an account. That of a hidden account is for the route alone.
GETS = """
webhooks.organization_id = accounts.organization_id AND webhooks.status = 'active'
AND webhooks.messages_since IS NOT NULL
AND (webhooks.user_id IS NULL OR webhooks.user_id = accounts.user_id)
AND (webhooks.domain_id IS NULL OR webhooks.domain_id = accounts.domain_id)
AND (webhooks.account_id IS NULL OR webhooks.account_id = accounts.id)
AND (webhooks.forward_mode IS NOT NULL OR accounts.deleted_at IS NULL)
AND (webhooks.forward_mode IS NULL OR EXISTS (
  SELECT 1 FROM domains WHERE domains.id = webhooks.domain_id AND domains.status <> 'pending'))"""
TARGETS = f"""
SELECT webhooks.id, webhooks.messages_since, COALESCE(webhooks.probe_at, 0), webhooks.forward_mode
FROM accounts JOIN webhooks ON {GETS}
WHERE accounts.id = :account_id AND {HAS_MAIL}
ORDER BY webhooks.id"""
SCOPES = """
SELECT organization_id, user_id, domain_id, account_id, MIN(messages_since) FROM webhooks
WHERE messages_since >= 0 AND status = 'active'
GROUP BY organization_id, user_id, domain_id, account_id"""
HERE = """
deleted_at IS NULL AND id > :after AND (CAST(:node AS BIGINT) IS NULL OR EXISTS (
  SELECT 1 FROM account_homes WHERE account_homes.account_id = accounts.id AND account_homes.node_id = :node))"""
OF_ACCOUNT = f"SELECT id FROM accounts WHERE id = :account_id AND {HERE}"
HIDDEN = """
SELECT account_id FROM hidden_accounts
WHERE domain_id = :domain_id AND ended_at IS NULL AND account_id > :after AND (CAST(:node AS BIGINT) IS NULL OR EXISTS (
  SELECT 1 FROM account_homes WHERE account_homes.account_id = hidden_accounts.account_id AND node_id = :node))"""
OF_DOMAIN = f"""
SELECT id FROM accounts WHERE domain_id = :domain_id AND {HERE} UNION ALL {HIDDEN} ORDER BY 1 LIMIT :limit"""
OF_DOMAIN_USER = f"""
SELECT id FROM accounts WHERE domain_id = :domain_id AND user_id = :user_id AND {HERE} UNION ALL {HIDDEN}
ORDER BY 1 LIMIT :limit"""
OF_USER = f"""
SELECT id FROM accounts WHERE organization_id = :organization AND user_id = :user_id AND {HERE}
ORDER BY id LIMIT :limit"""
OF_ORGANIZATION = f"SELECT id FROM accounts WHERE organization_id = :organization AND {HERE} ORDER BY id LIMIT :limit"
IS_HERE = "SELECT 1 FROM account_homes WHERE account_id = :account_id AND node_id = :node"

CURSORS = "SELECT uidvalidity, last_uid FROM message_cursors WHERE account_id = :account_id"
ADVANCE = """
INSERT INTO message_cursors (account_id, uidvalidity, last_uid) VALUES (:account_id, :uidvalidity, :last_uid)
ON CONFLICT (account_id, uidvalidity) DO UPDATE SET last_uid = excluded.last_uid
WHERE message_cursors.last_uid < excluded.last_uid"""
INSERT = f"""
INSERT INTO received_messages (organization_id, account_id, uidvalidity, uid, trace, received_at, created_at)
SELECT organization_id, id, CAST(:uidvalidity AS BIGINT), CAST(:uid AS BIGINT), CAST(:delivery AS TEXT),
  CAST(:at AS BIGINT), CAST(:now AS BIGINT)
FROM accounts WHERE id = :account_id AND {HAS_MAIL}
ON CONFLICT (organization_id, trace) DO NOTHING RETURNING id"""
DELIVER = """
INSERT INTO webhook_deliveries (organization_id, webhook_id, source_kind, source_id, type, status, next_at, created_at)
SELECT organization_id, id, 'message', :source_id, :type, 'pending', :now, :now
FROM webhooks WHERE id = :webhook_id AND status = 'active'
ON CONFLICT (webhook_id, source_kind, source_id) DO NOTHING"""
FORGET = """
DELETE FROM received_messages WHERE id IN (
  SELECT id FROM received_messages WHERE created_at <= :before ORDER BY created_at LIMIT :limit) RETURNING id"""
ERASE = """
DELETE FROM received_messages WHERE id IN (
  SELECT id FROM received_messages WHERE account_id = :account_id LIMIT :limit) RETURNING id"""
ERASE_CURSORS = "DELETE FROM message_cursors WHERE account_id = :account_id"
# After a restore: what was delivered before may have been sent since the backup.
SKIP_ALL = (
    "UPDATE webhooks SET messages_since = CAST(strftime('%s') AS INTEGER) * 1000 WHERE messages_since IS NOT NULL"
)


class Scope(msgspec.Struct, frozen=True):
    """The accounts whose mail a webhook gets (None stands for all), and from when on, in
    milliseconds since 1970 UTC."""

    organization_id: int
    user_id: str | None
    domain_id: int | None
    account_id: int | None
    since: int


class Target(msgspec.Struct, frozen=True):
    """An active webhook that gets the mail of an account, delivered since a time in milliseconds
    since 1970 UTC; `forward_mode` is that of the route that made it."""

    webhook_id: int
    since: int
    probe_at: int
    forward_mode: str | None = None


class Watch(msgspec.Struct, frozen=True):
    """An account whose mail a webhook gets: the earliest time from which one gets it, and the last
    UID that was looked at in each folder, by UIDVALIDITY."""

    since: int
    cursors: dict[int, int]


class Arrival(msgspec.Struct, frozen=True):
    """A delivery that was found in a folder. `at` is its time in milliseconds since 1970 UTC, whole
    seconds."""

    uid: int
    trace: str
    at: int

    def is_for(self, target: Target) -> bool:
        """The second in which the webhook began counts too, so that no message is missed."""
        return self.at >= target.since - target.since % 1000


def is_wanted(tx: Tx) -> bool:
    """Whether any webhook gets mail."""
    return tx.one(IS_WANTED) is not None


def targets(tx: Tx, account_id: int) -> list[Target]:
    """Returns the webhooks that get the mail of an account."""
    return [Target(*row) for row in tx.all(TARGETS, account_id=account_id)]


def scopes(tx: Tx) -> list[Scope]:
    """Returns the scopes of all webhooks that get mail, each once."""
    return [Scope(*row) for row in tx.all(SCOPES)]


def accounts(tx: Tx, scope: Scope, after: int, node: int | None) -> list[int]:
    """Returns the next accounts of a scope, at most STEP; with `node`, those whose home it is."""
    here = {"after": after, "node": node}
    if scope.account_id is not None:
        rows = tx.all(OF_ACCOUNT, **here, account_id=scope.account_id)
    elif scope.domain_id is not None and scope.user_id is not None:
        rows = tx.all(OF_DOMAIN_USER, **here, domain_id=scope.domain_id, user_id=scope.user_id, limit=STEP)
    elif scope.domain_id is not None:
        rows = tx.all(OF_DOMAIN, **here, domain_id=scope.domain_id, limit=STEP)
    elif scope.user_id is not None:
        rows = tx.all(OF_USER, **here, organization=scope.organization_id, user_id=scope.user_id, limit=STEP)
    else:
        rows = tx.all(OF_ORGANIZATION, **here, organization=scope.organization_id, limit=STEP)
    return [row[0] for row in rows]


def watch(tx: Tx, account_id: int, node: int | None) -> Watch | None:
    """Returns what to look for in an account. None: no webhook gets its mail, or, with `node`, its
    home is another node."""
    found = targets(tx, account_id)
    if not found or (node is not None and not tx.one(IS_HERE, account_id=account_id, node=node)):
        return None
    return Watch(min(target.since for target in found), cursors(tx, account_id))


def cursors(tx: Tx, account_id: int) -> dict[int, int]:
    """Returns the last UID that was looked at in each folder of an account, by UIDVALIDITY."""
    return {row[0]: row[1] for row in tx.all(CURSORS, account_id=account_id)}


def receive(tx: Tx, account_id: int, uidvalidity: int, arrivals: Sequence[Arrival], last_uid: int) -> int:
    """Writes down the deliveries that were found in a folder up to `last_uid`, and makes their
    deliveries to webhooks. A delivery that is known, or too old, is left alone. Returns the number
    of new messages."""
    found, woken, new = targets(tx, account_id), set(), 0
    for arrival in arrivals:
        wanted = [target for target in found if arrival.is_for(target)]
        if not wanted or arrival.at < tx.now - OLDEST_MS:
            continue
        row = tx.one(
            INSERT,
            account_id=account_id,
            uidvalidity=uidvalidity,
            uid=arrival.uid,
            delivery=arrival.trace,
            at=arrival.at,
            now=tx.now,
        )
        if row is None:
            continue
        new += 1
        for target in wanted:
            tx.run(DELIVER, webhook_id=target.webhook_id, source_id=row[0], type=RECEIVED, now=tx.now)
            woken.add(target.webhook_id)
            if target.forward_mode is not None:
                passing_messages.add(tx, row[0], target.webhook_id)
    for target in found:
        if target.webhook_id in woken:
            lanes.wake(tx, target.webhook_id, max(tx.now, target.probe_at))
    tx.run(ADVANCE, account_id=account_id, uidvalidity=uidvalidity, last_uid=last_uid)
    return new


def forget(tx: Tx) -> int:
    """Removes old rows, at most STEP. Returns their number."""
    return len(tx.all(FORGET, before=tx.now - KEPT_MS, limit=STEP))


def erase(tx: Tx, account_id: int) -> int:
    """Removes what is known of an account's messages, at most STEP rows of each kind. Returns the
    largest number of a kind."""
    tx.run(ERASE_CURSORS, account_id=account_id)
    passing = passing_messages.erase(tx, account_id)
    return max(passing, len(tx.all(ERASE, account_id=account_id, limit=STEP)))
