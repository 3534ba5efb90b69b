"""The worker: work that is due. It carries out session endings once more and looks after DKIM keys, and is the only
part that may ever talk to the outside network.

A stranger would get wrong: nothing is lost when the worker is down; what is due waits in the database.
"""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import structlog

from postroom import dkim, sessions
from postroom.db import Database
from postroom.dkim import Due
from postroom.errors import Busy
from postroom.resolver import Resolver, Unanswered
from postroom.sessions import EndSessions

PAUSE_SECONDS = 1.0
KEYS_AT_ONCE = 10

log = structlog.get_logger()


async def run(database: Database, *, end_sessions: EndSessions, resolver: Resolver, alive: Path) -> None:
    """Works until it is cancelled; touches `alive` at every round, so that others see it. What asks the DNS may wait
    long, so it has rounds of its own."""
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(_keep_on(lambda: keep_keys(database, resolver)))
        while True:
            alive.touch()
            await _round(lambda: end_due_sessions(database, end_sessions))
            await asyncio.sleep(PAUSE_SECONDS)


async def end_due_sessions(database: Database, end_sessions: EndSessions) -> None:
    """Ends the sessions that are due; what cannot be ended now is tried again later."""
    due = await database.read(sessions.due)
    if not due:
        return
    ids = [id_ for id_, _ in due]
    ended = await end_sessions([pair for _, pair in due])
    await database.write(lambda tx: (sessions.settle if ended else sessions.postpone)(tx, ids))


async def keep_keys(database: Database, resolver: Resolver) -> None:
    """Makes the DKIM keys that are wanted, lets those sign that the DNS shows, drops those that have retired."""
    for key in await database.read(lambda tx: dkim.due(tx, KEYS_AT_ONCE)):
        await _keep_key(database, resolver, key)


async def _keep_key(database: Database, resolver: Resolver, key: Due) -> None:
    if key.state == "wanted":
        new = await asyncio.to_thread(dkim.generate)
        await database.write(lambda tx: dkim.fill(tx, key.domain_id, new))
    elif key.state == "retiring":
        await database.write(lambda tx: dkim.forget(tx, key))
    elif key.selector and await _is_shown(resolver, key, key.selector):
        selector = key.selector
        await database.write(lambda tx: dkim.switch(tx, key.domain_id, selector))
    else:
        await database.write(lambda tx: dkim.postpone(tx, key))


async def _is_shown(resolver: Resolver, key: Due, selector: str) -> bool:
    try:
        found = await resolver.find(f"{selector}._domainkey.{key.domain}", "TXT")
    except Unanswered:
        return False
    return dkim.is_shown(key.value or "", found.values)


async def _keep_on(work: Callable[[], Awaitable[None]]) -> None:
    while True:
        await _round(work)
        await asyncio.sleep(PAUSE_SECONDS)


async def _round(work: Callable[[], Awaitable[None]]) -> None:
    try:
        await work()
    except Busy as error:
        log.warning("work is put off", reason=error.detail)
