"""Addresses on a domain: one row each under a unique index, so that a single insert decides who
gets an address.

The row outlives its account: while an address is in quarantine, only the same user may take it
again.
"""

from postroom.db import Tx
from postroom.errors import FieldError, Refused

TAKEN = "This address is taken, or another user had it within the last 30 days: choose another local_part."
QUARANTINE_MS = 30 * 24 * 3600 * 1000

TAKE = """
INSERT INTO addresses (domain_id, local_part, account_id, alias_id, user_id)
VALUES (:domain_id, :local_part, :id, :alias_id, :user_id)
ON CONFLICT (domain_id, local_part) DO UPDATE
SET account_id = excluded.account_id, alias_id = excluded.alias_id, user_id = excluded.user_id, rests_until = NULL
WHERE addresses.account_id IS NULL AND addresses.alias_id IS NULL
  AND (addresses.user_id = excluded.user_id OR addresses.rests_until <= :now)
RETURNING domain_id"""
FIND = """
SELECT account_id, alias_id, user_id, rests_until FROM addresses
WHERE domain_id = :domain_id AND local_part = :local_part"""
QUARANTINE = """
UPDATE addresses SET account_id = NULL, rests_until = :until
WHERE domain_id = :domain_id AND account_id = :id AND local_part = :local_part"""
QUARANTINE_ALIAS = "UPDATE addresses SET alias_id = NULL, rests_until = :until WHERE alias_id = :alias_id"
HAND_OVER = """
UPDATE addresses SET account_id = NULL, alias_id = :alias_id
WHERE domain_id = :domain_id AND account_id = :id AND local_part = :local_part"""
RELEASE_ALIAS = "DELETE FROM addresses WHERE alias_id = :alias_id"

# Maximum number of addresses that one transaction frees.
STEP = 200
FREE = """
DELETE FROM addresses WHERE account_id IS NULL AND rests_until <= :now AND (domain_id, local_part) IN (
  SELECT domain_id, local_part FROM addresses WHERE rests_until <= :now ORDER BY rests_until LIMIT :limit)
RETURNING domain_id"""


def take(tx: Tx, domain_id: int, local_part: str, account_id: int, user_id: str) -> None:
    """Gives the address to the account, which gets its mail from the commit on. Raises
    `address_exists`."""
    if not _take(tx, domain_id, local_part, user_id, id_=account_id):
        raise taken()


def take_for_alias(tx: Tx, domain_id: int, local_part: str, alias_id: int, user_id: str) -> bool:
    """Gives the address to the alias. Returns False if the address is taken."""
    return _take(tx, domain_id, local_part, user_id, alias_id=alias_id)


def hand_over(tx: Tx, domain_id: int, local_part: str, account_id: int, alias_id: int) -> None:
    """Gives the address of an account to an alias."""
    tx.run(HAND_OVER, domain_id=domain_id, local_part=local_part, id=account_id, alias_id=alias_id)


def taken() -> Refused:
    """Returns the error for an address that somebody else has."""
    return Refused("address_exists", TAKEN, FieldError("local_part", "address_exists", TAKEN))


def is_free(tx: Tx, domain_id: int, local_part: str, user_id: str | None) -> bool:
    """Whether `take` would give the address to the user now. Without a user: whether it would give
    the address to any user."""
    row = tx.one(FIND, domain_id=domain_id, local_part=local_part)
    if row is None:
        return True
    account_id, alias_id, owner, rests_until = row
    is_held = account_id is not None or alias_id is not None
    return not is_held and (owner == user_id or (rests_until is not None and rests_until <= tx.now))


def quarantine_alias(tx: Tx, alias_id: int) -> None:
    """As `quarantine`, for the address of an alias."""
    tx.run(QUARANTINE_ALIAS, alias_id=alias_id, until=tx.now + QUARANTINE_MS)


def release_alias(tx: Tx, alias_id: int) -> None:
    """Frees the address of an alias at once, for every user."""
    tx.run(RELEASE_ALIAS, alias_id=alias_id)


def quarantine(tx: Tx, domain_id: int, local_part: str, account_id: int) -> None:
    """Stops mail to the address and keeps other users from taking the address for 30 days."""
    tx.run(QUARANTINE, domain_id=domain_id, local_part=local_part, id=account_id, until=tx.now + QUARANTINE_MS)


def forget(tx: Tx) -> int:
    """Deletes up to STEP rows whose quarantine has ended, so that any user may take these
    addresses. Returns the number of rows deleted."""
    return len(tx.all(FREE, now=tx.now, limit=STEP))


def _take(
    tx: Tx, domain_id: int, local_part: str, user_id: str, *, id_: int | None = None, alias_id: int | None = None
) -> bool:
    whose = {"id": id_, "alias_id": alias_id, "user_id": user_id}
    return tx.one(TAKE, domain_id=domain_id, local_part=local_part, **whose, now=tx.now) is not None
