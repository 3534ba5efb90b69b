"""Ending sessions, wherever they are: through the Dovecot of this machine, and through those of
other nodes.

The session is where the mailbox is. A node that a client has connected to and that only
passes it on has nothing to end; its half goes with the other one.
"""

import asyncio
from collections.abc import Sequence
from functools import partial

from postroom.cluster import nodes
from postroom.cluster.nodes import Node
from postroom.db import Database
from postroom.errors import Busy
from postroom.mailplane.dovecot import doveadm
from postroom.mailplane.dovecot.doveadm import DoveadmEndpoint
from postroom.mailplane.dovecot.kick_batcher import Endings
from postroom.settings import Settings


class Doorkeeper:
    """Ends login sessions, with the key of Dovecot's present life."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self._settings = settings
        self._database = database
        self._endings = Endings()

    async def __call__(self, sessions: Sequence[tuple[int, int]]) -> bool:
        """Ends these, by account and generation. True: none of them has a session left."""
        if self._settings.mail == "off":
            return True
        if not self._settings.node:
            return await self._end(None, sessions)
        try:
            homes = await self._database.read(partial(nodes.homes, ids=[id_ for id_, _ in sessions]))
        except Busy:
            return False
        at: dict[Node, list[tuple[int, int]]] = {}
        for id_, generation in sessions:
            for node in homes.get(id_, ()):
                at.setdefault(node, []).append((id_, generation))
        return all(await asyncio.gather(*(self._end(node, there) for node, there in at.items())))

    async def doors(self, account_id: int) -> list[DoveadmEndpoint | None]:
        """The endpoints of the nodes that may have sessions of an account; the node with its mail
        is first."""
        if not self._settings.node:
            return [self.door(None)]
        homes = await self._database.read(partial(nodes.homes, ids=[account_id]))
        return [self.door(node) for node in homes[account_id]]

    async def _end(self, node: Node | None, sessions: Sequence[tuple[int, int]]) -> bool:
        door = self.door(node)
        return door is not None and await self._endings.end(door, sessions)

    def door(self, node: Node | None) -> DoveadmEndpoint | None:
        """How Dovecot of a node is reached; None: it has not started yet."""
        own = doveadm.local(self._settings.data / "run")
        if own is None or node is None or node.name == self._settings.node:
            return own
        bundle = self._settings.data / "tls" / "nodes.pem"
        return DoveadmEndpoint(own.key, address=node.address, port=node.port + 1, host=node.host, bundle=bundle)
