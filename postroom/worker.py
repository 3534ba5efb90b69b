"""The worker: work that is due. It carries out session endings once more, erases the
mail of accounts that were deleted long enough ago, and is the only part that may ever
talk to the outside network.

A stranger would get wrong: nothing is lost when the worker is down; what is due waits in the database.
"""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import structlog

from postroom import purges, sessions
from postroom.db import Database
from postroom.errors import Busy
from postroom.sessions import EndSessions

PAUSE_SECONDS = 1.0

log = structlog.get_logger()


async def run(database: Database, *, end_sessions: EndSessions, mail: Path, alive: Path) -> None:
    """Works until it is cancelled; touches `alive` at every round, so that others see it."""
    while True:
        alive.touch()
        await _round(lambda: end_due_sessions(database, end_sessions))
        await _round(lambda: purges.purge_due(database, mail))
        await asyncio.sleep(PAUSE_SECONDS)


async def end_due_sessions(database: Database, end_sessions: EndSessions) -> None:
    """Ends the sessions that are due; what cannot be ended now is tried again later."""
    due = await database.read(sessions.due)
    if not due:
        return
    ids = [id_ for id_, _ in due]
    ended = await end_sessions([pair for _, pair in due])
    await database.write(lambda tx: (sessions.settle if ended else sessions.postpone)(tx, ids))


async def _round(work: Callable[[], Awaitable[None]]) -> None:
    try:
        await work()
    except Busy as error:
        log.warning("work is put off", reason=error.detail)
