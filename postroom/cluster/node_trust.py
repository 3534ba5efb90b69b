"""The certificates that the nodes trust: the certificates stored with the nodes, and no others.

Deleting a row ends the trust in its node: the other nodes forget the certificate within seconds.
All rows share one secret, encrypted in each row for that row's key (decision 0178). A deletion
clears the secret, and the nodes make a new one. The key of app passwords is shared in the same way,
and stays (decision 0251).
"""

from collections.abc import Sequence

import msgspec

from postroom.db import Tx
from postroom.errors import Refused

ALL = "SELECT id, node_id, certificate, secret, digest_key FROM node_certificates WHERE id > 0 ORDER BY id"
OF_NODE = "SELECT certificate FROM node_certificates WHERE node_id = :node_id ORDER BY id"
PUBLISH = """
INSERT INTO node_certificates (node_id, certificate, created_at) VALUES (:node_id, :certificate, :now) RETURNING id"""
FORGET = "DELETE FROM node_certificates WHERE node_id = :node_id"
FORGET_OTHERS = "DELETE FROM node_certificates WHERE node_id = :node_id AND id <> :id"
SEAL_DIGEST_KEY = "UPDATE node_certificates SET digest_key = :digest_key WHERE id = :id"
SEAL = "UPDATE node_certificates SET secret = :secret WHERE id = :id"
CLEAR = "UPDATE node_certificates SET secret = NULL WHERE id > 0"


class Trusted(msgspec.Struct, frozen=True):
    """A node's certificate (PEM). `secret` and `digest_key` are sealed for its key; None until a
    node has sealed them."""

    id: int
    node_id: int
    certificate: str
    secret: str | None
    digest_key: str | None


def everything(tx: Tx) -> list[Trusted]:
    """Returns every certificate, in the order of publication."""
    return [Trusted(*row) for row in tx.all(ALL)]


def join(tx: Tx, node_id: int, candidates: Sequence[str], is_open: bool) -> str:
    """Called when a node starts. The node holds the keys of `candidates`, the preferred certificate
    first. Returns the certificate that the other nodes know the node by. An unknown certificate is
    published if the node has none, or if the operator has allowed another (`is_open`), which ends
    the trust in the node's old certificates. Raises `node_elsewhere`."""
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
    """Makes the nodes trust this certificate too. Returns its number."""
    row = tx.one(PUBLISH, node_id=node_id, certificate=certificate, now=tx.now)
    return int(row[0]) if row else 0


def keep_only(tx: Tx, node_id: int, id_: int) -> None:
    """Deletes the node's other certificates, which are out of use."""
    tx.run(FORGET_OTHERS, node_id=node_id, id=id_)


def forget(tx: Tx, node_id: int) -> None:
    """Ends the trust in a node, and clears the shared secret, which that node knows."""
    tx.run(FORGET, node_id=node_id)
    tx.run(CLEAR)


def seal(tx: Tx, id_: int, secret: str) -> None:
    """Stores the secret, sealed for this certificate."""
    tx.run(SEAL, id=id_, secret=secret)


def seal_digest_key(tx: Tx, id_: int, digest_key: str) -> None:
    """Stores the key of app passwords, sealed for this certificate."""
    tx.run(SEAL_DIGEST_KEY, id=id_, digest_key=digest_key)
