"""Known recipients: to whom an account has written within KNOWN_DAYS, as keyed hashes.

A hijacked account writes to many people that it has never written to. The addresses themselves are
not kept. The key belongs to the data directory, so the database alone does not show who writes to
whom (decision 0281).
"""

import hmac
from collections.abc import Iterable

from postroom.db import Tx

KNOWN_DAYS = 60
STEP = 500
DIGEST_BYTES = 8

REMEMBER = f"""
INSERT INTO known_recipients (account_id, recipient_hash, first_day, last_day)
VALUES (:account_id, :recipient_hash, :day, :day)
ON CONFLICT (account_id, recipient_hash) DO UPDATE SET
  first_day = CASE WHEN known_recipients.last_day < excluded.last_day - {KNOWN_DAYS}
    THEN excluded.first_day ELSE known_recipients.first_day END,
  last_day = excluded.last_day
WHERE known_recipients.last_day < excluded.last_day"""
NEW = "SELECT COUNT(*) FROM known_recipients WHERE account_id = :account_id AND first_day = :day"
OLD = "SELECT account_id, recipient_hash FROM known_recipients WHERE last_day < :before ORDER BY last_day LIMIT :limit"
FORGET = """
DELETE FROM known_recipients
WHERE account_id = :account_id AND recipient_hash = :recipient_hash AND last_day < :before"""
ERASE = """
DELETE FROM known_recipients WHERE account_id = :account_id AND recipient_hash IN (
  SELECT recipient_hash FROM known_recipients WHERE account_id = :account_id LIMIT :limit) RETURNING recipient_hash"""
DAY_MS = 24 * 3600 * 1000


def digests(key: str, account_id: int, addresses: Iterable[str]) -> list[int]:
    """Returns the hashes of addresses, each once. `key` is the key of the data directory. The hash
    of an address differs from account to account."""
    return sorted({_digest(key, f"{account_id} {address.lower()}") for address in addresses})


def remember(tx: Tx, account_id: int, hashes: Iterable[int], day: int) -> None:
    """Records that the account writes to these recipients."""
    for recipient in hashes:
        tx.run(REMEMBER, account_id=account_id, recipient_hash=recipient, day=day)


def new(tx: Tx, account_id: int, day: int) -> int:
    """Returns how many recipients were new on this day."""
    row = tx.one(NEW, account_id=account_id, day=day)
    return int(row[0]) if row else 0


def forget(tx: Tx) -> int:
    """Removes recipients that are no longer known, at most STEP. Returns the number removed."""
    before = tx.now // DAY_MS - KNOWN_DAYS
    old = tx.all(OLD, before=before, limit=STEP)
    for account_id, recipient in old:
        tx.run(FORGET, account_id=account_id, recipient_hash=recipient, before=before)
    return len(old)


def erase(tx: Tx, account_id: int) -> int:
    """Removes recipients of an account whose purge has begun, at most STEP. Returns the number
    removed."""
    return len(tx.all(ERASE, account_id=account_id, limit=STEP))


def _digest(key: str, text: str) -> int:
    found = hmac.digest(f"recipients {key}".encode(), text.encode("utf-8", "surrogateescape"), "sha256")
    return int.from_bytes(found[:DIGEST_BYTES], signed=True)
