"""The clients of one process: how many connections each address has, and how many of them wait for
their client.

Addresses are grouped as for the limit on wrong keys: an IPv6 address counts as its /64. A trusted
proxy speaks for many clients, so it has no bound; the client that the proxy names has one (decision
0131).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from postroom.api.client_address import Network, trusts
from postroom.api.rate_limits import network_of


@dataclass(slots=True)
class Peer:
    """One address. `waiting` is the number of connections that wait for their client to send the
    rest of a request or to take an answer."""

    address: str
    is_trusted: bool
    connections: int = 0
    waiting: int = 0


class Peers:
    """The connected addresses, and the number of refused connections that have not ended yet."""

    def __init__(self, trusted: Sequence[Network] = ()) -> None:
        self.trusted = trusted
        self._peers: dict[str, Peer] = {}
        self.refused = 0

    def of(self, address: str) -> Peer:
        """The peer with this address, made if it is new."""
        is_trusted = bool(self.trusted) and trusts(address, self.trusted)
        name = address if is_trusted else network_of(address)
        return self._peers.setdefault(name, Peer(name, is_trusted))

    def enter(self, address: str) -> Peer:
        """Counts a connection that begins, and returns its peer."""
        peer = self.of(address)
        peer.connections += 1
        return peer

    def leave(self, peer: Peer) -> None:
        """Counts a connection that has ended."""
        peer.connections -= 1
        self._forget(peer)

    def release(self, peer: Peer) -> None:
        """Counts a connection that no longer waits for its client."""
        peer.waiting -= 1
        self._forget(peer)

    def _forget(self, peer: Peer) -> None:
        if not peer.connections and not peer.waiting:
            self._peers.pop(peer.address, None)

    def largest(self) -> Peer:
        """The address with the most connections that is not a trusted proxy."""
        strangers = (peer for peer in self._peers.values() if not peer.is_trusted)
        return max(strangers, key=lambda peer: peer.connections, default=Peer("", False))
