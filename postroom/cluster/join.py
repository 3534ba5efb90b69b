"""A machine joins the other nodes when it starts: it publishes how they reach it, and stores the
number and the key that they know it by.

The data directory contains the number, because a node's name alone must not let another machine,
which has none of the node's mail, take its place. The key lies there too.
"""

import os
import socket
import time
from functools import partial
from pathlib import Path

from postroom.cluster import node_trust, nodes, trust_keeper
from postroom.cluster.nodes import Node, Ports
from postroom.cluster.trust_keeper import CURRENT, NEXT, Trusting, View
from postroom.db import Database, Tx
from postroom.errors import Refused
from postroom.instance import digest_key
from postroom.mailplane import node_pair
from postroom.mailplane.node_pair import Pair
from postroom.mailplane.render import OwnNode
from postroom.settings import Settings

FOLDER = "node"
# Maximum wait, in seconds, until the running nodes know a new node. Each node looks once a second.
WAIT_SECONDS = 20.0
PAUSE_SECONDS = 0.1


def join(database: Database, settings: Settings) -> tuple[OwnNode | None, int]:
    """Returns this node and the number of accounts that it has just taken over. None if there is
    only one machine. Raises Refused."""
    if not settings.node:
        if database.write_sync(nodes.everything):
            raise Refused(
                "node_missing",
                "There are several machines on this database (`postroom nodes list`): set POSTROOM_NODE to the name of"
                " this one.",
            )
        return None, 0
    kept = settings.data / "db" / FOLDER
    ports = Ports(settings.imaps_port, settings.pop3s_port, settings.sieve_port)
    try:
        wanted = database.write_sync(partial(nodes.get, name=settings.node))
    except Refused as error:
        if error.code != "unknown_node":
            raise
        raise Refused(
            "unknown_node", f"There is no node {settings.node} yet: postroom nodes add {settings.node} ADDRESS"
        ) from None
    pairs = _pairs(wanted, settings.data)

    def begin(tx: Tx) -> tuple[Node, int, str]:
        nodes.lock_all(tx)
        before = nodes.get(tx, wanted.name)
        node, taken = nodes.begin(tx, wanted.name, _read(kept), ports)
        certificates = [pair.certificate for pair in pairs]
        return node, taken, node_trust.join(tx, node.id, certificates, before.folder is None)

    node, taken, known = database.write_sync(begin)
    _keep(kept, node.folder or "")
    _keep_pair(settings.data, pairs, known)
    return _wait(database, trusting_of(node, settings), settings.data), taken


def address_of_own(node: Node, settings: Settings) -> str:
    """Returns the address at which the other nodes reach this one, if the address belongs to this
    machine; empty if it belongs to a router in front of the machine. Raises `node_unreachable`."""
    bind = node.address if _is_local(node.address) else ""
    if bind and not {bind, "0.0.0.0", "::"} & set(settings.listen_addresses):  # noqa: S104
        raise Refused(
            "node_unreachable", f"The other nodes reach this node at {bind}: POSTROOM_MAIL_HOST must listen there."
        )
    return bind


def trusting_of(node: Node, settings: Settings) -> Trusting:
    """Returns the object that makes this node known to the other nodes."""
    return Trusting(node, address_of_own(node, settings), settings.data)


def _pairs(node: Node, data: Path) -> list[Pair]:
    """Returns the pairs in this data directory that are valid for the node's name and address, the
    current pair first. Without a valid pair, makes one and stores it as the next pair."""
    found = []
    for name in (CURRENT, NEXT):
        pair = trust_keeper.read(data, name)
        try:
            if pair:
                node_pair.check(pair.certificate, node.host, node.address)
                found.append(pair)
        except ValueError:
            if name == NEXT:  # for another address; it would be used later
                (data / "db" / NEXT).unlink()
    if not found:
        found.append(node_pair.new(node.host, node.address))
        trust_keeper.write(data, NEXT, found[0])
    return found


def _keep_pair(data: Path, pairs: list[Pair], known: str) -> None:
    """Makes the pair that the other nodes know this node by the current pair."""
    (pair,) = (pair for pair in pairs if pair.certificate == known)
    if trust_keeper.read(data, CURRENT) != pair:
        trust_keeper.write(data, CURRENT, pair)
    if trust_keeper.read(data, NEXT) == pair:
        (data / "db" / NEXT).unlink()


def _wait(database: Database, part: Trusting, data: Path) -> OwnNode:
    """Waits until the other nodes know this node and this node knows the shared secret and the key
    of app passwords, which it stores, or until WAIT_SECONDS are over. Returns this node. Raises
    `node_elsewhere`, `digest_key_missing`."""
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        late = time.monotonic() > deadline
        database.write_sync(partial(part.act, alone=late))
        view = database.write_sync(View.look)
        own, key = part.own(view), part.digest_key(view)
        if own and key and (late or part.is_known(view)):
            digest_key.replace(data, key)
            return own
        if late and not own:
            raise Refused("node_elsewhere", "This node was taken from the others while it started.")
        if late:
            raise Refused(
                "digest_key_missing", "No running node has shared the key of app passwords: start another one."
            )
        time.sleep(PAUSE_SECONDS)


def _is_local(address: str) -> bool:
    """Whether the address belongs to this machine, and not to a router in front of it."""
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
    return True


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        return None


def _keep(path: Path, number: str) -> None:
    if _read(path) == number:
        return
    draft = path.with_name(f"{path.name}.new")
    with draft.open("w", encoding="ascii") as file:
        file.write(f"{number}\n")
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
