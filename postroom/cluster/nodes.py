"""Nodes: several machines that run Postroom on one database. This module knows which nodes exist,
which node has the mail of an account, and where a new account is placed.

Without a row in `nodes` there is one machine (decision 0113), and no account has a home. The first
node that is added is the founder: the machine that was there before. The founder takes over every
account at its first start.
"""

import secrets
from collections.abc import Sequence

import msgspec

from postroom.cluster import node_trust
from postroom.db import Tx
from postroom.errors import Busy, Refused

SHARDS = 16
# In milliseconds. A node that has recorded no heartbeat for AWAY_MS counts as away.
HEARTBEAT_MS = 5_000
AWAY_MS = 30_000
# Nodes do not wait for a node that has been silent for longer than this, in milliseconds.
LIVE_MS = 12_000
FOLDER_BYTES = 16

COLUMNS = """nodes.id, name, address, port, founder, draining, folder, imaps_port, pop3s_port, sieve_port, seen_at,
  trusts,
  (SELECT COALESCE(SUM(accounts), 0) FROM node_loads WHERE node_id = nodes.id)"""
ALL = f"SELECT {COLUMNS} FROM nodes WHERE id > 0 ORDER BY id"
GET = f"SELECT {COLUMNS} FROM nodes WHERE name = :name"
LOCK = "UPDATE nodes SET address = address WHERE name = :name RETURNING id"
ADD = """
INSERT INTO nodes (name, address, port, founder, created_at)
SELECT :name, :address, :port, CASE WHEN EXISTS (SELECT 1 FROM nodes WHERE id > 0) THEN 0 ELSE 1 END, :now WHERE true
ON CONFLICT (name) DO UPDATE SET address = excluded.address, port = excluded.port, folder = NULL RETURNING id"""
ADD_LOAD = """
INSERT INTO node_loads (node_id, shard, accounts) VALUES (:id, :shard, :by)
ON CONFLICT (node_id, shard) DO UPDATE SET accounts = node_loads.accounts + excluded.accounts"""
DRAIN = "UPDATE nodes SET draining = :by WHERE name = :name RETURNING id"
IS_USED = """
SELECT 1 WHERE EXISTS (SELECT 1 FROM account_homes WHERE node_id = :id)
  OR EXISTS (SELECT 1 FROM account_moves WHERE source = :id OR target = :id)"""
LOCK_HOME = "UPDATE account_homes SET node_id = node_id WHERE account_id = :account_id RETURNING node_id"
# The home of an account never has a leftover of it.
LEFTOVER = """
SELECT account_id FROM node_leftovers
WHERE node_id = :node
  AND NOT EXISTS (SELECT 1 FROM leases WHERE kind = 'leftover' AND item = node_leftovers.account_id AND free_at > :now)
  AND NOT EXISTS (SELECT 1 FROM account_homes WHERE account_id = node_leftovers.account_id AND node_id = :node)
ORDER BY account_id LIMIT 1"""
LEFTOVERS = "SELECT account_id, node_id FROM node_leftovers WHERE node_id > 0 ORDER BY account_id"
IS_LEFT = "SELECT 1 FROM node_leftovers WHERE node_id = :node AND account_id = :account_id"
LEAVE_BEHIND = """
INSERT INTO node_leftovers (account_id, node_id) VALUES (:account_id, :node) ON CONFLICT DO NOTHING"""
FORGET_LEFTOVER = "DELETE FROM node_leftovers WHERE node_id = :node AND account_id = :account_id"
HAS_LEFTOVERS = "SELECT 1 FROM node_leftovers WHERE node_id = :id LIMIT 1"
REMOVE_LEFTOVERS = "DELETE FROM node_leftovers WHERE node_id = :id"
REMOVE_LOADS = "DELETE FROM node_loads WHERE node_id = :id"
REMOVE = "DELETE FROM nodes WHERE id = :id AND founder = 0"
BEGIN = """
UPDATE nodes SET folder = :folder, imaps_port = :imaps, pop3s_port = :pops, sieve_port = :sieve, seen_at = :now,
  trusts = 0
WHERE id = :id"""
TRUST = "UPDATE nodes SET trusts = :newest WHERE id = :id"
# Locks the founder's row: the founder is never removed and has the lowest id.
LOCK_ALL = "UPDATE nodes SET address = address WHERE id = (SELECT MIN(id) FROM nodes WHERE id > 0)"
SEE = "UPDATE nodes SET seen_at = :now WHERE id = :id"
FOUND = """
INSERT INTO account_homes (account_id, node_id)
SELECT id, :id FROM accounts WHERE id > 0 AND (deleted_at IS NULL OR purge_at IS NOT NULL OR (
  SELECT 1 FROM hidden_accounts WHERE hidden_accounts.account_id = accounts.id AND ended_at IS NULL) IS NOT NULL)
ON CONFLICT DO NOTHING RETURNING account_id"""
# The node with the fewest accounts. A node that is away is chosen only if all are away. A node that
# has never run cannot be reached by the others yet.
LIGHTEST = """
FROM nodes WHERE id > 0 AND draining = 0 AND seen_at IS NOT NULL
ORDER BY CASE WHEN seen_at < :away THEN 1 ELSE 0 END,
  (SELECT COALESCE(SUM(accounts), 0) FROM node_loads WHERE node_id = nodes.id), id LIMIT 1"""
NAME_OF_LIGHTEST = f"SELECT name {LIGHTEST}"
PLACE = f"""
INSERT INTO account_homes (account_id, node_id)
SELECT :account_id, id {LIGHTEST} RETURNING node_id"""
LEAVE = "DELETE FROM account_homes WHERE account_id = :account_id RETURNING node_id"
RELOCATE = """
UPDATE account_homes SET node_id = :target WHERE account_id = :account_id AND node_id = :source RETURNING account_id"""
# Nodes that may have a session of the account: during a move, both. The account's home comes first.
HOMES = f"""
SELECT {COLUMNS} FROM nodes WHERE id IN (
  SELECT node_id FROM account_homes WHERE account_id = :account_id
  UNION SELECT source FROM account_moves WHERE account_id = :account_id)
ORDER BY CASE WHEN id = (SELECT node_id FROM account_homes WHERE account_id = :account_id) THEN 0 ELSE 1 END"""
HOME = "SELECT node_id FROM account_homes WHERE account_id = :account_id"


class Node(msgspec.Struct, frozen=True):
    """One node. It reports its ports and `seen_at` (ms since 1970) itself; they are None before its
    first start. `trusts` is the number of the last certificate (node_trust.py) that the node knows;
    0 while it does not run."""

    id: int
    name: str
    address: str
    port: int
    founder: bool
    draining: bool
    folder: str | None
    imaps_port: int | None
    pop3s_port: int | None
    sieve_port: int | None
    seen_at: int | None
    trusts: int
    accounts: int

    @property
    def host(self) -> str:
        """The name in the node's certificate, which is not in the DNS."""
        return f"{self.name}.node.internal"

    def silence(self, now: int) -> int | None:
        """Returns the milliseconds since the node was last seen; None before its first start. Never
        negative, although clocks differ a little."""
        return None if self.seen_at is None else max(0, now - self.seen_at)

    def is_away(self, now: int) -> bool:
        return (self.silence(now) or 0) > AWAY_MS

    def is_live(self, now: int) -> bool:
        """Whether the node runs and was seen within the last LIVE_MS."""
        return self.trusts > 0 and self.seen_at is not None and now - self.seen_at < LIVE_MS


class Ports(msgspec.Struct, frozen=True):
    """The ports on which a node listens for the other nodes."""

    imaps: int
    pops: int
    sieve: int


def everything(tx: Tx) -> list[Node]:
    """Returns every node, in the order in which the nodes were added."""
    return [_from_row(row) for row in tx.all(ALL)]


def get(tx: Tx, name: str) -> Node:
    """Returns one node. Raises `unknown_node`."""
    row = tx.one(GET, name=name)
    if row is None:
        raise Refused("unknown_node", f"There is no node {name}: `postroom nodes list` shows them.")
    return _from_row(row)


def _from_row(row: tuple[object, ...]) -> Node:
    id_, name, address, port, founder, draining, *rest, accounts = row
    values = (id_, name, address, port, founder == 1, draining == 1, *rest, int(accounts))  # type: ignore[call-overload]
    return Node(*values)


def lightest(tx: Tx) -> str:
    """Returns the name of the node on which the next account is placed. Raises `node_not_ready`."""
    row = tx.one(NAME_OF_LIGHTEST, away=tx.now - AWAY_MS)
    if row is None:
        raise Refused("node_not_ready", "No node takes accounts: each is drained or was never started.")
    return str(row[0])


def add(tx: Tx, name: str, address: str, port: int) -> Node:
    """Adds a node. An existing node gets the new address and may start from another data directory,
    with a new key."""
    row = tx.one(ADD, name=name, address=address, port=port, now=tx.now)
    for shard in range(SHARDS if row else 0):
        tx.run(ADD_LOAD, id=row[0], shard=shard, by=0)  # type: ignore[index]
    return get(tx, name)


def drain(tx: Tx, name: str, draining: bool) -> Node:
    """Sets whether a node is draining: a draining node gets no new accounts. Raises
    `unknown_node`."""
    tx.run(DRAIN, name=name, by=int(draining))
    return get(tx, name)


def remove(tx: Tx, name: str) -> None:
    """Removes a node that has no mail. Leftovers of cancelled moves on a node that is away are
    forgotten too. Raises `unknown_node`, `node_in_use`."""
    lock_all(tx)
    node = get(tx, name)
    tx.run(LOCK, name=name)
    if node.founder:
        raise Refused("node_in_use", f"{name} is the first node and stays: drain it instead.")
    if not node.draining or tx.one(IS_USED, id=node.id):
        raise Refused(
            "node_in_use",
            f"{name} is not drained and empty: drain it, move its accounts, wait for the ends of moves and purges "
            "(`postroom accounts list-moves`).",
        )
    if not node.is_away(tx.now) and tx.one(HAS_LEFTOVERS, id=node.id):
        raise Refused("node_in_use", f"{name} is still erasing the copies of cancelled moves: try again in a moment.")
    node_trust.forget(tx, node.id)
    tx.run(REMOVE_LEFTOVERS, id=node.id)
    tx.run(REMOVE_LOADS, id=node.id)
    tx.run(REMOVE, id=node.id)


def begin(tx: Tx, name: str, folder: str | None, ports: Ports) -> tuple[Node, int]:
    """Starts a node: records how the others reach it. At its first start the founder takes over
    every account. Returns the node and the number of accounts taken over. `folder` is the number in
    the node's data directory, if there is one.

    Raises `unknown_node`, `node_elsewhere`, `founder_missing`.
    """
    tx.run(LOCK, name=name)
    node = get(tx, name)
    if node.folder is not None and node.folder != folder:
        raise Refused(
            "node_elsewhere",
            f"Node {name} has its mail in another data directory. If that directory was "
            "moved here or is lost for good: "
            f"`postroom nodes add {name} {node.address}`, then start again.",
        )
    if not node.founder and any(other.founder and other.seen_at is None for other in everything(tx)):
        raise Refused("founder_missing", "Start the first node first: it takes over the existing accounts.")
    taken = 0
    if node.founder and node.seen_at is None:
        taken = len(tx.all(FOUND, id=node.id))
        _count(tx, node.id, 0, taken)
    values = msgspec.structs.asdict(ports)
    tx.run(BEGIN, id=node.id, folder=folder or secrets.token_hex(FOLDER_BYTES), now=tx.now, **values)
    return get(tx, name), taken


def lock_all(tx: Tx) -> None:
    """Locks what the nodes know about each other until the end of the transaction."""
    tx.run(LOCK_ALL)


def trust(tx: Tx, id_: int, certificate: int) -> None:
    """Records that this node's daemons trust every certificate up to this number."""
    tx.run(TRUST, id=id_, newest=certificate)


def see(tx: Tx, id_: int) -> None:
    """Records that the node is alive now."""
    tx.run(SEE, id=id_, now=tx.now)


def place(tx: Tx, account_id: int, domain_id: int) -> None:
    """Gives a new account its home: the node with the fewest accounts. Raises Busy."""
    row = tx.one(PLACE, account_id=account_id, away=tx.now - AWAY_MS)
    if row is None:
        raise Busy("No node takes new accounts: each is drained or was never started.", 60)
    _count(tx, row[0], domain_id, 1)


def leave(tx: Tx, account_id: int) -> None:
    """Removes the account's home, because its last mail is erased."""
    row = tx.one(LEAVE, account_id=account_id)
    if row is not None:
        _count(tx, row[0], 0, -1)


def relocate(tx: Tx, account_id: int, source: int, target: int) -> bool:
    """Makes another node the account's home. Returns False if the source was not its home."""
    if tx.one(RELOCATE, account_id=account_id, source=source, target=target) is None:
        return False
    _count(tx, source, account_id, -1)
    _count(tx, target, account_id, 1)
    return True


def homes(tx: Tx, ids: Sequence[int]) -> dict[int, list[Node]]:
    """Returns the nodes that may have sessions of these accounts, by account id."""
    return {id_: [_from_row(row) for row in tx.all(HOMES, account_id=id_)] for id_ in ids}


def home(tx: Tx, account_id: int) -> int | None:
    """Returns the id of the account's home; None if there is only one machine, or if the account's
    mail is erased."""
    row = tx.one(HOME, account_id=account_id)
    return int(row[0]) if row else None


def lock_home(tx: Tx, account_id: int) -> None:
    """Locks the account's home until the end of the transaction."""
    tx.run(LOCK_HOME, account_id=account_id)


def leave_behind(tx: Tx, account_id: int, node: int) -> None:
    """Records that a cancelled move left something of the account on this node, which must be
    erased there."""
    tx.run(LEAVE_BEHIND, account_id=account_id, node=node)


def is_left(tx: Tx, account_id: int, node: int) -> bool:
    """Whether the node has a leftover of the account."""
    return tx.one(IS_LEFT, account_id=account_id, node=node) is not None


def leftovers(tx: Tx) -> list[tuple[int, int]]:
    """Returns every leftover as account id and node id."""
    return tx.all(LEFTOVERS)


def next_leftover(tx: Tx, node: int) -> int | None:
    """Returns an account of which this node has a leftover to erase and that no worker has leased;
    None if there is none."""
    row = tx.one(LEFTOVER, node=node, now=tx.now)
    return int(row[0]) if row else None


def forget_leftover(tx: Tx, node: int, account_id: int) -> None:
    """Deletes the record of a leftover that is erased."""
    tx.run(FORGET_LEFTOVER, node=node, account_id=account_id)


def _count(tx: Tx, node_id: int, by_what: int, by: int) -> None:
    tx.run(ADD_LOAD, id=node_id, shard=by_what % SHARDS, by=by)
