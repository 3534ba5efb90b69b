"""Records when a key was last used, apart from the requests: no request waits for the record or
fails because of it.

One write per minute and key is enough for any number of processes, because each process reads the
time of the last use together with the key.
"""

import asyncio

from postroom.actor import Actor
from postroom.auth import keys
from postroom.db import Database
from postroom.errors import Busy
from postroom.log import log


class LastUses:
    """The writes in progress: at most one for each key."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._tasks: dict[int | None, asyncio.Task[None]] = {}

    def add(self, actor: Actor) -> None:
        """Starts the write for the actor's key, unless one is in progress."""
        if actor.key_id not in self._tasks:
            task = self._tasks[actor.key_id] = asyncio.create_task(self._write(actor))
            task.add_done_callback(lambda _: self._tasks.pop(actor.key_id))

    async def _write(self, actor: Actor) -> None:
        try:
            await self._database.write(lambda tx: keys.use(tx, actor))
        except Busy as error:
            log.info("a key's last use is not written down", key_id=actor.key_id, reason=error.detail)
