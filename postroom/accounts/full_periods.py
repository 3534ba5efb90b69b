"""Full periods: the hours and days in which an account was at one of its send limits.

The first refusal in such a period is an event. An account that was at a limit in BLOCKS_AFTER
periods in a row by its own sending is blocked (decision 0280).
"""

from postroom.accounts import account_events
from postroom.accounts.model import Account
from postroom.accounts.sent_counts import SendLimitReached
from postroom.actor import Actor
from postroom.db import Tx

BLOCKS_AFTER = 3

# Returns no row if this period was noted before.
NOTE = """
INSERT INTO full_periods (account_id, name, period, in_a_row) VALUES (:account_id, :name, :period, 1)
ON CONFLICT (account_id, name) DO UPDATE SET
  in_a_row = CASE WHEN full_periods.period = excluded.period - 1 THEN full_periods.in_a_row + 1 ELSE 1 END,
  period = excluded.period
WHERE full_periods.period < excluded.period
RETURNING in_a_row"""
BLOCK = """
UPDATE accounts SET send_blocked_at = :now
WHERE id = :id AND organization_id = :organization AND send_blocked_at IS NULL RETURNING id"""
ERASE = "DELETE FROM full_periods WHERE account_id = :account_id"


def note(tx: Tx, refused: SendLimitReached) -> None:
    """Records that a limit was reached, in a transaction after the one that was refused: with an
    event if this is the first time in the period, and with a block if it is the last straw."""
    account, limit = refused.account, {"limit": refused.name, "number": refused.number}
    actor = Actor(account.organization_id)
    if _note(tx, account, refused.name, refused.period) is not None:
        account_events.record(tx, actor, "account.send_limit_reached", account, **limit)
    # Mail of a script answers mail from strangers, who must not be able to block an account. That
    # the sum over all accounts is full says nothing about this one.
    if not refused.is_own:
        return
    in_a_row = _note(tx, account, f"{refused.name}:own", refused.period)
    if in_a_row is None or in_a_row < BLOCKS_AFTER:
        return
    if tx.one(BLOCK, id=account.id, organization=account.organization_id, now=tx.now):
        account_events.record(tx, actor, "account.send_blocked", account, **limit)


def erase(tx: Tx, account_id: int) -> None:
    """Forgets the periods of an account."""
    tx.run(ERASE, account_id=account_id)


def _note(tx: Tx, account: Account, name: str, period: int) -> int | None:
    row = tx.one(NOTE, account_id=account.id, name=name, period=period)
    return int(row[0]) if row else None
