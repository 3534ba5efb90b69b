"""Moves: transfers of accounts from one node to another, as rows that say how far each one is.

    copy ──▶ frozen ──▶ clean ──▶ (no row)

The source is the account's home until the transaction of `switch`, which begins `clean`. Any
earlier failure leaves the account on the source, and a crash leaves the phase that says how to
continue (mover.py). A move that is cancelled before the switch is not over yet: the source may be
copying, or may have sealed the mailbox. The source takes the move back. What the target has
received becomes a row of its own (`node_leftovers`), so that the account waits for no node that is
away (decision 0121).
"""

from typing import Literal

import msgspec

from postroom import events, leases
from postroom.actor import Actor
from postroom.cluster import nodes
from postroom.db import Row, Tx
from postroom.errors import Refused

Phase = Literal["copy", "frozen", "clean"]
STATES = ("copy", "frozen", "clean", "cancelled")

COLUMNS = "account_moves.account_id, source, target, phase, messages, copied, reason, cancelled"
ACCOUNT = """
SELECT organization_id, domain_id, user_id, address, status FROM accounts
WHERE id = :account_id AND (deleted_at IS NULL OR EXISTS (
  SELECT 1 FROM hidden_accounts WHERE hidden_accounts.account_id = accounts.id AND ended_at IS NULL))"""
INSERT = f"""
INSERT INTO account_moves (account_id, source, target, phase, created_at)
SELECT account_id, node_id, :target, 'copy', :now FROM account_homes
WHERE account_id = :account_id AND node_id <> :target
ON CONFLICT (account_id) DO NOTHING RETURNING {COLUMNS}"""
GET = f"SELECT {COLUMNS} FROM account_moves WHERE account_id = :account_id"
# Moves that wait for this node: it has the mail, or the rest of it after the switch.
DUE = f"""
SELECT {COLUMNS} FROM account_moves
WHERE source = :node
  AND NOT EXISTS (SELECT 1 FROM leases WHERE kind = 'move' AND item = account_moves.account_id AND free_at > :now)
ORDER BY CASE phase WHEN 'frozen' THEN 0 ELSE 1 END, account_id LIMIT 1"""
# Accounts on a node that have no move.
LEFT = """
SELECT account_id FROM account_homes JOIN accounts ON accounts.id = account_homes.account_id
WHERE node_id = :node AND (deleted_at IS NULL OR (
    SELECT 1 FROM hidden_accounts WHERE hidden_accounts.account_id = accounts.id AND ended_at IS NULL) IS NOT NULL)
  AND (SELECT 1 FROM account_moves WHERE account_moves.account_id = account_homes.account_id) IS NULL
ORDER BY account_id LIMIT :limit"""
ALL = f"SELECT {COLUMNS} FROM account_moves WHERE account_id > 0 ORDER BY account_id"
COUNT = """
SELECT CASE cancelled WHEN 1 THEN 'cancelled' ELSE phase END, COUNT(*) FROM account_moves WHERE account_id > 0
GROUP BY 1"""
COUNT_LEFTOVERS = "SELECT COUNT(*) FROM node_leftovers WHERE node_id > 0"
LEAVING = "SELECT account_id FROM account_moves WHERE source = :node AND phase IN ('copy', 'frozen')"
THAW = "UPDATE account_moves SET phase = 'copy', reason = :reason WHERE account_id = :account_id AND phase = 'frozen'"
GO_ON = """
UPDATE account_moves SET phase = :phase, reason = NULL
WHERE account_id = :account_id AND phase = :from_phase AND cancelled = 0 RETURNING account_id"""
CANCEL = """
UPDATE account_moves SET cancelled = 1 WHERE account_id = :account_id AND phase IN ('copy', 'frozen')
RETURNING account_id"""
TAKE_BACK = """
DELETE FROM account_moves WHERE account_id = :account_id AND target = :target AND phase <> 'clean'
RETURNING account_id"""
TELL = "UPDATE account_moves SET messages = :messages, copied = :copied WHERE account_id = :account_id"
EXPLAIN = "UPDATE account_moves SET reason = :reason WHERE account_id = :account_id"
DELETE = "DELETE FROM account_moves WHERE account_id = :account_id"


class Move(msgspec.Struct, frozen=True):
    """One move. `messages` is the number of messages of the account; `copied` is how many of them
    are on the target already."""

    account_id: int
    source: int
    target: int
    phase: Phase
    messages: int
    copied: int
    reason: str | None
    cancelled: bool

    @property
    def state(self) -> str:
        """The phase in one word for people; `cancelled` for a cancelled move."""
        return "cancelled" if self.cancelled else self.phase


def request(tx: Tx, account_id: int, target: str) -> Move:
    """Requests a move, which the worker of the node with the mail carries out. Requesting the same
    move again changes nothing. Returns the move.

    Raises `unknown_account`, `unknown_node`, `node_not_ready`, `already_there`, `move_under_way`.
    """
    node = nodes.get(tx, target)
    nodes.lock_home(tx, account_id)
    if not is_wanted(tx, account_id):
        raise Refused("unknown_account", f"There is no account {account_id}.")
    if node.draining or node.seen_at is None:
        raise Refused("node_not_ready", f"{target} is being drained." if node.draining else f"Start {target} first.")
    if nodes.is_left(tx, account_id, node.id):
        raise Refused("move_under_way", f"The copy of a cancelled move on {target} is not erased yet: try again later.")
    row = tx.one(INSERT, account_id=account_id, target=node.id, now=tx.now)
    if row is not None:
        return _from_row(row)
    move = get(tx, account_id)
    if move is None:
        raise Refused("already_there", f"The account is already on {target}.")
    if move.target != node.id or move.cancelled:
        raise Refused(
            "move_under_way", "The account is already being moved, or an earlier copy is being erased: try again later."
        )
    return move


def request_more(tx: Tx, source: str, at_once: int) -> int:
    """Requests moves of the accounts left on a drained node, each to the node with the fewest
    accounts at that time, until `at_once` moves are under way. Returns the number under way: 0 if
    nothing is left.

    Raises `unknown_node`, `node_in_use`, `node_not_ready`.
    """
    node = nodes.get(tx, source)
    if not node.draining:
        raise Refused("node_in_use", f"{source} takes new accounts: `postroom nodes drain {source}` first.")
    under_way = len(tx.all(LEAVING, node=node.id))
    for (account_id,) in tx.all(LEFT, node=node.id, limit=max(at_once - under_way, 0)):
        target = nodes.get(tx, nodes.lightest(tx))
        if not nodes.is_left(tx, account_id, target.id):
            request(tx, account_id, target.name)
        under_way += 1
    return under_way


def get(tx: Tx, account_id: int) -> Move | None:
    """Returns the move of an account; None if there is none."""
    row = tx.one(GET, account_id=account_id)
    return _from_row(row) if row else None


def everything(tx: Tx) -> list[Move]:
    """Returns every move."""
    return [_from_row(row) for row in tx.all(ALL)]


def by_state(tx: Tx) -> dict[str, int]:
    """Returns the number of moves by state. Cancelled moves whose copy is not erased yet count
    too."""
    found = dict.fromkeys(STATES, 0) | dict(tx.all(COUNT))
    for (left,) in tx.all(COUNT_LEFTOVERS):
        found["cancelled"] += left
    return found


def next_due(tx: Tx, node: int) -> Move | None:
    """Returns the move that this node must continue, frozen accounts first, because their users are
    waiting. None if there is none."""
    row = tx.one(DUE, node=node, now=tx.now)
    return _from_row(row) if row else None


def is_wanted(tx: Tx, account_id: int) -> bool:
    """Whether the account is still live."""
    return tx.one(ACCOUNT, account_id=account_id) is not None


def freeze(tx: Tx, account_id: int) -> bool:
    """Freezes the account: from the commit on, nobody can log in and nothing is delivered. Returns
    False if the move is not in phase `copy` any more, or is cancelled."""
    return tx.one(GO_ON, account_id=account_id, from_phase="copy", phase="frozen") is not None


def thaw(tx: Tx, account_id: int, reason: str) -> None:
    """Opens the account on the source again and returns the move to phase `copy`, because the
    switch failed."""
    tx.run(THAW, account_id=account_id, reason=reason)


def explain(tx: Tx, account_id: int, reason: str) -> None:
    """Records why the move does not continue."""
    tx.run(EXPLAIN, account_id=account_id, reason=reason)


def cancel(tx: Tx, account_id: int) -> Move | None:
    """Cancels a move, so that the account stays on its source. Returns the move; None if the
    account has no move.

    Raises `unknown_account`, `already_there`.
    """
    if tx.one(CANCEL, account_id=account_id) is not None:
        leases.release(tx, "move", [account_id])
        return get(tx, account_id)
    move = get(tx, account_id)
    if move is not None:
        raise Refused("already_there", "The account is already on its new node: it can only be moved back.")
    if not is_wanted(tx, account_id):
        raise Refused("unknown_account", f"There is no account {account_id}.")
    return None


def take_back(tx: Tx, move: Move) -> None:
    """Ends a cancelled move with the account on its source. The target then erases its copy."""
    nodes.lock_home(tx, move.account_id)
    if tx.one(TAKE_BACK, account_id=move.account_id, target=move.target) is None:
        return
    nodes.leave_behind(tx, move.account_id, move.target)
    leases.release(tx, "move", [move.account_id])
    _record(tx, "account.move_cancelled", move.account_id)


def switch(tx: Tx, move: Move) -> bool:
    """Makes the target the account's home from the commit on. Returns False if the account was not
    frozen, or the move is cancelled."""
    if tx.one(GO_ON, account_id=move.account_id, from_phase="frozen", phase="clean") is None:
        return False
    if not nodes.relocate(tx, move.account_id, move.source, move.target):
        raise LookupError("a frozen account that is not at its source")
    _record(tx, "account.moved", move.account_id)
    return True


def tell(tx: Tx, account_id: int, messages: int, copied: int) -> None:
    """Records the progress of the copy."""
    tx.run(TELL, account_id=account_id, messages=messages, copied=copied)


def is_cancelled(tx: Tx, account_id: int) -> bool:
    """Whether the move is cancelled or gone."""
    move = get(tx, account_id)
    return move is None or move.cancelled


def finish(tx: Tx, account_id: int) -> None:
    """Deletes the move, which is complete."""
    tx.run(DELETE, account_id=account_id)
    leases.release(tx, "move", [account_id])


def _record(tx: Tx, type_: str, account_id: int) -> None:
    row = tx.one(ACCOUNT, account_id=account_id)
    if row is None:
        return
    organization_id, domain_id, user_id, address, status = row
    events.record(
        tx,
        Actor(organization_id),
        type_,
        account_id=account_id,
        domain_id=domain_id,
        user_id=user_id,
        data={"address": address, "status": status},
    )


def _from_row(row: Row) -> Move:
    values = (*row[:-1], row[-1] == 1)
    return Move(*values)
