"""Bans: networks from which too many wrong passwords came. They may log in only to the accounts
that know them; every other attempt reads like a wrong password, before anything is hashed."""

import msgspec

from postroom.db import Tx

# The first ban, the longest one, and the time after which a network is forgiven. Each ban is twice
# as long as the one before (decision 0267).
FIRST_MS = 60_000
LONGEST_MS = 3600 * 1000
FORGIVEN_MS = 24 * 3600 * 1000
# Largest number of rows that one transaction forgets, and that are listed.
STEP = 500
MOST = 1000

IS_BANNED = "SELECT 1 FROM login_bans WHERE network = :network AND until_at > :now"
LAST = "SELECT from_at, until_at, ban_ms FROM login_bans WHERE network = :network"
BAN = """
INSERT INTO login_bans (network, from_at, until_at, ban_ms) VALUES (:network, :now, :until, :ban_ms)
ON CONFLICT (network) DO UPDATE
SET from_at = excluded.from_at, until_at = excluded.until_at, ban_ms = excluded.ban_ms
WHERE login_bans.until_at <= excluded.from_at"""
LIST = "SELECT network, from_at, until_at FROM login_bans WHERE until_at > :now ORDER BY until_at, network LIMIT :limit"
TALLY = "SELECT COUNT(*) FROM login_bans WHERE until_at > :now"
LIFT = "DELETE FROM login_bans WHERE network = :network RETURNING until_at"
OLD = "SELECT network FROM login_bans WHERE until_at <= :before ORDER BY until_at LIMIT :limit"
FORGET = "DELETE FROM login_bans WHERE network = :network AND until_at <= :before"


class Ban(msgspec.Struct, frozen=True):
    """A ban that is in force. Times are in milliseconds since 1970 UTC."""

    network: str
    from_at: int
    until_at: int


def is_banned(tx: Tx, network: str) -> bool:
    return tx.one(IS_BANNED, network=network, now=tx.now) is not None


def last(tx: Tx, network: str) -> int:
    """Returns when the last ban of a network began, also if it has ended; 0: never."""
    row = tx.one(LAST, network=network)
    return int(row[0]) if row else 0


def ban(tx: Tx, network: str) -> None:
    """Bans a network, unless it is banned."""
    row = tx.one(LAST, network=network)
    ban_ms = FIRST_MS if row is None or row[1] < tx.now - FORGIVEN_MS else min(2 * row[2], LONGEST_MS)
    tx.run(BAN, network=network, now=tx.now, until=tx.now + ban_ms, ban_ms=ban_ms)


def in_force(tx: Tx) -> list[Ban]:
    """Returns the bans, the first to end first, at most MOST."""
    return [Ban(*row) for row in tx.all(LIST, now=tx.now, limit=MOST)]


def tally(tx: Tx) -> int:
    """Returns the number of bans in force."""
    row = tx.one(TALLY, now=tx.now)
    return int(row[0]) if row else 0


def lift(tx: Tx, network: str) -> bool:
    """Ends a ban; the next one is a first ban again. Returns whether the network was banned."""
    row = tx.one(LIFT, network=network)
    return row is not None and row[0] > tx.now


def forget(tx: Tx) -> int:
    """Removes bans whose network is forgiven, at most STEP of them. Returns their number."""
    before = tx.now - FORGIVEN_MS
    old = tx.all(OLD, before=before, limit=STEP)
    for (network,) in old:
        tx.run(FORGET, network=network, before=before)
    return len(old)
