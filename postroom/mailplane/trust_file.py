"""What a node knows of the others, as its worker tells the supervisor, and what the supervisor has
given the daemons.

The worker runs as the system user, and what it writes ends up in files that the daemons' masters
read as root. So nothing is taken that is not of the expected form (decision 0179).
"""

import hashlib
import ipaddress
import os
import re
import stat
from pathlib import Path

import msgspec
from cryptography import x509

from postroom.mailplane import node_pair
from postroom.mailplane.render import OwnNode

TOLD = "node.json"
GIVEN = "nodes.given"
LONGEST_BYTES = 2**20
HOST = re.compile(r"[a-z0-9-]{1,63}\.node\.internal")
SECRET = re.compile(r"[0-9a-f]{64}")


class NotUsable(Exception):
    """What a node is said to know cannot be used; the text says why."""


def told(data: Path) -> OwnNode | None:
    """What the worker has said; None before it has said anything. Raises NotUsable."""
    try:
        descriptor = os.open(data / "db" / TOLD, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise NotUsable(str(error)) from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise NotUsable(f"{TOLD} is no file")
    with os.fdopen(descriptor, "rb") as file:
        content = file.read(LONGEST_BYTES)
    try:
        found = msgspec.json.decode(content, type=OwnNode)
    except msgspec.DecodeError as error:
        raise NotUsable(str(error)) from None
    check(found)
    return found


def tell(data: Path, node: OwnNode) -> None:
    """Writes it, for the supervisor alone."""
    path = data / "db" / TOLD
    draft = path.with_name(f"{TOLD}.new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(msgspec.json.encode(node))
    draft.replace(path)


def check(node: OwnNode) -> None:
    """Raises NotUsable for anything that could mean something else in a daemon's file."""
    try:
        for address in (node.bind, *node.trusted, *(peer.address for peer in node.peers)):
            if address:
                ipaddress.ip_address(address)
        node_pair.read(node.key + node.certificate)
        x509.load_pem_x509_certificates(node.bundle.encode())
    except ValueError as error:
        raise NotUsable(str(error)) from None
    hosts = [node.host, *(peer.host for peer in node.peers)]
    ports = [node.port, *(peer.port for peer in node.peers)]
    if not all(map(HOST.fullmatch, hosts)) or not all(0 < port < 65536 for port in ports):
        raise NotUsable("a node's name or port")
    if not SECRET.fullmatch(node.secret):
        raise NotUsable("the nodes' secret")
    if "%" in "".join((node.bind, *node.trusted)):
        raise NotUsable("an address with a zone")


def digest(node: OwnNode) -> str:
    """Tells one state of knowledge from another."""
    return hashlib.sha256(msgspec.json.encode(node)).hexdigest()


def given(data: Path) -> str:
    """The digest of what the daemons work with; empty while they do not."""
    try:
        return (data / "tls" / GIVEN).read_text(encoding="ascii").strip()
    except FileNotFoundError:
        return ""


def give(data: Path, node: OwnNode) -> None:
    """The daemons work with this now."""
    path = data / "tls" / GIVEN
    draft = path.with_name(f"{GIVEN}.new")
    draft.write_text(f"{digest(node)}\n", encoding="ascii")
    draft.chmod(0o644)
    draft.replace(path)
