"""Batches the revocations that come at the same time into one request to doveadm, because each
request takes a connection and a process.

A waiter gets its result when its own sessions have ended. If a waiter stops waiting, for example
because its client has a timeout, the sessions of the others still end.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from postroom.mailplane.dovecot import doveadm
from postroom.mailplane.dovecot.doveadm import DoveadmEndpoint
from postroom.mailplane.internal_addresses import login_masks

# Number of login names after which further names go into another request.
MANY = 64
# An account, its generation, and its app password or a protocol where not all sessions are meant.
Login = tuple[int, int] | tuple[int, int, int | None, str | None]


@dataclass(slots=True)
class _Batch:
    """One request to doveadm: login names, and the waiters with the names that each waits for."""

    names: dict[str, None] = field(default_factory=dict)  # an ordered set
    waiting: list[tuple[frozenset[str], asyncio.Future[bool]]] = field(default_factory=list)

    def complete(self, left: Sequence[str], *, is_over: bool = False) -> None:
        """Gives a result to each waiter that has no name in `left`. If `is_over`, gives a result to
        all waiters: False for those with names left."""
        there, waiting = set(left), self.waiting
        self.waiting = []
        for names, answer in waiting:
            is_gone = names.isdisjoint(there)
            if not is_gone and not is_over:
                self.waiting.append((names, answer))
            elif not answer.done():  # done if the waiter was cancelled
                answer.set_result(is_gone)


class KickBatcher:
    """The revocations of one process. Each belongs to the event loop of its call."""

    def __init__(self) -> None:
        self._next: dict[DoveadmEndpoint, _Batch] = {}
        self._asking: set[asyncio.Task[None]] = set()

    async def end(self, endpoint: DoveadmEndpoint, logins: Sequence[Login]) -> bool:
        """Ends every session of these logins. Logs the reason and returns False if that fails."""
        loop = asyncio.get_running_loop()
        names = [name for login in logins for name in login_masks(*login)]
        batch = self._next.get(endpoint)
        if batch is None or len(batch.names) >= MANY:
            batch = self._next[endpoint] = _Batch()
            loop.call_soon(self._ask, endpoint, batch)  # after all calls of this iteration of the loop
        batch.names.update(dict.fromkeys(names))
        answer: asyncio.Future[bool] = loop.create_future()
        batch.waiting.append((frozenset(names), answer))
        return await answer

    def _ask(self, endpoint: DoveadmEndpoint, batch: _Batch) -> None:
        if self._next.get(endpoint) is batch:
            del self._next[endpoint]
        asking = asyncio.get_running_loop().create_task(self._carry_out(endpoint, batch))
        self._asking.add(asking)
        asking.add_done_callback(self._asking.discard)

    async def _carry_out(self, endpoint: DoveadmEndpoint, batch: _Batch) -> None:
        names = list(batch.names)
        try:
            await doveadm.end(endpoint, names, batch.complete)
        finally:
            batch.complete(names, is_over=True)
