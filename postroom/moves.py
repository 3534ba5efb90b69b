"""Moves: accounts on their way from one node to another, as rows that say how far each is.

    copy ──▶ frozen ──▶ clean ──▶ (no row)      cancelled ──▶ (no row)

A stranger would get wrong: the account is at home on the source until the one transaction of `switch`, which begins
`clean`. Whatever fails before leaves it there, and a crash leaves the phase that says how to go on (moving.py).
"""

from typing import Literal

import msgspec

from postroom import events, nodes
from postroom.actor import Actor
from postroom.db import Row, Tx
from postroom.errors import Refused

Phase = Literal["copy", "frozen", "clean", "cancelled"]

COLUMNS = "account_moves.account_id, source, target, phase, messages, copied, reason"
ACCOUNT = """
SELECT organization_id, domain_id, user_id, address, status FROM accounts
WHERE id = :account_id AND deleted_at IS NULL"""
INSERT = f"""
INSERT INTO account_moves (account_id, source, target, phase, created_at)
SELECT account_id, node_id, :target, 'copy', :now FROM account_homes
WHERE account_id = :account_id AND node_id <> :target
ON CONFLICT (account_id) DO NOTHING RETURNING {COLUMNS}"""
GET = f"SELECT {COLUMNS} FROM account_moves WHERE account_id = :account_id"
# Those that wait for this node: it has the mail, or what is left of it.
DUE = f"""
SELECT {COLUMNS} FROM account_moves
WHERE source = :node AND phase <> 'cancelled'
  AND NOT EXISTS (SELECT 1 FROM leases WHERE kind = 'move' AND item = account_moves.account_id AND free_at > :now)
ORDER BY CASE phase WHEN 'frozen' THEN 0 ELSE 1 END, account_id LIMIT 1"""
DUE_HERE = f"""
SELECT {COLUMNS} FROM account_moves
WHERE target = :node AND phase = 'cancelled'
  AND NOT EXISTS (SELECT 1 FROM leases WHERE kind = 'move' AND item = account_moves.account_id AND free_at > :now)
LIMIT 1"""
# Accounts of a node that nobody has asked to move.
LEFT = """
SELECT account_id FROM account_homes JOIN accounts ON accounts.id = account_homes.account_id
WHERE node_id = :node AND deleted_at IS NULL
  AND (SELECT 1 FROM account_moves WHERE account_moves.account_id = account_homes.account_id) IS NULL
ORDER BY account_id LIMIT :limit"""
LEAVING = "SELECT account_id FROM account_moves WHERE source = :node AND phase IN ('copy', 'frozen')"
SET_PHASE = """
UPDATE account_moves SET phase = :phase, reason = :reason WHERE account_id = :account_id AND phase = :from_phase
RETURNING account_id"""
TELL = "UPDATE account_moves SET messages = :messages, copied = :copied WHERE account_id = :account_id"
EXPLAIN = "UPDATE account_moves SET reason = :reason WHERE account_id = :account_id"
DELETE = "DELETE FROM account_moves WHERE account_id = :account_id"


class Move(msgspec.Struct, frozen=True):
    """An account on its way. `messages`: so many it has; `copied`: so many are there already."""

    account_id: int
    source: int
    target: int
    phase: Phase
    messages: int
    copied: int
    reason: str | None


def request(tx: Tx, account_id: int, target: str) -> Move:
    """Asks for a move; the worker of the node that has the mail carries it out. The same one twice is one.

    Raises `unknown_account`, `unknown_node`, `node_not_ready`, `already_there`, `move_under_way`.
    """
    node = nodes.get(tx, target)
    if tx.one(ACCOUNT, account_id=account_id) is None:
        raise Refused("unknown_account", f"There is no account {account_id}.")
    if node.draining or node.seen_at is None:
        raise Refused("node_not_ready", f"{target} is being drained." if node.draining else f"Start {target} first.")
    row = tx.one(INSERT, account_id=account_id, target=node.id, now=tx.now)
    if row is not None:
        return _from_row(row)
    move = get(tx, account_id)
    if move is None:
        raise Refused("already_there", f"The account is on {target} already.")
    if move.target != node.id or move.phase == "cancelled":
        raise Refused(
            "move_under_way", "The account is on its way already, or what an earlier move has left is erased."
        )
    return move


def request_more(tx: Tx, source: str, at_once: int) -> int:
    """Asks for moves of what is left on a drained node, each to the node that has the fewest accounts then, until so
    many are under way. Answers how many are: 0 when nothing is left.

    Raises `unknown_node`, `node_in_use`, `node_not_ready`.
    """
    node = nodes.get(tx, source)
    if not node.draining:
        raise Refused("node_in_use", f"{source} takes new accounts: `postroom nodes drain {source}` first.")
    under_way = len(tx.all(LEAVING, node=node.id))
    for (account_id,) in tx.all(LEFT, node=node.id, limit=max(at_once - under_way, 0)):
        request(tx, account_id, nodes.lightest(tx))
        under_way += 1
    return under_way


def get(tx: Tx, account_id: int) -> Move | None:
    """The move of an account, if it is on its way."""
    row = tx.one(GET, account_id=account_id)
    return _from_row(row) if row else None


def next_due(tx: Tx, node: int) -> Move | None:
    """What this node must go on with: first what is frozen, which somebody waits for."""
    row = tx.one(DUE, node=node, now=tx.now) or tx.one(DUE_HERE, node=node, now=tx.now)
    return _from_row(row) if row else None


def is_wanted(tx: Tx, account_id: int) -> bool:
    """Whether the account is still alive."""
    return tx.one(ACCOUNT, account_id=account_id) is not None


def freeze(tx: Tx, account_id: int) -> bool:
    """From here on nobody logs in and nothing is delivered. False: it is no longer being copied."""
    return _set_phase(tx, account_id, "copy", "frozen", None)


def thaw(tx: Tx, account_id: int, reason: str) -> None:
    """It could not be switched: the account is where it was, and open."""
    _set_phase(tx, account_id, "frozen", "copy", reason)


def explain(tx: Tx, account_id: int, reason: str) -> None:
    """Why it does not go on."""
    tx.run(EXPLAIN, account_id=account_id, reason=reason)


def cancel(tx: Tx, account_id: int) -> None:
    """The account is gone: what was copied is erased."""
    _set_phase(tx, account_id, "copy", "cancelled", None)


def switch(tx: Tx, move: Move) -> bool:
    """The one moment from which on the account is at home on the target. False: it was not frozen."""
    if not _set_phase(tx, move.account_id, "frozen", "clean", None):
        return False
    if not nodes.relocate(tx, move.account_id, move.source, move.target):
        raise LookupError("a frozen account that is not at its source")
    if row := tx.one(ACCOUNT, account_id=move.account_id):
        organization_id, domain_id, user_id, address, status = row
        events.record(
            tx,
            Actor(organization_id),
            "account.moved",
            account_id=move.account_id,
            domain_id=domain_id,
            user_id=user_id,
            data={"address": address, "status": status},
        )
    return True


def tell(tx: Tx, account_id: int, messages: int, copied: int) -> None:
    """How far it is."""
    tx.run(TELL, account_id=account_id, messages=messages, copied=copied)


def finish(tx: Tx, account_id: int) -> None:
    """Nothing is left to do."""
    tx.run(DELETE, account_id=account_id)


def _set_phase(tx: Tx, account_id: int, from_phase: Phase, phase: Phase, reason: str | None) -> bool:
    values = {"account_id": account_id, "from_phase": from_phase, "phase": phase, "reason": reason}
    return tx.one(SET_PHASE, **values) is not None


def _from_row(row: Row) -> Move:
    return Move(*row)
