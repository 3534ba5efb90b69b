"""Postfix's table of the other nodes and the names in their certificates."""

from collections.abc import Iterable


def table(peers: Iterable[tuple[str, int, str]]) -> str:
    """Returns the table for peers (address, port, name). If two nodes have the same address and
    port, neither is trusted."""
    known = [(_place(address, port), name) for address, port, name in peers]
    places = [place for place, _ in known]
    lines = [f"{place} verify match={name}" for place, name in known if places.count(place) == 1]
    return "\n".join(["# The name in the certificate of each node. Postroom writes this file.", *lines, ""])


def _place(address: str, port: int) -> str:
    """Returns the address and port of a node in the form of the view mail_homes."""
    return f"[ipv6:{address}]:{port}" if ":" in address else f"[{address}]:{port}"
