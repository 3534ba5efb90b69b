"""Records what becomes of submitted messages, from Postfix's log. Each machine reads its own log,
and all record in the database (decision 0277)."""

import asyncio
from collections.abc import Callable, Iterable
from functools import partial

import msgspec

from postroom.accounts import sent_mail
from postroom.accounts.sent_mail import Sender, Told
from postroom.db import Database
from postroom.errors import Busy
from postroom.log import log
from postroom.mailplane.postfix.deliveries import MOST_AT_ONCE, News

# Largest number of attempts that one transaction records.
BATCH = 500
# Calls after which an attempt is tried again whose message another node has not recorded yet, and
# the largest number of such attempts. Most of them belong to no submitted message.
PATIENCE = (2, 10, 60, 600)
MOST_EARLY = 10_000


class _Early(msgspec.Struct):
    """An attempt that waits for what another node records, and in which call it is tried."""

    told: Told
    tries: int
    at: int


class SentLog:
    """Each call records the attempts since the last call. `node_id` is 0 in an installation of one
    machine."""

    def __init__(self, database: Database, read: Callable[[], News], node_id: int = 0) -> None:
        self._database = database
        self._read = read
        self._node_id = node_id
        self._waiting: list[Told] = []
        self._senders: dict[str, Sender] = {}
        self._early: list[_Early] = []
        self._calls = 0
        self._reads_again = True
        self._is_more = False

    async def __call__(self) -> None:
        self._calls += 1
        while await self._read_on():
            pass
        self._reads_again = False
        await self._try_early()

    async def _read_on(self) -> bool:
        """Reads and records a portion of the log. Returns whether there may be more. What cannot be
        recorded now is tried in the next call, before more is read."""
        if not self._waiting:
            outcomes, messages = await asyncio.to_thread(self._read)
            self._waiting = [Told(*one) for one in outcomes]
            self._senders = {name: Sender(*one) for name, one in messages.items() if one}
            self._is_more = len(outcomes) >= MOST_AT_ONCE
        while self._waiting:
            batch = self._waiting[:BATCH]
            if self._reads_again:
                batch = await self._database.read_slow(partial(sent_mail.news, node_id=self._node_id, told=batch))
            if batch:
                self._wait(await self._record(batch))
            del self._waiting[:BATCH]
        return self._is_more

    async def _record(self, told: list[Told]) -> list[Told]:
        """Records a batch. If that fails, records each attempt alone, so that one that cannot be
        recorded stops neither the others nor the worker."""
        work = partial(sent_mail.record, node_id=self._node_id, told=told, senders=self._senders)
        try:
            return await self._database.write(work)
        except Busy:
            raise
        except Exception as error:
            if len(told) == 1:
                log.error("the fate of a message is not recorded", exc_info=error)
                return []
            return [early for one in told for early in await self._record([one])]

    def _wait(self, early: Iterable[Told], tries: int = 0) -> None:
        if self._node_id and tries < len(PATIENCE):
            self._early += [_Early(one, tries + 1, self._calls + PATIENCE[tries]) for one in early]
            del self._early[:-MOST_EARLY]

    async def _try_early(self) -> None:
        for tries in range(1, len(PATIENCE) + 1):
            due = [one for one in self._early if one.at <= self._calls and one.tries == tries]
            for batch in (due[start : start + BATCH] for start in range(0, len(due), BATCH)):
                left = await self._record([one.told for one in batch])
                done = set(map(id, batch))
                self._early = [one for one in self._early if id(one) not in done]
                self._wait(left, tries)
