"""Ends sessions on any node: through the Dovecot of this machine and through those of other nodes.

A session runs on the node that has the mailbox. A node that only proxies the client's connection
has nothing to end: its half closes with the other half.
"""

import asyncio
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from postroom.cluster import nodes
from postroom.cluster.nodes import Node
from postroom.db import Database
from postroom.errors import Busy
from postroom.mailboxes.session_revocations import Ended
from postroom.mailplane.dovecot import doveadm
from postroom.mailplane.dovecot.doveadm import DoveadmEndpoint
from postroom.mailplane.dovecot.kick_batcher import KickBatcher
from postroom.settings import Settings


class SessionTerminator:
    """Ends login sessions, with the doveadm key of the running Dovecot."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self._settings = settings
        self._database = database
        self._kick_batcher = KickBatcher()

    @property
    def sockets(self) -> Path:
        """The folder of the sockets of this machine's Dovecot."""
        return self._settings.data / "run" / "dovecot"

    async def __call__(self, sessions: Sequence[Ended]) -> bool:
        """Ends sessions. Returns True if none of them is left."""
        if self._settings.mail == "off":
            return True
        if not self._settings.node:
            return await self._end(None, sessions)
        try:
            homes = await self._database.read(partial(nodes.homes, ids=[one.account_id for one in sessions]))
        except Busy:
            return False
        at: dict[Node, list[Ended]] = {}
        for one in sessions:
            for node in homes.get(one.account_id, ()):
                at.setdefault(node, []).append(one)
        return all(await asyncio.gather(*(self._end(node, there) for node, there in at.items())))

    async def endpoints(self, account_id: int) -> list[DoveadmEndpoint | None]:
        """Returns the endpoints of the nodes that may have sessions of an account, the account's
        home first. None stands for a Dovecot that has not started yet."""
        if not self._settings.node:
            return [self.endpoint(None)]
        homes = await self._database.read(partial(nodes.homes, ids=[account_id]))
        return [self.endpoint(node) for node in homes[account_id]]

    async def _end(self, node: Node | None, sessions: Sequence[Ended]) -> bool:
        endpoint = self.endpoint(node)
        return endpoint is not None and await self._kick_batcher.end(endpoint, sessions)

    def endpoint(self, node: Node | None) -> DoveadmEndpoint | None:
        """Returns the doveadm endpoint of a node; None if Dovecot has not started yet."""
        own = doveadm.local(self._settings.data / "run")
        if own is None or node is None or node.name == self._settings.node:
            return own
        bundle = self._settings.data / "tls" / "nodes.pem"
        return DoveadmEndpoint(own.key, address=node.address, port=node.port + 1, host=node.host, bundle=bundle)
