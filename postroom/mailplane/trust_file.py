"""Two files about the other nodes: in one the worker tells the supervisor what it knows of them, in
the other the supervisor notes what it has given to the daemons.

The worker runs as the system user, but its data goes into files that the daemons' masters read as
root. So only data of the expected form is accepted (decision 0179).
"""

import hashlib
import ipaddress
import os
import re
import stat
from pathlib import Path

import msgspec

from postroom.mailplane.render import OwnNode

TOLD = "node.json"
GIVEN = "nodes.given"
LONGEST_BYTES = 2**20
HOST = re.compile(r"[a-z0-9-]{1,63}\.node\.internal")
SECRET = re.compile(r"[0-9a-f]{64}")


class NotUsable(Exception):
    """The data about the nodes cannot be used. The text says why."""


def told(data: Path) -> OwnNode | None:
    """Returns the node that the worker has written, or None if it has written nothing yet. Raises
    NotUsable."""
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
    check_form(found)
    return found


def tell(data: Path, node: OwnNode) -> None:
    """Writes what this node knows to the file for the supervisor."""
    path = data / "db" / TOLD
    draft = path.with_name(f"{TOLD}.new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(msgspec.json.encode(node))
    draft.replace(path)


def check(node: OwnNode) -> None:
    """Raises NotUsable for a value that could have another meaning in a daemon's file."""
    from cryptography import x509

    from postroom.mailplane import node_pair

    check_form(node)
    try:
        node_pair.read(node.key + node.certificate)
        x509.load_pem_x509_certificates(node.bundle.encode())
    except ValueError as error:
        raise NotUsable(f"a node's certificate or key: {error}") from None


def check_form(node: OwnNode) -> None:
    """As `check`, for all but certificates and key. Raises NotUsable."""
    try:
        for address in (node.bind, *node.trusted, *(peer.address for peer in node.peers)):
            if address:
                ipaddress.ip_address(address)
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
    """Returns a digest that differs for each state of the node."""
    return hashlib.sha256(msgspec.json.encode(node)).hexdigest()


def given(data: Path) -> str:
    """Returns the digest of the state that the daemons use; empty if they have none yet."""
    try:
        return (data / "tls" / GIVEN).read_text(encoding="ascii").strip()
    except FileNotFoundError:
        return ""


def give(data: Path, node: OwnNode) -> None:
    """Records that the daemons now use this state."""
    path = data / "tls" / GIVEN
    draft = path.with_name(f"{GIVEN}.new")
    draft.write_text(f"{digest(node)}\n", encoding="ascii")
    draft.chmod(0o644)
    draft.replace(path)
