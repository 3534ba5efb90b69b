"""Leases of background work. Only one worker works on a row at a time, and a row that keeps
failing does not stop the others.

A lease is a time. A worker that dies during its work releases nothing: the lease expires and the
work is still due. A failure leaves the row itself unchanged; it is counted here, and the worker
backs off from the row (decision 0093).
"""

from collections.abc import Callable, Sequence
from typing import Literal

from postroom.db import Tx

Kind = Literal[
    "session",
    "check",
    "claim",
    "alias",
    "credential",
    "key",
    "purge",
    "answer",
    "move",
    "leftover",
    "house",
    "webhook",
    "passing",
]

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
BACK_OFF = "UPDATE leases SET free_at = :until WHERE kind = :kind AND item = :item"
# For leases of rows that were deleted while leased.
FORGOTTEN = "SELECT 1 FROM leases WHERE free_at <= :before LIMIT 1"
FORGET = "DELETE FROM leases WHERE free_at <= :before"


def acquire(
    tx: Tx, kind: Kind, items: Sequence[int], is_due: Callable[[Tx, int], bool], milliseconds: int = LEASE_MS
) -> list[int]:
    """Leases the rows `items` that no other worker has, and returns them. The lease lasts
    `milliseconds`. `is_due` is called for each free row, because another worker may have finished
    the row since the caller looked it up."""
    until = tx.now + milliseconds
    free = [item for item in items if tx.one(TAKE, kind=kind, item=item, until=until, now=tx.now)]
    taken = [item for item in free if is_due(tx, item)]
    release(tx, kind, sorted(set(free) - set(taken)))
    return taken


def release(tx: Tx, kind: Kind, items: Sequence[int]) -> None:
    """Ends the leases of finished rows. Call it in the transaction that records the result of the
    work."""
    for item in items:
        tx.run(END, kind=kind, item=item)


def back_off(tx: Tx, kind: Kind, item: int) -> None:
    """Backs off from a row whose work has failed: no worker takes the row for PAUSE_MS, doubled
    with each failure, at most LONGEST_MS."""
    row = tx.one(FAIL, kind=kind, item=item, now=tx.now)
    failures = int(row[0]) if row else 1
    pause = min(PAUSE_MS * 2 ** min(failures - 1, 20), LONGEST_MS)
    tx.run(BACK_OFF, kind=kind, item=item, until=tx.now + pause)


def are_forgotten(tx: Tx) -> bool:
    """Returns whether there is a lease for `forget` to drop."""
    return tx.one(FORGOTTEN, before=tx.now - FORGET_MS) is not None


def forget(tx: Tx) -> None:
    """Drops the leases that expired more than FORGET_MS ago."""
    tx.run(FORGET, before=tx.now - FORGET_MS)
