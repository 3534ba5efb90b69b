"""Addresses that are taken on a domain: one row each, under one unique index, so that one insert
decides.

The row outlives its account. It rests, and meanwhile only the same user may take it again.
"""

from postroom.db import Tx
from postroom.errors import Refused

REST_MS = 30 * 24 * 3600 * 1000

TAKE = """
INSERT INTO addresses (domain_id, local_part, account_id, user_id) VALUES (:domain_id, :local_part, :id, :user_id)
ON CONFLICT (domain_id, local_part) DO UPDATE
SET account_id = excluded.account_id, user_id = excluded.user_id, rests_until = NULL
WHERE addresses.account_id IS NULL AND (addresses.user_id = excluded.user_id OR addresses.rests_until <= :now)
RETURNING account_id"""
REST = """
UPDATE addresses SET account_id = NULL, rests_until = :until
WHERE domain_id = :domain_id AND account_id = :id AND local_part = :local_part"""

# Addresses that are freed in one transaction.
STEP = 200
FREE = """
DELETE FROM addresses WHERE account_id IS NULL AND rests_until <= :now AND (domain_id, local_part) IN (
  SELECT domain_id, local_part FROM addresses WHERE rests_until <= :now ORDER BY rests_until LIMIT :limit)
RETURNING domain_id"""


def take(tx: Tx, domain_id: int, local_part: str, account_id: int, user_id: str) -> None:
    """From the commit on, mail to the address is the account's. Raises `address_exists`."""
    whose = {"id": account_id, "user_id": user_id}
    if tx.one(TAKE, domain_id=domain_id, local_part=local_part, **whose, now=tx.now) is None:
        detail = "This address is taken, or another user had it within the last 30 days: choose another local_part."
        raise Refused("address_exists", detail)


def quarantine(tx: Tx, domain_id: int, local_part: str, account_id: int) -> None:
    """Nobody's mail any more, and for a while nobody else's address."""
    tx.run(REST, domain_id=domain_id, local_part=local_part, id=account_id, until=tx.now + REST_MS)


def forget(tx: Tx) -> int:
    """Removes the rows of addresses that have rested, STEP of them at most: anybody may take
    them. How many it were."""
    return len(tx.all(FREE, now=tx.now, limit=STEP))
