"""Revocations: sessions that must end. A change records them, the API ends the sessions before it
answers, and the worker ends them once more, because a login that was under way at the commit
appears only after the first time (decision 0002).

A session belongs to a generation of its account. Ending generation 3 cannot affect a session that
logged in with the new password, because that session is of generation 4.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

from postroom import events
from postroom.actor import Actor
from postroom.db import Tx

AGAIN_MS = 3_000
RETRY_MS = 10_000
# The `credential_id` of the account's own password. App passwords have ids from 1.
MAIN_PASSWORD = 0

INSERT = """
INSERT INTO session_endings (account_id, generation, credential_id, protocol, due_at)
VALUES (:account_id, :generation, :credential_id, :protocol, :due_at)"""
INSERT_DOMAIN = """
INSERT INTO session_endings (account_id, generation, due_at)
SELECT id, generation, :due_at FROM accounts WHERE domain_id = :domain_id AND deleted_at IS NULL"""
# Organizations take turns, so that an organization with many revocations does not delay the others.
DUE = """
SELECT id, account_id, generation, credential_id, protocol FROM (
  SELECT session_endings.id, session_endings.account_id, session_endings.generation,
    session_endings.credential_id, session_endings.protocol, session_endings.due_at,
    ROW_NUMBER() OVER (PARTITION BY accounts.organization_id ORDER BY due_at, session_endings.id) AS turn
  FROM session_endings JOIN accounts ON accounts.id = session_endings.account_id
  WHERE session_endings.due_at <= :now AND NOT EXISTS (
    SELECT 1 FROM leases WHERE kind = 'session' AND item = session_endings.id AND free_at > :now)
    AND (CAST(:node AS BIGINT) IS NULL OR EXISTS (SELECT 1 FROM account_homes
      WHERE account_id = session_endings.account_id AND node_id = :node))) AS waiting
ORDER BY turn, due_at, id LIMIT :limit"""
IS_DUE = "SELECT 1 FROM session_endings WHERE id = :id AND due_at <= :now"
DELETE = "DELETE FROM session_endings WHERE id = :id RETURNING account_id, late"
LATE = """
UPDATE session_endings SET late = 1 WHERE account_id = :account_id AND generation = :generation
  AND COALESCE(credential_id, -1) = COALESCE(CAST(:credential_id AS BIGINT), -1)
  AND COALESCE(protocol, '') = COALESCE(CAST(:protocol AS TEXT), '') RETURNING id"""
CANCEL = """
DELETE FROM session_endings WHERE account_id = :account_id AND generation = :generation
  AND COALESCE(credential_id, -1) = COALESCE(CAST(:credential_id AS BIGINT), -1)
  AND COALESCE(protocol, '') = COALESCE(CAST(:protocol AS TEXT), '')"""
ACCOUNT = "SELECT organization_id, domain_id, user_id, address, status FROM accounts WHERE id = :id"
OLDEST = "SELECT due_at FROM session_endings WHERE due_at <= :now ORDER BY due_at LIMIT 1"
RESCHEDULE = "UPDATE session_endings SET due_at = :due_at WHERE id = :id"


class Ended(NamedTuple):
    """The sessions of one generation of an account; with `credential_id`, only those of this app
    password, or of MAIN_PASSWORD; with `protocol`, only those of this protocol."""

    account_id: int
    generation: int
    credential_id: int | None = None
    protocol: str | None = None


# Injected at the start. True: none of these sessions is left.
EndSessions = Callable[[Sequence[Ended]], Awaitable[bool]]


def end(
    tx: Tx, account_id: int, generation: int, credential_id: int | None = None, protocol: str | None = None
) -> Ended:
    """Records that these sessions must end, now and again after AGAIN_MS."""
    ended = Ended(account_id, generation, credential_id, protocol)
    tx.run(INSERT, **ended._asdict(), due_at=tx.now + AGAIN_MS)
    return ended


def cancel(tx: Tx, allowed: Ended) -> None:
    """Forgets the revocations of exactly these sessions, because they are allowed again. Otherwise
    the second time would end a session that has begun since."""
    tx.run(CANCEL, **allowed._asdict())


def end_soon(tx: Tx, account_id: int, generation: int, credential_id: int | None = None) -> None:
    """Records that the worker must end these sessions, now and again after AGAIN_MS."""
    for due_at in (tx.now, tx.now + AGAIN_MS):
        tx.run(INSERT, **Ended(account_id, generation, credential_id)._asdict(), due_at=due_at)


def end_domain(tx: Tx, domain_id: int) -> None:
    """Records that the worker must end the sessions of every account on a domain, now and again
    after AGAIN_MS."""
    for due_at in (tx.now, tx.now + AGAIN_MS):
        tx.run(INSERT_DOMAIN, domain_id=domain_id, due_at=due_at)


def due(tx: Tx, limit: int = 200, node: int | None = None) -> list[tuple[int, Ended]]:
    """Returns up to `limit` revocations, with their ids, that are due and that no worker has
    leased. With `node`, only revocations of accounts whose home is this node."""
    return [(row[0], Ended(*row[1:])) for row in tx.all(DUE, now=tx.now, limit=limit, node=node)]


def is_due(tx: Tx, id_: int) -> bool:
    """Whether a revocation is still due."""
    return tx.one(IS_DUE, id=id_, now=tx.now) is not None


def oldest_due(tx: Tx) -> int | None:
    """Returns when the oldest due revocation became due (ms since 1970); None if none is due."""
    row = tx.one(OLDEST, now=tx.now)
    return int(row[0]) if row else None


def complete(tx: Tx, ids: Sequence[int]) -> None:
    """Deletes revocations that were carried out. Records an event only where the API had to answer
    that the sessions had not ended."""
    for id_ in ids:
        row = tx.one(DELETE, id=id_)
        if row and row[1] and (account := tx.one(ACCOUNT, id=row[0])):
            organization_id, domain_id, user_id, address, status = account
            events.record(
                tx,
                Actor(organization_id),
                "account.sessions_ended",
                account_id=row[0],
                domain_id=domain_id,
                user_id=user_id,
                data={"address": address, "status": status},
            )


def mark_late(tx: Tx, ended: Sequence[Ended]) -> bool:
    """Marks revocations that the API could not carry out before it answered. Returns False if the
    worker has carried them out in the meantime, or if they were cancelled."""
    found = [tx.one(LATE, **one._asdict()) for one in ended]
    return any(found)


def reschedule(tx: Tx, ids: Sequence[int]) -> None:
    """Schedules another try after RETRY_MS, because these revocations could not be carried out."""
    for id_ in ids:
        tx.run(RESCHEDULE, id=id_, due_at=tx.now + RETRY_MS)
