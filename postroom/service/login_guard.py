"""Counts the wrong passwords of which Dovecot's log tells, and ends attacks that are over. All
machines count in the database (decision 0264)."""

import asyncio
from collections import Counter
from collections.abc import Callable
from functools import partial

from postroom.accounts import login_attacks, login_failures
from postroom.accounts.login_failures import Attempt, Bounds
from postroom.db import Database
from postroom.errors import Busy
from postroom.log import log
from postroom.mailplane.dovecot.logins import Failure
from postroom.settings import Settings, split

# Largest number of different attempts that one transaction counts, and that wait while the database
# cannot be written.
BATCH = 200
MOST = 10_000


def bounds(settings: Settings) -> Bounds:
    """Returns the bounds of the settings."""
    proxies = tuple(split(settings.login_proxies))
    return Bounds(settings.login_account_failures, settings.login_address_failures, proxies)


class LoginGuard:
    """Each call counts the failures since the last call."""

    def __init__(self, database: Database, read_failures: Callable[[], Counter[Failure]], bounds: Bounds) -> None:
        self._database = database
        self._read_failures = read_failures
        self._bounds = bounds
        self._waiting: Counter[Failure] = Counter()

    async def __call__(self) -> None:
        self._waiting += await asyncio.to_thread(self._read_failures)
        failures = list(self._waiting)[:MOST]
        self._waiting = Counter({failure: self._waiting[failure] for failure in failures})
        for batch in (failures[start : start + BATCH] for start in range(0, len(failures), BATCH)):
            await self._count({Attempt(*failure): self._waiting[failure] for failure in batch})
            for failure in batch:
                del self._waiting[failure]
        if due := await self._database.read(login_attacks.due):
            await self._database.write(partial(login_failures.end_attacks, account_ids=due, bounds=self._bounds))

    async def _count(self, attempts: dict[Attempt, int]) -> None:
        """Counts a batch. If that fails, counts each attempt alone, so that one that cannot be
        counted stops neither the others nor the worker."""
        try:
            await self._database.write(partial(login_failures.count, attempts=attempts, bounds=self._bounds))
        except Busy:
            raise
        except Exception as error:
            if len(attempts) == 1:
                log.error("a wrong password is not counted", exc_info=error)
                return
            for attempt, number in attempts.items():
                await self._count({attempt: number})
