"""One row per user, used only as a lock (decision 0094).

A user's default account depends on every other change to that user's accounts. Code that chooses
the default account locks the user first and then reads.
"""

from postroom.db import Tx

# An update that changes nothing locks the row for this transaction on both engines.
LOCK = """
INSERT INTO account_users (organization_id, user_id) VALUES (:organization, :user_id)
ON CONFLICT (organization_id, user_id) DO UPDATE SET user_id = excluded.user_id"""


def lock(tx: Tx, organization_id: int, user_id: str) -> None:
    """Locks the user until the end of the transaction, so that no other transaction changes the
    user's default account. To avoid deadlocks, take the domain's counter (usage.py) first if the
    transaction needs both."""
    tx.run(LOCK, organization=organization_id, user_id=user_id)
