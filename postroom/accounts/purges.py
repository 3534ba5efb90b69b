"""Purges: erasing the mail of deleted accounts. Each account's row says how far its purge is."""

from postroom.accounts import (
    alias_rests,
    app_passwords,
    delivery_scripts,
    full_periods,
    hidden_accounts,
    login_failures,
    mail_tokens,
    message_reads,
    outgoing_messages,
    owner_sessions,
    sent_counts,
    setup_links,
)
from postroom.accounts.account_events import record
from postroom.accounts.model import COLUMNS, from_row
from postroom.actor import Actor
from postroom.cluster import nodes
from postroom.db import Tx

PURGE_AGAIN_MS = 3600 * 1000
# An account with sessions that must still end is not due: such a session could write into its
# folder again.
DUE_PURGES = """
SELECT id FROM accounts
WHERE purge_at <= :now AND deleted_at IS NOT NULL
  AND NOT EXISTS (SELECT 1 FROM session_endings WHERE account_id = accounts.id)
  AND NOT EXISTS (SELECT 1 FROM leases WHERE kind = 'purge' AND item = accounts.id AND free_at > :now)
  AND (CAST(:node AS BIGINT) IS NULL OR EXISTS (SELECT 1 FROM account_homes
    WHERE account_id = accounts.id AND node_id = :node))
  AND NOT EXISTS (SELECT 1 FROM account_moves WHERE account_id = accounts.id AND phase IN ('copy', 'frozen'))
ORDER BY purge_at, id LIMIT 50"""
BEGIN_PURGE = """
UPDATE accounts SET purged_at = COALESCE(purged_at, :now), display_name = NULL, password = ''
WHERE id = :id AND purge_at <= :now AND deleted_at IS NOT NULL RETURNING id"""
OLDEST_PURGE_DUE = "SELECT purge_at FROM accounts WHERE purge_at <= :now ORDER BY purge_at LIMIT 1"
RESCHEDULE_PURGE = "UPDATE accounts SET purge_at = :until WHERE id = :id AND purged_at IS NOT NULL"
FINISH_PURGE = f"""
UPDATE accounts SET purge_at = NULL WHERE id = :id AND purge_at IS NOT NULL AND purged_at IS NOT NULL
RETURNING {COLUMNS}"""


def due_purges(tx: Tx, node: int | None = None) -> list[int]:
    """Returns up to 50 accounts whose purge is due, or must continue, and that no worker has
    leased. With `node`, only accounts whose home is this node."""
    return [row[0] for row in tx.all(DUE_PURGES, now=tx.now, node=node)]


def oldest_purge_due(tx: Tx) -> int | None:
    """Returns when the oldest due purge became due (ms since 1970); None if no purge is due.
    Includes a purge that a worker backed off from after a failure."""
    row = tx.one(OLDEST_PURGE_DUE, now=tx.now)
    return int(row[0]) if row else None


def begin_purge(tx: Tx, id_: int) -> bool:
    """Makes the purge final: the account can no longer be restored, and the personal data in its
    row is erased. The row stays, because events refer to it. Returns False if the account was
    restored in the meantime."""
    if tx.one(BEGIN_PURGE, id=id_, now=tx.now) is None:
        return False
    delivery_scripts.erase(tx, id_)
    app_passwords.erase(tx, id_)
    login_failures.erase(tx, id_)
    setup_links.erase(tx, id_)
    owner_sessions.erase(tx, id_)
    mail_tokens.erase(tx, id_)
    full_periods.erase(tx, id_)
    message_reads.erase(tx, id_)
    outgoing_messages.erase(tx, id_)
    return True


def finish_purge(tx: Tx, id_: int) -> None:
    """Marks the purge as complete: the mail is erased."""
    row = tx.one(FINISH_PURGE, id=id_)
    if row is not None:
        account = from_row(row)
        nodes.leave(tx, id_)
        alias_rests.forget(tx, account.organization_id, id_)
        sent_counts.erase(tx, account)
        if not hidden_accounts.is_hidden(tx, id_):
            record(tx, Actor(account.organization_id), "account.purged", account)


def reschedule_purge(tx: Tx, id_: int) -> None:
    """Schedules another try after PURGE_AGAIN_MS, because the mail could not be erased."""
    tx.run(RESCHEDULE_PURGE, id=id_, until=tx.now + PURGE_AGAIN_MS)
