"""Leases of background work: of two workers one is at a row, and a row that fails again and again
does not stop the others.

A lease is a time. A worker that dies during its work releases nothing; the lease expires and the
work is still due. A failure leaves the row unchanged and is recorded here, to back off
(decision 0093).
"""

from collections.abc import Callable, Sequence
from typing import Literal

from postroom.db import Tx

Kind = Literal["session", "check", "claim", "key", "purge", "answer", "move", "leftover", "house"]

LEASE_MS = 30_000
PAUSE_MS = 30_000
LONGEST_MS = 6 * 3600 * 1000
FORGET_MS = 7 * 24 * 3600 * 1000

TAKE = """
INSERT INTO leases (kind, item, free_at, failures) VALUES (:kind, :item, :until, 0)
ON CONFLICT (kind, item) DO UPDATE SET free_at = excluded.free_at WHERE leases.free_at <= :now RETURNING item"""
END = "DELETE FROM leases WHERE kind = :kind AND item = :item"
FAIL = """
INSERT INTO leases (kind, item, free_at, failures) VALUES (:kind, :item, :now, 1)
ON CONFLICT (kind, item) DO UPDATE SET failures = leases.failures + 1 RETURNING failures"""
PUT_OFF = "UPDATE leases SET free_at = :until WHERE kind = :kind AND item = :item"
# Of rows that went while they were leased.
FORGOTTEN = "SELECT 1 FROM leases WHERE free_at <= :before LIMIT 1"
FORGET = "DELETE FROM leases WHERE free_at <= :before"


def acquire(
    tx: Tx, kind: Kind, items: Sequence[int], is_due: Callable[[Tx, int], bool], milliseconds: int = LEASE_MS
) -> list[int]:
    """Those of these rows that nobody else is at; they are the caller's for a while. `is_due` is
    asked of each that was free: since they were looked up, another one may have had it and be
    done."""
    until = tx.now + milliseconds
    free = [item for item in items if tx.one(TAKE, kind=kind, item=item, until=until, now=tx.now)]
    taken = [item for item in free if is_due(tx, item)]
    release(tx, kind, sorted(set(free) - set(taken)))
    return taken


def release(tx: Tx, kind: Kind, items: Sequence[int]) -> None:
    """The work is done: to be said in the transaction that writes down what came of it."""
    for item in items:
        tx.run(END, kind=kind, item=item)


def back_off(tx: Tx, kind: Kind, item: int) -> None:
    """The work has failed, and would again: nobody is at it for a while, which doubles."""
    row = tx.one(FAIL, kind=kind, item=item, now=tx.now)
    failures = int(row[0]) if row else 1
    pause = min(PAUSE_MS * 2 ** min(failures - 1, 20), LONGEST_MS)
    tx.run(PUT_OFF, kind=kind, item=item, until=tx.now + pause)


def are_forgotten(tx: Tx) -> bool:
    """Whether there is anything to `forget`."""
    return tx.one(FORGOTTEN, before=tx.now - FORGET_MS) is not None


def forget(tx: Tx) -> None:
    """Drops what has run out long ago."""
    tx.run(FORGET, before=tx.now - FORGET_MS)
