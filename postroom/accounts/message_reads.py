"""That a key reads the messages of an account: an event, at most one an hour and account (decision
0305)."""

from postroom.accounts import account_events, hidden_accounts
from postroom.accounts import commands as accounts
from postroom.accounts.model import Account
from postroom.actor import Actor
from postroom.db import Tx
from postroom.errors import Refused

HOUR_MS = 3600 * 1000

IS_TOLD = "SELECT 1 FROM message_reads WHERE account_id = :account_id AND told_at > :before"
# Returns no row if an event has told of the last hour.
TELL = """
INSERT INTO message_reads (account_id, told_at) VALUES (:account_id, :now)
ON CONFLICT (account_id) DO UPDATE SET told_at = excluded.told_at WHERE message_reads.told_at <= :before
RETURNING account_id"""
ERASE = "DELETE FROM message_reads WHERE account_id = :account_id"


def look(tx: Tx, actor: Actor, id_: int, user_id: str | None, *, is_link: bool = False) -> tuple[Account, bool]:
    """Returns the account, and whether an event of the last hour tells that its messages are read.
    The links to messages (`is_link`) lead to hidden accounts too. Raises not_found."""
    account = _account(tx, actor, id_, user_id, is_link)
    return account, tx.one(IS_TOLD, account_id=account.id, before=tx.now - HOUR_MS) is not None


def tell(tx: Tx, actor: Actor, id_: int, user_id: str | None, *, is_link: bool = False) -> None:
    """Records the event, unless another request was faster. Raises not_found."""
    account = _account(tx, actor, id_, user_id, is_link)
    if tx.one(TELL, account_id=account.id, now=tx.now, before=tx.now - HOUR_MS):
        account_events.record(tx, actor, "message.read", account)


def erase(tx: Tx, account_id: int) -> None:
    """Forgets when the messages of an account were read."""
    tx.run(ERASE, account_id=account_id)


def _account(tx: Tx, actor: Actor, id_: int, user_id: str | None, is_link: bool) -> Account:
    try:
        return accounts.get(tx, actor, id_, user_id)
    except Refused:
        if not is_link:
            raise
    return hidden_accounts.get(tx, actor, id_, user_id)
