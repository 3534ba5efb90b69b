"""Counts the mail of accounts whose quota has changed, or whose mailbox has crossed a threshold of
its quota, and records whether the mailbox is full."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

from postroom.accounts import quotas
from postroom.db import Database, Tx
from postroom.errors import MailUnavailable, Refused
from postroom.mailboxes.interface import Size

# Largest number of accounts in a round, and of failures after which a round ends.
BATCH = 200
FAILURES = 3


class QuotaCounts:
    """Each call does the work that is due. `read_warnings` returns the accounts with a quota
    warning since its last call, and `count` asks Dovecot for the size of a mailbox."""

    def __init__(
        self,
        database: Database,
        read_warnings: Callable[[], set[int]],
        count: Callable[[int], Awaitable[Size]],
        node: int | None = None,
    ) -> None:
        self._database = database
        self._read_warnings = read_warnings
        self._count = count
        self._node = node
        self._warned: set[int] = set()

    async def __call__(self) -> None:
        self._warned |= await asyncio.to_thread(self._read_warnings)
        due = await self._database.read(partial(quotas.due, limit=BATCH, node=self._node))
        failures = 0
        for id_ in sorted(self._warned | due.keys()):
            failures += not await self._record(id_, due.get(id_))
            self._warned.discard(id_)
            if failures >= FAILURES:
                return

    async def _record(self, id_: int, due_at: int | None) -> bool:
        """Counts the mail of one account. Returns False if Dovecot did not answer: then the account
        is due again later."""
        try:
            size = await self._count(id_)
        except MailUnavailable:
            await self._database.write(partial(quotas.postpone, id_=id_))
            return False
        except Refused:  # the account was deleted
            size = None

        def work(tx: Tx) -> None:
            if size is not None:
                quotas.record_usage(tx, None, id_, size)
            if due_at is not None:
                quotas.finish(tx, id_, due_at)

        if due_at is not None or (size and await self._database.read(partial(quotas.is_news, id_=id_, size=size))):
            await self._database.write(work)
        return True
