"""The worker: work that is due. It carries out session endings once more, checks the DNS of domains, ends claims whose
time is over, looks after DKIM keys, erases the mail of accounts that were deleted long enough ago, forgets kept answers
whose time is over, and is, beside a check on request, the only part that may ever talk to the outside network.

A stranger would get wrong: nothing is lost when the worker is down; what is due waits in the database. And what waits
for the DNS is beside the round, so that no slow domain holds up the end of a session.
"""

import asyncio
import functools
from collections.abc import Awaitable, Callable
from pathlib import Path

import structlog

from postroom import checks, dkim, domains, idempotency, purges, sessions
from postroom.db import Database
from postroom.dkim import Due
from postroom.errors import Busy
from postroom.resolver import Resolver, Unanswered
from postroom.sessions import EndSessions
from postroom.verification import Verification

PAUSE_SECONDS = 1.0
# Of one kind of work in a round, before the others have their turn.
BATCHES = 20
CHECKS_AT_ONCE = 16
KEYS_AT_ONCE = 10

log = structlog.get_logger()


async def run(
    database: Database,
    *,
    end_sessions: EndSessions,
    resolver: Resolver,
    verification: Verification,
    mail: Path,
    alive: Path,
) -> None:
    """Works until it is cancelled; touches `alive` at every round, so that others see it."""
    async with asyncio.TaskGroup() as group:
        group.create_task(_keep_on(lambda: keep_keys(database, resolver)))
        running: set[asyncio.Task[None]] = set()
        while True:
            alive.touch()
            await _round(lambda: end_due_sessions(database, end_sessions))
            await _round(lambda: purges.purge_due(database, mail))
            await _round(lambda: expire_claims(database))
            await _round(lambda: prune_answers(database))
            await _round(lambda: start_checks(database, verification, group, running))
            await asyncio.sleep(PAUSE_SECONDS)


async def end_due_sessions(database: Database, end_sessions: EndSessions) -> None:
    """Ends the sessions that are due; what cannot be ended now is tried again later."""
    for _ in range(BATCHES):
        due = await database.read(sessions.due)
        if not due:
            return
        ids = [id_ for id_, _ in due]
        ended = await end_sessions([pair for _, pair in due])
        work = functools.partial(sessions.settle if ended else sessions.postpone, ids=ids)
        await database.write(work)


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


async def prune_answers(database: Database) -> None:
    """Forgets answers that were kept for retries, some in a round."""
    for _ in range(BATCHES):
        if not (ids := await database.read(idempotency.due)):
            return
        await database.write(functools.partial(idempotency.prune, ids=ids))


async def _round(work: Callable[[], Awaitable[None]]) -> None:
    try:
        await work()
    except Busy as error:
        log.warning("work is put off", reason=error.detail)
