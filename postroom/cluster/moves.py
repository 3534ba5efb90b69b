"""Moves: accounts on their way from one node to another, as rows that say how far each is.

    copy ──▶ frozen ──▶ clean ──▶ (no row)

The account is at home on the source until the one transaction of `switch`, which begins `clean`.
Whatever fails before leaves it there, and a crash leaves the phase that says how to go on
(mover.py). A move that is cancelled before is not over yet: the source may be copying, or have
sealed the mailbox. It takes the move back, and what the target has got is a row of its own
(`node_leftovers`), so that the account waits for no node that is away (decision 0121).
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
WHERE source = :node
  AND NOT EXISTS (SELECT 1 FROM leases WHERE kind = 'move' AND item = account_moves.account_id AND free_at > :now)
ORDER BY CASE phase WHEN 'frozen' THEN 0 ELSE 1 END, account_id LIMIT 1"""
# Accounts of a node that nobody has asked to move.
LEFT = """
SELECT account_id FROM account_homes JOIN accounts ON accounts.id = account_homes.account_id
WHERE node_id = :node AND deleted_at IS NULL
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
    """An account on its way. `messages`: so many it has; `copied`: so many are there already."""

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
        """Its phase in a word for people."""
        return "cancelled" if self.cancelled else self.phase


def request(tx: Tx, account_id: int, target: str) -> Move:
    """Asks for a move; the worker of the node that has the mail carries it out. The same one twice
    is one.

    Raises `unknown_account`, `unknown_node`, `node_not_ready`, `already_there`,
    `move_under_way`.
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
    """Asks for moves of what is left on a drained node, each to the node that has the fewest
    accounts then, until so many are under way. Answers how many are: 0 when nothing is left.

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
    """The move of an account, if it is on its way."""
    row = tx.one(GET, account_id=account_id)
    return _from_row(row) if row else None


def everything(tx: Tx) -> list[Move]:
    """Every move."""
    return [_from_row(row) for row in tx.all(ALL)]


def by_state(tx: Tx) -> dict[str, int]:
    """How many there are; of the cancelled ones also those whose copy is not erased yet."""
    found = dict.fromkeys(STATES, 0) | dict(tx.all(COUNT))
    for (left,) in tx.all(COUNT_LEFTOVERS):
        found["cancelled"] += left
    return found


def next_due(tx: Tx, node: int) -> Move | None:
    """What this node must go on with: first what is frozen, which somebody waits for."""
    row = tx.one(DUE, node=node, now=tx.now)
    return _from_row(row) if row else None


def is_wanted(tx: Tx, account_id: int) -> bool:
    """Whether the account is still alive."""
    return tx.one(ACCOUNT, account_id=account_id) is not None


def freeze(tx: Tx, account_id: int) -> bool:
    """From here on nobody logs in and nothing is delivered. False: it is no longer being copied,
    or cancelled."""
    return tx.one(GO_ON, account_id=account_id, from_phase="copy", phase="frozen") is not None


def thaw(tx: Tx, account_id: int, reason: str) -> None:
    """It could not be switched: the account is where it was, and open."""
    tx.run(THAW, account_id=account_id, reason=reason)


def explain(tx: Tx, account_id: int, reason: str) -> None:
    """Why it does not go on."""
    tx.run(EXPLAIN, account_id=account_id, reason=reason)


def cancel(tx: Tx, account_id: int) -> Move | None:
    """The move is to end where it began: nobody goes on with it. None: the account is not on its
    way.

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
    """Ends a move with the account on its source. The target erases its copy."""
    nodes.lock_home(tx, move.account_id)
    if tx.one(TAKE_BACK, account_id=move.account_id, target=move.target) is None:
        return
    nodes.leave_behind(tx, move.account_id, move.target)
    leases.release(tx, "move", [move.account_id])
    _record(tx, "account.move_cancelled", move.account_id)


def switch(tx: Tx, move: Move) -> bool:
    """The one moment from which on the account is at home on the target. False: it was not
    frozen, or cancelled."""
    if tx.one(GO_ON, account_id=move.account_id, from_phase="frozen", phase="clean") is None:
        return False
    if not nodes.relocate(tx, move.account_id, move.source, move.target):
        raise LookupError("a frozen account that is not at its source")
    _record(tx, "account.moved", move.account_id)
    return True


def tell(tx: Tx, account_id: int, messages: int, copied: int) -> None:
    """How far it is."""
    tx.run(TELL, account_id=account_id, messages=messages, copied=copied)


def is_cancelled(tx: Tx, account_id: int) -> bool:
    """Whether somebody has cancelled the move."""
    move = get(tx, account_id)
    return move is None or move.cancelled


def finish(tx: Tx, account_id: int) -> None:
    """Nothing is left to do."""
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
