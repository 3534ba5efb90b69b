"""Places for which requests wait, such as those of IMAP sessions. Few requests wait at a time, so
that nobody fills the connections of a process with requests that wait (decision 0347).
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

from postroom.errors import Busy, TooMany
from postroom.messages.shares import Shares

# Requests of one process that wait for the same places. Of these, those of one account, user and
# key.
MOST_WAITING = 400
MOST_OF_ACCOUNT = 40
MOST_OF_USER = 40
MOST_OF_KEY = 200
# How long a request waits.
WAIT_SECONDS = 10.0


class Turns:
    """The turns at `places`, which are taken only here. `late` makes the error for a request that
    has waited for `seconds`, and for a request that may not wait because too many do."""

    def __init__(self, places: Shares, late: Callable[[], Busy], seconds: float = WAIT_SECONDS) -> None:
        self._places, self._late, self._seconds = places, late, seconds
        self._waiting = Shares(
            "requests that wait", MOST_WAITING, account=MOST_OF_ACCOUNT, user=MOST_OF_USER, key=MOST_OF_KEY
        )
        self._freed = asyncio.Event()

    async def take(self, account_id: int | None = None) -> Callable[[], None]:
        """Waits until the asker may have a place, and takes the place. Returns what frees it, in
        the event loop. Raises what `late` makes."""
        end = self._taken(account_id) or await self._waited(account_id)

        def free() -> None:
            end()
            self._freed.set()

        return free

    @contextlib.asynccontextmanager
    async def turn(self, account_id: int | None = None) -> AsyncIterator[None]:
        """Has a place while its body runs. Raises as `take`."""
        free = await self.take(account_id)
        try:
            yield
        finally:
            free()

    def _taken(self, account_id: int | None) -> Callable[[], None] | None:
        with contextlib.suppress(TooMany, Busy):
            return self._places.take(account_id)
        return None

    async def _waited(self, account_id: int | None) -> Callable[[], None]:
        if self._waiting.refusal(account_id) is not None:
            raise self._late()
        end_waiting = self._waiting.take(account_id)
        try:
            async with asyncio.timeout(self._seconds):
                while True:
                    self._freed.clear()
                    await self._freed.wait()
                    if end := self._taken(account_id):
                        return end
        except TimeoutError:
            raise self._late() from None
        finally:
            end_waiting()
