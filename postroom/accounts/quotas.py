"""Quotas: how much mail an account may hold, and whether its mailbox is full.

Dovecot enforces the quota, which it reads in the views. Whether a mailbox is full decides Dovecot's
count alone: `record_usage` gets a count and compares it with the quota (decision 0237). A count is
taken after a change of the quota, and when Dovecot reports that a mailbox has crossed a threshold.
"""

import msgspec
from msgspec import UNSET, UnsetType

from postroom.accounts import account_events
from postroom.accounts.model import COLUMNS, Account, from_row
from postroom.actor import Actor
from postroom.db import Tx
from postroom.mailboxes.interface import Size
from postroom.tenants import limits, usage

# Percentages of a quota that are worth an event, and the percentage at which a mailbox is full.
WARNINGS = (80, 95)
FULL = 100
# A warning is repeated only after the usage was below this percentage (decision 0238).
CALM = 75
RETRY_MS = 30_000

SET = """
UPDATE accounts SET quota_bytes = :quota_bytes, quota_messages = :quota_messages, quota_check_at = :now,
  updated_at = :now
WHERE id = :id AND organization_id = :organization"""
LEVEL = "SELECT quota_bytes, quota_messages, quota_level FROM accounts WHERE id = :id AND deleted_at IS NULL"
# An update that changes nothing locks the row for this transaction on both engines.
LOCK = f"""
UPDATE accounts SET quota_level = quota_level WHERE id = :id AND deleted_at IS NULL
RETURNING {COLUMNS}, quota_level"""
RECORD = "UPDATE accounts SET quota_level = :level, over_quota_at = :over_quota_at WHERE id = :id"
DUE = """
SELECT id, quota_check_at FROM accounts
WHERE quota_check_at <= :now
  AND (CAST(:node AS BIGINT) IS NULL OR EXISTS (SELECT 1 FROM account_homes
    WHERE account_id = accounts.id AND node_id = :node))
ORDER BY quota_check_at, id LIMIT :limit"""
FINISH = "UPDATE accounts SET quota_check_at = NULL WHERE id = :id AND quota_check_at = :at"
POSTPONE = "UPDATE accounts SET quota_check_at = :until WHERE id = :id AND deleted_at IS NULL"


class SetQuota(msgspec.Struct, frozen=True):
    """The quotas to change; UNSET leaves a quota as it is, None removes it. `size` is Dovecot's
    count shortly before the change; None if Dovecot does not answer."""

    quota_bytes: int | UnsetType | None = UNSET
    quota_messages: int | UnsetType | None = UNSET
    size: Size | None = None

    @property
    def is_given(self) -> bool:
        return self.quota_bytes is not UNSET or self.quota_messages is not UNSET

    def of(self, account: Account) -> tuple[int | None, int | None]:
        """Returns both quotas of the account after the change."""
        return (
            account.quota_bytes if self.quota_bytes is UNSET else self.quota_bytes,
            account.quota_messages if self.quota_messages is UNSET else self.quota_messages,
        )


def change(tx: Tx, actor: Actor, account: Account, command: SetQuota) -> Account:
    """Changes the quotas of an account that this transaction has locked, together with the limits
    of its user. Returns the account. Values that are already set change nothing.

    A worker counts the mail once more after the commit, because a message may have arrived since
    `command.size` was counted. Raises `limit_reached`.
    """
    old, new = (account.quota_bytes, account.quota_messages), command.of(account)
    if new == old:
        return account
    limits.check_quota(tx, account.organization_id, account.user_id, old[0], new[0])
    added = (new[0] or 0) - (old[0] or 0)
    usage.add(tx, account.organization_id, account.domain_id, account.user_id, account.status, 0, added)
    whose = {"id": account.id, "organization": account.organization_id}
    tx.run(SET, **whose, quota_bytes=new[0], quota_messages=new[1], now=tx.now)
    changed = [name for name, was, is_ in zip(("quota_bytes", "quota_messages"), old, new, strict=True) if was != is_]
    account_events.record(tx, actor, "account.updated", account, changed=changed)
    if (size := Size(0, 0) if new == (None, None) else command.size) is not None:
        record_usage(tx, actor, account.id, size)
    return msgspec.structs.replace(account, quota_bytes=new[0], quota_messages=new[1], updated_at=tx.now)


def is_news(tx: Tx, id_: int, size: Size) -> bool:
    """Whether `record_usage` would change anything."""
    row = tx.one(LEVEL, id=id_)
    return row is not None and _level(size, *row) != row[-1]


def record_usage(tx: Tx, actor: Actor | None, id_: int, size: Size) -> None:
    """Records how full a mailbox is, with an event where this is news. `actor` is who changed the
    quota; None if the mail has changed."""
    row = tx.one(LOCK, id=id_)
    if row is None:
        return
    *columns, old = row
    account = from_row(tuple(columns))
    level = _level(size, account.quota_bytes, account.quota_messages, old)
    if level == old:
        return
    tx.run(RECORD, id=id_, level=level, over_quota_at=tx.now if level == FULL else None)
    for type_, more in _news(old, level):
        account_events.record(tx, actor or Actor(account.organization_id), type_, account, **more)


def due(tx: Tx, limit: int, node: int | None = None) -> dict[int, int]:
    """Returns the accounts whose mailbox must be counted, each with the time at which that became
    due. With `node`, only accounts whose home is this node."""
    return {row[0]: row[1] for row in tx.all(DUE, now=tx.now, node=node, limit=limit)}


def finish(tx: Tx, id_: int, at: int) -> None:
    """Marks a count as done, unless the quota has changed since."""
    tx.run(FINISH, id=id_, at=at)


def postpone(tx: Tx, id_: int) -> None:
    """Schedules another count after RETRY_MS, because Dovecot has not counted the mail."""
    tx.run(POSTPONE, id=id_, until=tx.now + RETRY_MS)


def _level(size: Size, quota_bytes: int | None, quota_messages: int | None, old: int) -> int:
    """Returns how full a mailbox is: FULL, the highest warning that applies, or 0."""
    pairs = ((size.used_bytes, quota_bytes), (size.messages, quota_messages))
    percent = max((100 * used // quota for used, quota in pairs if quota is not None), default=0)
    for level in (FULL, *reversed(WARNINGS)):
        if percent >= level:
            return max(level, min(old, WARNINGS[-1]))
    return min(old, WARNINGS[-1]) if percent >= CALM else 0


def _news(old: int, level: int) -> list[tuple[str, dict[str, int]]]:
    """Returns the events of a change from one level to another, each with its data."""
    if level == FULL:
        return [("account.over_quota", {})]
    found: list[tuple[str, dict[str, int]]] = [("account.under_quota", {})] if old == FULL else []
    if old < level:
        found.append(("account.quota_warning", {"percent": level}))
    return found
