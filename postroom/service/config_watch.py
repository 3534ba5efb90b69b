"""Keeps the daemons' files of a node up to date while the daemons run. The worker finds out about
the other nodes; the supervisor writes the files.
"""

import asyncio
from collections.abc import Callable

from postroom.instance.system_user import Identity
from postroom.mailplane import trust_file
from postroom.mailplane.daemons import Unusable
from postroom.mailplane.render import OwnNode
from postroom.mailplane.trust_file import NotUsable
from postroom.service import configuration, processes
from postroom.settings import Settings

PAUSE_SECONDS = 1.0


class Following:
    """Keeps the daemons' files in line with the last state that the worker has written."""

    def __init__(
        self,
        settings: Settings,
        identity: Identity,
        postgres: dict[str, str] | None,
        node: OwnNode,
        say: Callable[[str], None],
    ) -> None:
        self._settings = settings
        self._identity = identity
        self._postgres = postgres
        self._node = node
        self._say = say
        self._complaint = ""

    async def keep_on(self, reload: Callable[[], None]) -> None:
        """Runs until cancelled. `reload` makes the daemons read their files again."""
        trust_file.give(self._settings.data, self._node)
        while True:
            await asyncio.sleep(PAUSE_SECONDS)
            try:
                found = trust_file.told(self._settings.data)
                if found and found != self._node:
                    await self._follow(found, reload)
                self._complaint = ""
            except (NotUsable, Unusable, OSError) as error:
                self._complain(str(error))

    async def _follow(self, found: OwnNode, reload: Callable[[], None]) -> None:
        own = self._node
        if (found.id, found.host, found.port, found.bind) != (own.id, own.host, own.port, own.bind):
            raise NotUsable("this node's address or port has changed since its start: restart it")
        part = processes.configure(self._settings)
        order = configuration.Order(self._identity, found.secret, self._postgres, found, renews=True)
        if await asyncio.to_thread(configuration.write, part, order):
            reload()
        self._node = found
        trust_file.give(self._settings.data, found)

    def _complain(self, reason: str) -> None:
        """Prints a reason once, until the reason changes."""
        if reason != self._complaint:
            self._complaint = reason
            self._say(f"This node cannot update what it knows of the other nodes: {reason}")
