"""A machine joins the others when it starts: it says how they reach it, and gets what they know it by.

A stranger would get wrong: the data directory has a number in it, because a node's name alone must not let another
machine, which has none of its mail, take its place.
"""

import os
import socket
from functools import partial
from pathlib import Path

from postroom import nodes
from postroom.db import Database
from postroom.errors import Refused
from postroom.mailplane import authority
from postroom.mailplane.render import OwnNode
from postroom.nodes import Node, Ports
from postroom.settings import Settings

FOLDER = "node"


def join(database: Database, settings: Settings) -> tuple[OwnNode | None, int]:
    """What this node is, and how many accounts it has taken over just now. None where there is one machine. Raises
    Refused."""
    if not settings.node:
        if database.write_alone(nodes.everything):
            raise Refused(
                "node_missing",
                "There are several machines on this database (`postroom nodes list`): set POSTROOM_NODE to the name of"
                " this one.",
            )
        return None, 0
    kept = settings.data / "db" / FOLDER
    ports = Ports(settings.imaps_port, settings.pop3s_port, settings.sieve_port)
    try:
        begin = partial(nodes.begin, name=settings.node, folder=_read(kept), ports=ports)
        node, taken = database.write_alone(begin)
    except Refused as error:
        if error.code != "unknown_node":
            raise
        raise Refused(
            "unknown_node", f"There is no node {settings.node} yet: postroom nodes add {settings.node} ADDRESS"
        ) from None
    _keep(kept, node.folder or "")
    return _own(node, database, settings), taken


def _own(node: Node, database: Database, settings: Settings) -> OwnNode:
    known = database.write_alone(nodes.authority)
    others = database.write_alone(nodes.everything)
    certificate, key = authority.certificate(known.certificate, known.private_key, node.host, node.address)
    bind = node.address if _is_local(node.address) else ""
    if bind and not {bind, "0.0.0.0", "::"} & set(settings.listen_addresses):  # noqa: S104
        raise Refused(
            "node_unreachable", f"The others reach this node at {bind}: POSTROOM_MAIL_HOST must listen there."
        )
    return OwnNode(
        id=node.id,
        host=node.host,
        port=node.port,
        certificate=certificate,
        key=key,
        authority=known.certificate,
        secret=authority.secret(known.private_key),
        bind=bind,
        trusted=tuple(sorted(other.address for other in others)),
    )


def _is_local(address: str) -> bool:
    """Whether it is this machine's, and not that of a router before it."""
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
