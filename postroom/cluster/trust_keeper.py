"""What a node does so that all nodes know each other: it publishes its certificate, publishes a new
one before the old one expires, shares the common secret with nodes that lack the secret, and says
which certificates to trust.

A node uses a new certificate only when every running node knows it, so that no node meets a
certificate that has not reached it. The secret is sealed for each certificate: read access to the
database is not enough to open it.
"""

import functools
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from postroom.cluster import digest_keys, node_trust, nodes
from postroom.cluster.node_trust import Trusted
from postroom.cluster.nodes import Node
from postroom.db import Database, Tx
from postroom.instance import digest_key
from postroom.log import log
from postroom.mailplane import node_pair, trust_file
from postroom.mailplane.node_pair import Pair
from postroom.mailplane.render import OwnNode, Peer

CURRENT, NEXT = "node.pem", "node.next.pem"


@dataclass(frozen=True)
class View:
    """The database at one moment; `now` is in milliseconds since 1970."""

    rows: list[Trusted]
    machines: dict[int, Node]
    now: int

    @classmethod
    def look(cls, tx: Tx) -> "View":
        machines = {node.id: node for node in nodes.everything(tx)}
        return cls([row for row in node_trust.everything(tx) if row.node_id in machines], machines, tx.now)

    def row(self, pair: Pair | None) -> Trusted | None:
        """Returns the row of a pair's certificate."""
        return next((row for row in self.rows if pair and row.certificate == pair.certificate), None)

    @property
    def newest(self) -> int:
        return max((row.id for row in self.rows), default=0)

    def good(self) -> list[tuple[Trusted, Node]]:
        """Returns the certificates that are valid for their own nodes and for nothing else."""
        found = [(row, self.machines[row.node_id]) for row in self.rows]
        return [(row, node) for row, node in found if _is_good(row.certificate, node.host, node.address)]


@functools.lru_cache(1024)
def _is_good(certificate: str, host: str, address: str) -> bool:
    try:
        node_pair.check(certificate, host, address)
    except ValueError as error:
        log.warning("node_certificate_refused", node=host, reason=str(error))
        return False
    return True


class Trusting:
    """Keeps one node's trust in the others, and theirs in it, up to date. `bind` is the node's own
    address that the others reach, or empty."""

    def __init__(self, node: Node, bind: str, data: Path) -> None:
        self._node = node
        self._bind = bind
        self._data = data
        self._pair = read(data, CURRENT)
        self._next = read(data, NEXT)
        self._secret = ""
        self._told = ""
        self._is_believed = True

    def act(self, tx: Tx, *, alone: bool = False) -> None:
        """Publishes the next certificate, shares the secret, and deletes this node's old
        certificates, as needed. With `alone`, does not wait for another node to share its
        secret."""
        nodes.lock_all(tx)
        view = View.look(tx)
        if not view.row(self._pair):
            return
        if self._next and not view.row(self._next):
            node_trust.publish(tx, self._node.id, self._next.certificate)
            view = View.look(tx)
        self._share(tx, view, alone)
        self._share_digest_key(tx, view)
        row = view.row(self._pair)
        if row and self._has_old(view) and self._is_given(view):
            node_trust.keep_only(tx, self._node.id, row.id)

    def _share(self, tx: Tx, view: View, alone: bool) -> None:
        rows = [row for row, _ in view.good()]
        secret, lacking = self._open(view), [row for row in rows if not row.secret]
        if not secret:
            others = [row for row in rows if row.secret and self._is_live(view, row.node_id)]
            if others and not alone:
                return
            secret, lacking = node_pair.new_secret(), rows
        for row in lacking:
            node_trust.seal(tx, row.id, node_pair.seal(secret, row.certificate))

    def _share_digest_key(self, tx: Tx, view: View) -> None:
        """The first node brings the key of its data directory, and so does a node whose key is that
        of all app passwords. Every other node waits for a running one that seals the key."""
        key = self.digest_key(view)
        if not key and (not any(row.digest_key for row in view.rows) or self._has_shared_key(tx)):
            key = digest_key.ensure(self._data)
        for row, _ in view.good():
            if key and not row.digest_key:
                node_trust.seal_digest_key(tx, row.id, node_pair.seal(key, row.certificate))

    def _has_shared_key(self, tx: Tx) -> bool:
        try:
            return digest_keys.is_shared(tx, digest_key.fingerprint(digest_key.read(self._data)))
        except (FileNotFoundError, ValueError):
            return False

    def _open(self, view: View) -> str:
        """Returns the secret; empty if it was not sealed for this node."""
        row = view.row(self._pair)
        return self._opened(row.secret) if row and row.secret else ""

    def digest_key(self, view: View) -> str:
        """Returns the key of app passwords; empty if it was not sealed for this node."""
        row = view.row(self._pair)
        return self._opened(row.digest_key) if row and row.digest_key else ""

    def _opened(self, sealed: str) -> str:
        try:
            return node_pair.open_sealed(sealed, self._pair.key) if self._pair else ""
        except ValueError:
            return ""

    def is_due(self, view: View) -> bool:
        """Whether `act` has work to do."""
        return view.row(self._pair) is not None and bool(
            (self._next and not view.row(self._next))
            or any(not row.secret or not row.digest_key for row, _ in view.good())
            or not self._open(view)
            or (self._has_old(view) and self._is_given(view))
        )

    def _has_old(self, view: View) -> bool:
        own = [row for row in view.rows if row.node_id == self._node.id]
        return not self._next and len(own) > 1

    def _is_given(self, view: View) -> bool:
        own = self.own(view)
        return own is not None and trust_file.given(self._data) == trust_file.digest(own)

    def _is_live(self, view: View, node_id: int) -> bool:
        return node_id != self._node.id and view.machines[node_id].is_live(view.now)

    def is_known(self, view: View, pair: Pair | None = None) -> bool:
        """Whether every other running node knows this node's certificate, or that of `pair`."""
        row = view.row(pair or self._pair)
        live = [node for node in view.machines.values() if self._is_live(view, node.id)]
        return row is not None and all(node.trusts >= row.id for node in live)

    def own(self, view: View) -> OwnNode | None:
        """Returns this node's identity and the nodes that it trusts. None if no node has shared the
        secret yet, or if the other nodes do not trust this node."""
        self._secret = self._open(view) or self._secret
        if not self._pair or not self._secret or not view.row(self._pair):
            return None
        good = view.good()
        known = {node.id: node for _, node in good}.values()
        return OwnNode(
            id=self._node.id,
            host=self._node.host,
            port=self._node.port,
            certificate=self._pair.certificate,
            key=self._pair.key,
            bundle="".join(row.certificate for row, _ in good),
            secret=self._secret,
            bind=self._bind,
            trusted=tuple(sorted(node.address for node in known)),
            peers=tuple(Peer(node.address, node.port, node.host) for node in known if node.id != self._node.id),
        )

    async def keep_on(self, database: Database) -> None:
        """Does one round: publishes, shares, tells the supervisor, and records what the daemons
        have been given."""
        view = await database.read(View.look)
        self._renew(view)
        if self.is_due(view):
            await database.write(self.act)
            view = await database.read(View.look)
        own = self.own(view)
        was_believed, self._is_believed = self._is_believed, own is not None
        if own is None:
            if was_believed:
                log.error("node_not_believed", node=self._node.name, help="postroom nodes list")
            return
        if trust_file.digest(own) != self._told:
            trust_file.tell(self._data, own)
            self._told = trust_file.digest(own)
        machine = view.machines[self._node.id]
        if trust_file.given(self._data) == self._told and machine.trusts != view.newest:
            await database.write(partial(nodes.trust, id_=self._node.id, certificate=view.newest))

    def _renew(self, view: View) -> None:
        """Makes the next pair when it is due, and switches to it once all running nodes know it."""
        if self._next and self.is_known(view, self._next) and self._knows_itself(view):
            (self._data / "db" / NEXT).replace(self._data / "db" / CURRENT)
            self._pair, self._next = self._next, None
            log.info("node_certificate_renewed", node=self._node.name)
        elif self._pair and not self._next and node_pair.is_due(self._pair.certificate, datetime.now(UTC)):
            self._next = node_pair.new(self._node.host, self._node.address)
            write(self._data, NEXT, self._next)

    def _knows_itself(self, view: View) -> bool:
        row = view.row(self._next)
        return row is not None and bool(row.secret) and view.machines[self._node.id].trusts >= row.id


def read(data: Path, name: str) -> Pair | None:
    """Returns a pair from the data directory; None if there is no readable pair."""
    try:
        return node_pair.read((data / "db" / name).read_text(encoding="ascii"))
    except (FileNotFoundError, ValueError):
        return None


def write(data: Path, name: str, pair: Pair) -> None:
    """Stores a pair, readable only by this user. The pair is on disk when the function returns."""
    path = data / "db" / name
    draft = path.with_name(f"{name}.draft")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
        file.write(pair.pem)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
