"""Addresses on a domain: one row each under a unique index, so that a single insert decides who
gets an address.

The row outlives its account: while an address is in quarantine, only the same user may take it
again.
"""

from postroom.db import Tx
from postroom.errors import Refused

QUARANTINE_MS = 30 * 24 * 3600 * 1000

TAKE = """
INSERT INTO addresses (domain_id, local_part, account_id, user_id) VALUES (:domain_id, :local_part, :id, :user_id)
ON CONFLICT (domain_id, local_part) DO UPDATE
SET account_id = excluded.account_id, user_id = excluded.user_id, rests_until = NULL
WHERE addresses.account_id IS NULL AND (addresses.user_id = excluded.user_id OR addresses.rests_until <= :now)
RETURNING account_id"""
QUARANTINE = """
UPDATE addresses SET account_id = NULL, rests_until = :until
WHERE domain_id = :domain_id AND account_id = :id AND local_part = :local_part"""

# Maximum number of addresses that one transaction frees.
STEP = 200
FREE = """
DELETE FROM addresses WHERE account_id IS NULL AND rests_until <= :now AND (domain_id, local_part) IN (
  SELECT domain_id, local_part FROM addresses WHERE rests_until <= :now ORDER BY rests_until LIMIT :limit)
RETURNING domain_id"""


def take(tx: Tx, domain_id: int, local_part: str, account_id: int, user_id: str) -> None:
    """Gives the address to the account, which gets its mail from the commit on. Raises
    `address_exists`."""
    whose = {"id": account_id, "user_id": user_id}
    if tx.one(TAKE, domain_id=domain_id, local_part=local_part, **whose, now=tx.now) is None:
        detail = "This address is taken, or another user had it within the last 30 days: choose another local_part."
        raise Refused("address_exists", detail)


def quarantine(tx: Tx, domain_id: int, local_part: str, account_id: int) -> None:
    """Stops mail to the address and keeps other users from taking the address for 30 days."""
    tx.run(QUARANTINE, domain_id=domain_id, local_part=local_part, id=account_id, until=tx.now + QUARANTINE_MS)


def forget(tx: Tx) -> int:
    """Deletes up to STEP rows whose quarantine has ended, so that any user may take these
    addresses. Returns the number of rows deleted."""
    return len(tx.all(FREE, now=tx.now, limit=STEP))
