"""Users that have, or had, accounts. Each is a row, so that there is something to hold.

Nothing is read here. Which account of a user is the default one depends on what others do
to the user's accounts; code that chooses it locks the user first, and reads afterwards.
"""

from postroom.db import Tx

# An update that changes nothing takes the row for this transaction on both engines.
LOCK = """
INSERT INTO account_users (organization_id, user_id) VALUES (:organization, :user_id)
ON CONFLICT (organization_id, user_id) DO UPDATE SET user_id = excluded.user_id"""


def lock(tx: Tx, organization_id: int, user_id: str) -> None:
    """From here to the end of the transaction nobody else changes the user's default account. A
    domain's counter, where it is needed too, comes before (usage.py): in one order nobody waits
    in a circle."""
    tx.run(LOCK, organization=organization_id, user_id=user_id)
