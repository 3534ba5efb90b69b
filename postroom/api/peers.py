"""Who is connected to one process: how many connections an address has, and how many of them wait
for their client.

An address is counted as the limits of wrong keys count it: the /64 of an IPv6 address. A trusted
proxy speaks for many clients, so it is not bounded; the client that it names is (decision 0131).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from postroom.api.client_address import Network, trusts
from postroom.api.rate_limits import network_of


@dataclass(slots=True)
class Peer:
    """One address. `waiting` are the connections that wait for their client: for the rest of a
    request, or to take an answer."""

    address: str
    is_trusted: bool
    connections: int = 0
    waiting: int = 0


class Peers:
    """The addresses that are connected, and how many connections were refused and are about to
    end."""

    def __init__(self, trusted: Sequence[Network] = ()) -> None:
        self.trusted = trusted
        self._peers: dict[str, Peer] = {}
        self.refused = 0

    def of(self, address: str) -> Peer:
        """The peer with this address."""
        is_trusted = bool(self.trusted) and trusts(address, self.trusted)
        name = address if is_trusted else network_of(address)
        return self._peers.setdefault(name, Peer(name, is_trusted))

    def enter(self, address: str) -> Peer:
        """A connection begins."""
        peer = self.of(address)
        peer.connections += 1
        return peer

    def leave(self, peer: Peer) -> None:
        """A connection has ended."""
        peer.connections -= 1
        self._forget(peer)

    def release(self, peer: Peer) -> None:
        """A connection waits no longer."""
        peer.waiting -= 1
        self._forget(peer)

    def _forget(self, peer: Peer) -> None:
        if not peer.connections and not peer.waiting:
            self._peers.pop(peer.address, None)

    def largest(self) -> Peer:
        """The address with the most connections that is no trusted proxy."""
        strangers = (peer for peer in self._peers.values() if not peer.is_trusted)
        return max(strangers, key=lambda peer: peer.connections, default=Peer("", False))
