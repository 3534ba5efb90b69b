"""Which certificates the nodes believe each other: those that stand beside the nodes, and no
others.

Deleting a row ends the trust in its node: the other nodes forget it within seconds. All rows share
one secret, encrypted in each row for its own key (decision 0178). A deletion clears the secret, and
the nodes make another.
"""

from collections.abc import Sequence

import msgspec

from postroom.db import Tx
from postroom.errors import Refused

ALL = "SELECT id, node_id, certificate, secret FROM node_certificates WHERE id > 0 ORDER BY id"
OF_NODE = "SELECT certificate FROM node_certificates WHERE node_id = :node_id ORDER BY id"
PUBLISH = """
INSERT INTO node_certificates (node_id, certificate, created_at) VALUES (:node_id, :certificate, :now) RETURNING id"""
FORGET = "DELETE FROM node_certificates WHERE node_id = :node_id"
FORGET_OTHERS = "DELETE FROM node_certificates WHERE node_id = :node_id AND id <> :id"
SEAL = "UPDATE node_certificates SET secret = :secret WHERE id = :id"
CLEAR = "UPDATE node_certificates SET secret = NULL WHERE id > 0"


class Trusted(msgspec.Struct, frozen=True):
    """A certificate (PEM) of a node. `secret`: sealed for its key; None until somebody has done
    that."""

    id: int
    node_id: int
    certificate: str
    secret: str | None


def everything(tx: Tx) -> list[Trusted]:
    """Every certificate, in the order in which they were published."""
    return [Trusted(*row) for row in tx.all(ALL)]


def join(tx: Tx, node_id: int, candidates: Sequence[str], is_open: bool) -> str:
    """A node starts and holds the keys of these certificates, the preferred one first. Answers
    the one that it is known by. One that is not known yet is published, if the node has none, or
    if the operator has allowed another (`is_open`), which ends the trust in those that it had.
    Raises `node_elsewhere`."""
    known = [certificate for (certificate,) in tx.all(OF_NODE, node_id=node_id)]
    for candidate in candidates:
        if candidate in known:
            return candidate
    if known and not is_open:
        raise Refused(
            "node_elsewhere",
            "The other nodes know this one by a key that is not in its data directory "
            "(db/node.pem). If the key is lost: "
            "`postroom nodes add` with its name and address, then start again.",
        )
    if known:
        forget(tx, node_id)
    publish(tx, node_id, candidates[0])
    return candidates[0]


def publish(tx: Tx, node_id: int, certificate: str) -> int:
    """From now on the nodes believe this certificate too."""
    row = tx.one(PUBLISH, node_id=node_id, certificate=certificate, now=tx.now)
    return int(row[0]) if row else 0


def keep_only(tx: Tx, node_id: int, id_: int) -> None:
    """Of a node's certificates the others have run out of use."""
    tx.run(FORGET_OTHERS, node_id=node_id, id=id_)


def forget(tx: Tx, node_id: int) -> None:
    """Nobody believes this node any more, and the secret that it knows is no longer one."""
    tx.run(FORGET, node_id=node_id)
    tx.run(CLEAR)


def seal(tx: Tx, id_: int, secret: str) -> None:
    """The secret, sealed for this certificate."""
    tx.run(SEAL, id=id_, secret=secret)
