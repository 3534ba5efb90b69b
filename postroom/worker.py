"""The worker: work that is due. It carries out session endings once more, checks the DNS of domains, ends claims whose
time is over, erases the mail of accounts that were deleted long enough ago, and is, beside a check on request, the
only part that may ever talk to the outside network.

A stranger would get wrong: nothing is lost when the worker is down; what is due waits in the database. And what waits
for the DNS is beside the round, so that no slow domain holds up the end of a session.
"""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import structlog

from postroom import checks, domains, purges, sessions
from postroom.db import Database
from postroom.errors import Busy
from postroom.sessions import EndSessions
from postroom.verification import Verification

PAUSE_SECONDS = 1.0
CHECKS_AT_ONCE = 16

log = structlog.get_logger()


async def run(
    database: Database, *, end_sessions: EndSessions, verification: Verification, mail: Path, alive: Path
) -> None:
    """Works until it is cancelled; touches `alive` at every round, so that others see it."""
    async with asyncio.TaskGroup() as group:
        running: set[asyncio.Task[None]] = set()
        while True:
            alive.touch()
            await _round(lambda: end_due_sessions(database, end_sessions))
            await _round(lambda: purges.purge_due(database, mail))
            await _round(lambda: expire_claims(database))
            await _round(lambda: start_checks(database, verification, group, running))
            await asyncio.sleep(PAUSE_SECONDS)


async def end_due_sessions(database: Database, end_sessions: EndSessions) -> None:
    """Ends the sessions that are due; what cannot be ended now is tried again later."""
    due = await database.read(sessions.due)
    if not due:
        return
    ids = [id_ for id_, _ in due]
    ended = await end_sessions([pair for _, pair in due])
    await database.write(lambda tx: (sessions.settle if ended else sessions.postpone)(tx, ids))


async def expire_claims(database: Database) -> None:
    """Ends the claims whose time is over."""
    for id_ in await database.read(domains.expired):
        await database.write(lambda tx, id_=id_: domains.expire(tx, id_))  # type: ignore[misc]


async def start_checks(
    database: Database, verification: Verification, group: asyncio.TaskGroup, running: set[asyncio.Task[None]]
) -> None:
    """Leases as many due checks as there are places, and leaves each to a task of its own."""
    free = CHECKS_AT_ONCE - len(running)
    due = await database.read(lambda tx: checks.due(tx, free)) if free else []
    if not due:
        return
    for domain_id in await database.write(lambda tx: checks.lease(tx, due)):
        task = group.create_task(_round(lambda id_=domain_id: verification.by_itself(id_)))  # type: ignore[misc]
        running.add(task)
        task.add_done_callback(running.discard)


async def _round(work: Callable[[], Awaitable[None]]) -> None:
    try:
        await work()
    except Busy as error:
        log.warning("work is put off", reason=error.detail)
