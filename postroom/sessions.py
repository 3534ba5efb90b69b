"""Login sessions that must end: written with the change, carried out by the API before it answers, and once more
by the worker, because a login that was under way at the commit shows up only after the first time.

A stranger would get wrong: a session belongs to a generation of its account. Ending generation 3 cannot hurt a
session that logged in with the new password, which is of generation 4.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

from postroom.db import Tx

AGAIN_MS = 3_000
RETRY_MS = 10_000

INSERT = "INSERT INTO session_endings (account_id, generation, due_at) VALUES (:account_id, :generation, :due_at)"
DUE = "SELECT id, account_id, generation FROM session_endings WHERE due_at <= :now ORDER BY due_at, id LIMIT 200"
DELETE = "DELETE FROM session_endings WHERE id = :id"
OLDEST = "SELECT due_at FROM session_endings WHERE due_at <= :now ORDER BY due_at LIMIT 1"
POSTPONE = "UPDATE session_endings SET due_at = :due_at WHERE id = :id"


class Ended(NamedTuple):
    """The sessions of one generation of an account."""

    account_id: int
    generation: int


# Given by whoever wires the parts together. True: none of these has a session left.
EndSessions = Callable[[Sequence[tuple[int, int]]], Awaitable[bool]]


def end(tx: Tx, account_id: int, generation: int) -> Ended:
    """Writes down that the sessions of this generation must end, now and once more soon."""
    tx.run(INSERT, account_id=account_id, generation=generation, due_at=tx.now + AGAIN_MS)
    return Ended(account_id, generation)


def due(tx: Tx) -> list[tuple[int, Ended]]:
    """Endings that the worker must carry out now, with their ids."""
    return [(row[0], Ended(row[1], row[2])) for row in tx.all(DUE, now=tx.now)]


def oldest_due(tx: Tx) -> int | None:
    """Since when the ending that waits longest is due."""
    row = tx.one(OLDEST, now=tx.now)
    return int(row[0]) if row else None


def settle(tx: Tx, ids: Sequence[int]) -> None:
    """Carried out."""
    for id_ in ids:
        tx.run(DELETE, id=id_)


def postpone(tx: Tx, ids: Sequence[int]) -> None:
    """Could not be carried out; the worker tries again."""
    for id_ in ids:
        tx.run(POSTPONE, id=id_, due_at=tx.now + RETRY_MS)
