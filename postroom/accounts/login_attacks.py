"""Accounts under attack: so many wrong passwords came from networks that the account does not know
that its own password works only from those that it knows. App passwords work from everywhere.

An attack that no worker looks after ends by itself: `attacked_until` of the account passes.
"""

import msgspec

from postroom.accounts import account_events
from postroom.accounts.model import COLUMNS, from_row
from postroom.actor import Actor
from postroom.db import Tx

# Milliseconds after which a worker looks at an attack again, and after which an attack that no
# worker has looked at is over.
CHECK_MS = 60_000
OVER_MS = 10 * 60_000
# Largest number of attacks that are checked in a round, and that are listed.
STEP = 200
MOST = 1000

IS_ATTACKED = "SELECT 1 FROM login_attacks WHERE account_id = :account_id AND checked_at > :over"
BEGIN = """
INSERT INTO login_attacks (account_id, started_at, checked_at, failures)
SELECT id, :now, :now, :failures FROM accounts WHERE id = :account_id AND purged_at IS NULL
ON CONFLICT DO NOTHING RETURNING account_id"""
GO_ON = "UPDATE login_attacks SET checked_at = :now, failures = failures + :failures WHERE account_id = :account_id"
KEEP = "UPDATE login_attacks SET checked_at = :now WHERE account_id = :account_id"
# The look-up of a login reads this column, which costs less than another look-up.
CLOSE = "UPDATE accounts SET attacked_until = :until WHERE id = :account_id"
DUE = "SELECT account_id FROM login_attacks WHERE checked_at <= :before ORDER BY checked_at LIMIT :limit"
END = "DELETE FROM login_attacks WHERE account_id = :account_id RETURNING started_at, failures"
ERASE = "DELETE FROM login_attacks WHERE account_id = :account_id"
LIST = """
SELECT accounts.id, accounts.address, login_attacks.started_at, login_attacks.failures
FROM login_attacks JOIN accounts ON accounts.id = login_attacks.account_id
WHERE login_attacks.checked_at > :over ORDER BY login_attacks.checked_at DESC LIMIT :limit"""
TALLY = "SELECT COUNT(*) FROM login_attacks WHERE checked_at > :over"
OWNER = f"SELECT {COLUMNS} FROM accounts WHERE id = :account_id AND deleted_at IS NULL"


class Attack(msgspec.Struct, frozen=True):
    """An attack that goes on: since when (milliseconds since 1970 UTC), and with how many wrong
    passwords."""

    account_id: int
    address: str
    started_at: int
    failures: int


def is_attacked(tx: Tx, account_id: int) -> bool:
    return tx.one(IS_ATTACKED, account_id=account_id, over=tx.now - OVER_MS) is not None


def go_on(tx: Tx, account_id: int, number: int, failures: int, sources: int) -> None:
    """Begins an attack on an account, with an event, or continues it. `number` is how many failures
    were just counted; `failures` came in the last hour, from `sources` networks."""
    if tx.one(BEGIN, account_id=account_id, now=tx.now, failures=failures):
        _record(tx, account_id, "account.login_attack_started", failures=failures, networks=sources)
    else:
        tx.run(GO_ON, account_id=account_id, now=tx.now, failures=number)
    tx.run(CLOSE, account_id=account_id, until=tx.now + OVER_MS)


def due(tx: Tx) -> list[int]:
    """Returns up to STEP accounts whose attack was not looked at for CHECK_MS."""
    return [row[0] for row in tx.all(DUE, before=tx.now - CHECK_MS, limit=STEP)]


def keep(tx: Tx, account_id: int) -> None:
    """Lets an attack go on."""
    tx.run(KEEP, account_id=account_id, now=tx.now)
    tx.run(CLOSE, account_id=account_id, until=tx.now + OVER_MS)


def end(tx: Tx, account_id: int) -> bool:
    """Ends an attack, with an event. Returns whether there was one."""
    row = tx.one(END, account_id=account_id)
    if row is None:
        return False
    tx.run(CLOSE, account_id=account_id, until=0)
    _record(tx, account_id, "account.login_attack_ended", failures=row[1], seconds=max(0, tx.now - row[0]) // 1000)
    return True


def erase(tx: Tx, account_id: int) -> None:
    """Erases the attack on an account whose purge has begun."""
    tx.run(ERASE, account_id=account_id)


def under_way(tx: Tx) -> list[Attack]:
    """Returns the attacks, at most MOST."""
    return [Attack(*row) for row in tx.all(LIST, over=tx.now - OVER_MS, limit=MOST)]


def tally(tx: Tx) -> int:
    """Returns the number of accounts under attack."""
    row = tx.one(TALLY, over=tx.now - OVER_MS)
    return int(row[0]) if row else 0


def _record(tx: Tx, account_id: int, type_: str, **facts: int) -> None:
    """Records an event. The owner of a deleted account gets none."""
    if row := tx.one(OWNER, account_id=account_id):
        account = from_row(row)
        account_events.record(tx, Actor(account.organization_id), type_, account, **facts)
