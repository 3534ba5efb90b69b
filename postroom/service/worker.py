"""The worker: does the work that is due. It repeats revocations, checks the DNS of domains, ends
expired claims, aliases and app passwords, maintains DKIM keys, purges the mail of deleted accounts
after their grace period, deletes expired answers, and records when accounts have logged in, whether
their mailboxes are full, and what became of the mail that they have sent. Except for a check on
request, the worker is the only part that connects to the outside network.

Nothing is lost while the worker is down, because due work waits in the database. Work that waits
for the DNS runs outside the round, so that a slow domain does not delay the end of a session. If
the work of a row fails, for whatever reason, the worker backs off from this row alone (leases.py).
"""

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

from postroom import events, idempotency, leases
from postroom.accounts import (
    addresses,
    alias_rests,
    app_passwords,
    hidden_accounts,
    known_recipients,
    last_logins,
    login_bans,
    login_failures,
    login_networks,
    mail_tokens,
    outgoing_messages,
    owner_sessions,
    purges,
    sent_days,
    sent_mail,
)
from postroom.accounts.app_passwords import Use
from postroom.auth import console_sessions, keys
from postroom.cluster.mover import Mover
from postroom.db import Database, Tx
from postroom.domains import check_schedule, dkim, proofs
from postroom.domains.dkim import Due
from postroom.domains.resolver import Resolver, Unanswered
from postroom.domains.verification import Verification
from postroom.errors import Busy
from postroom.leases import Kind
from postroom.log import log
from postroom.mailboxes import session_revocations
from postroom.mailboxes.session_revocations import Ended, EndSessions
from postroom.mailplane.dovecot.logins import Login
from postroom.service import purge as mail_purge
from postroom.webhooks import deliveries, received_messages

PAUSE_SECONDS = 1.0
# Largest number of batches of one kind of work in a round, and of rows in a batch.
BATCHES = 20
BATCH = 200
CHECKS_AT_ONCE = 16
KEYS_AT_ONCE = 10
# Seconds between two removals of old rows, which one worker does at a time. Its lease is a little
# shorter, in milliseconds. HOUSE_STEPS is the largest number of transactions for one kind of row.
HOUSE_SECONDS = 60.0
HOUSE_MS = 55_000
HOUSE_STEPS = 100
DAY_MS = 24 * 3600 * 1000
# Lease in milliseconds for ending sessions, which takes up to 5 s. The lease is short because a
# session that began during a revocation stays open until the worker ends it.
SESSION_MS = 10_000

# Nouns with rows that are removed when they are old, and with rows of accounts.
TRIMMED = (
    *(login_failures, login_bans, login_networks, sent_mail, sent_days, known_recipients),
    *(deliveries, received_messages),
)
OF_ACCOUNTS = (sent_mail, sent_days, known_recipients, received_messages)

# Returns the last login with each password since the last call.
ReadLogins = Callable[[], list[Login]]
Place = tuple[int, int | None, str]  # an account, its app password or None, and the client's address
Work = Callable[[], Awaitable[None]]


async def run(
    database: Database,
    *,
    end_sessions: EndSessions,
    resolver: Resolver,
    verification: Verification,
    mail: Path,
    alive: Path,
    read_logins: ReadLogins,
    stop_scripts: Callable[[], object] | None = None,
    count_quotas: Callable[[], Awaitable[None]] | None = None,
    count_failures: Work | None = None,
    record_sent: Work | None = None,
    mover: Mover | None = None,
    keep_trust: Work | None = None,
    serve_nodes: Work | None = None,
    webhooks: tuple[Work, ...] = (),
    events_days: int = 0,
) -> None:
    """Works until cancelled. Touches the file `alive` in every round, for the health check."""
    async with asyncio.TaskGroup() as group:
        node = mover.node if mover else None
        group.create_task(_keep_on(lambda: keep_keys(database, resolver)))
        group.create_task(_keep_on(partial(write_logins, database, read_logins, {})))
        group.create_task(_keep_on(partial(purge_all_due, database, mail, node)))
        group.create_task(_keep_on(partial(keep_house, database, events_days), HOUSE_SECONDS))
        stop: Work | None = partial(_in_thread, stop_scripts) if stop_scripts else None
        others = (stop, count_quotas, count_failures, record_sent, keep_trust, serve_nodes, *webhooks)
        for work in filter(None, (*others, *(_moving(database, mover) if mover else ()))):
            group.create_task(_keep_on(work))
        running: set[asyncio.Task[None]] = set()
        while True:
            alive.touch()
            await _round(lambda: end_due_sessions(database, end_sessions, node))
            for routine in (expire_claims, expire_aliases, expire_app_passwords, prune_answers, forget_leases):
                await _round(partial(routine, database))
            await _round(lambda: start_checks(database, verification, group, running))
            await asyncio.sleep(PAUSE_SECONDS)


def _moving(database: Database, mover: Mover) -> tuple[Work, ...]:
    return partial(move_due, database, mover), partial(erase_leftovers, database, mover), mover.heartbeat


async def end_due_sessions(database: Database, end_sessions: EndSessions, node: int | None = None) -> None:
    """Ends the sessions that are due. A session that cannot be ended now is tried again later."""
    due = dict(await database.read(lambda tx: session_revocations.due(tx, BATCHES * BATCH, node)))
    ids = list(due)
    for batch in (ids[start : start + BATCH] for start in range(0, len(ids), BATCH)):
        take = partial(
            leases.acquire, kind="session", items=batch, is_due=session_revocations.is_due, milliseconds=SESSION_MS
        )
        ours = await database.write(take)
        await _together(database, "session", ours, partial(_end_sessions, database, end_sessions, due))


async def _end_sessions(database: Database, end_sessions: EndSessions, due: dict[int, Ended], ids: list[int]) -> None:
    ended = await end_sessions([due[id_] for id_ in ids])

    def write_down(tx: Tx) -> None:
        (session_revocations.complete if ended else session_revocations.reschedule)(tx, ids)
        leases.release(tx, "session", ids)

    await database.write(write_down)


async def purge_all_due(database: Database, mail: Path, node: int | None = None) -> None:
    """Erases the mail of deleted accounts until none is due."""
    while await purge_due(database, mail, node):
        pass


async def purge_due(database: Database, mail: Path, node: int | None = None) -> bool:
    """Erases a bounded number of files and folders of deleted accounts. Returns whether any account
    was due."""
    due = await database.read(partial(purges.due_purges, node=node))
    await _together(database, "purge", due, partial(_purge, database, mail))
    return bool(due)


async def _purge(database: Database, mail: Path, ids: list[int]) -> None:
    take = partial(leases.acquire, kind="purge", items=ids, is_due=purges.begin_purge)
    if ours := await database.write(take):
        for noun, id_ in itertools.product(OF_ACCOUNTS, ours):
            while await database.write(partial(noun.erase, account_id=id_)) >= noun.STEP:
                pass
        await mail_purge.purge(database, mail, ours)


async def move_due(database: Database, mover: Mover) -> None:
    """Continues the move of one account from this node to another."""
    if move := await mover.due():
        await _alone(database, "move", move.account_id, partial(mover.carry_on, move))


async def erase_leftovers(database: Database, mover: Mover) -> None:
    """Erases the mail that a cancelled move has left on this node."""
    if (account_id := await mover.leftover()) is not None:
        await _alone(database, "leftover", account_id, partial(mover.erase_leftover, account_id))


async def expire_claims(database: Database) -> None:
    """Ends the expired claims."""
    for id_ in await database.read(proofs.expired):
        await _alone(database, "claim", id_, partial(database.write, partial(proofs.expire, id_=id_)))


async def expire_aliases(database: Database) -> None:
    """Ends the expired aliases."""
    for id_ in await database.read(alias_rests.expired):
        await _alone(database, "alias", id_, partial(database.write, partial(alias_rests.expire, id_=id_)))


async def expire_app_passwords(database: Database) -> None:
    """Deletes the expired app passwords."""
    for id_ in await database.read(app_passwords.expired):
        work = partial(database.write, partial(app_passwords.expire, id_=id_))
        await _alone(database, "credential", id_, work)


async def start_checks(
    database: Database, verification: Verification, group: asyncio.TaskGroup, running: set[asyncio.Task[None]]
) -> None:
    """Leases as many due checks as there are free slots, and starts a task for each."""
    free = CHECKS_AT_ONCE - len(running)
    due = await database.read(lambda tx: check_schedule.due(tx, free)) if free else []
    if not due:
        return
    for domain_id, until in await database.write(lambda tx: check_schedule.lease(tx, due)):
        task = group.create_task(_round(partial(_check, database, verification, domain_id, until)))
        running.add(task)
        task.add_done_callback(running.discard)


async def _check(database: Database, verification: Verification, domain_id: int, until: int) -> None:
    await _alone(database, "check", domain_id, partial(verification.by_itself, domain_id, until))


async def keep_keys(database: Database, resolver: Resolver) -> None:
    """Makes missing DKIM keys, starts to sign with keys that are in the DNS, and drops retired
    keys."""
    for key in await database.read(lambda tx: dkim.due(tx, KEYS_AT_ONCE)):
        take = partial(leases.acquire, kind="key", items=[key.id], is_due=dkim.is_due)
        if await database.write(take):
            await _alone(database, "key", key.id, partial(_keep_key, database, resolver, key))


async def _keep_key(database: Database, resolver: Resolver, key: Due) -> None:
    change: Callable[[Tx], object]
    if key.state == "wanted":
        change = partial(dkim.fill, domain_id=key.domain_id, key=await asyncio.to_thread(dkim.generate))
    elif key.state == "retiring":
        change = partial(dkim.forget, key=key)
    elif key.selector and await _is_shown(resolver, key, key.selector):
        change = partial(dkim.switch, domain_id=key.domain_id, selector=key.selector)
    else:
        change = partial(dkim.reschedule, key=key)

    def write_down(tx: Tx) -> None:
        change(tx)
        leases.release(tx, "key", [key.id])

    await database.write(write_down)


async def _is_shown(resolver: Resolver, key: Due, selector: str) -> bool:
    try:
        found = await resolver.find(f"{selector}._domainkey.{key.domain}", "TXT")
    except Unanswered:
        return False
    return dkim.is_shown(key.value or "", found.values)


async def write_logins(database: Database, read_logins: ReadLogins, waiting: dict[Place, Login]) -> None:
    """Records the last logins of accounts and app passwords and their networks, BATCH logins in a
    transaction. Logins that cannot be written now stay in `waiting`."""
    for login in await asyncio.to_thread(read_logins):
        waiting[login[:3]] = max(login, waiting.get(login[:3], login), key=lambda one: one.at)
    places = sorted(waiting, key=lambda one: (one[0], one[1] or 0, one[2]))
    for batch in (places[start : start + BATCH] for start in range(0, len(places), BATCH)):
        told, uses, networks = _by_id([waiting[place] for place in batch])
        # In a thread, because a read in the loop would run again for each result of PostgreSQL.
        if new := await database.read_slow(partial(last_logins.new_logins, logins=told)):
            await database.write(partial(last_logins.log_in, logins=new))
        if uses and (used := await database.read_slow(partial(app_passwords.new_uses, uses=uses))):
            await database.write(partial(app_passwords.use, uses=used))
        if seen := await database.read_slow(partial(login_networks.news, logins=networks)):
            await database.write(partial(login_networks.remember, logins=seen))
        for place in batch:
            del waiting[place]


def _by_id(logins: list[Login]) -> tuple[dict[int, int], dict[int, Use], dict[login_networks.Pair, int]]:
    """Returns the last login of each account, the last use of each app password, and the last login
    of each account from each network."""
    told: dict[int, int] = {}
    uses: dict[int, Use] = {}
    networks: dict[login_networks.Pair, int] = {}
    for login in sorted(logins, key=lambda one: one.at):
        told[login.account_id] = login.at
        if login.credential_id is not None:
            uses[login.credential_id] = Use(login.account_id, login.at, login.service)
        if network := login_networks.network_of(login.address):
            networks[login.account_id, network] = login.at
    return told, uses, networks


async def prune_answers(database: Database) -> None:
    """Deletes expired answers that were stored for retries, a bounded number in a round."""
    for _ in range(BATCHES):
        if not (due := await database.read(idempotency.due)):
            return
        await _together(database, "answer", due, partial(_prune, database))


async def _prune(database: Database, ids: list[int]) -> None:
    await database.write(partial(idempotency.prune, ids=ids))


async def keep_house(database: Database, events_days: int, most_answers: int = idempotency.MOST) -> None:
    """Removes old rows (decision 0170) in transactions of bounded size: events and ended keys after
    `events_days` days (0: never), answers beyond `most_answers` of an organization, expired console
    sessions and links, what became of sent mail and of deliveries to webhooks, and addresses after
    their quarantine."""
    take = partial(leases.acquire, kind="house", items=[0], is_due=lambda _tx, _item: True, milliseconds=HOUSE_MS)
    if await database.write(take):
        await _alone(database, "house", 0, partial(_keep_house, database, events_days, most_answers))


async def _keep_house(database: Database, events_days: int, most_answers: int) -> None:
    await _step_by_step(database, console_sessions.forget, console_sessions.STEP)
    await _step_by_step(database, owner_sessions.forget, owner_sessions.STEP)
    await _step_by_step(database, mail_tokens.forget, mail_tokens.STEP)
    await _step_by_step(database, addresses.forget, addresses.STEP)
    for noun in TRIMMED:
        await _step_by_step(database, noun.forget, noun.STEP)
    await _step_by_step(database, outgoing_messages.forget, outgoing_messages.STEP)
    after: int | None = 0
    while after is not None:
        after = await database.write(partial(hidden_accounts.end_unused, after=after))
    spent = await database.read_slow(partial(idempotency.spent, most=most_answers))
    for organization, last in spent.items():
        trim = partial(idempotency.trim, organization=organization, last=last)
        await _step_by_step(database, trim, idempotency.STEP)
    if events_days:
        below = await database.read(deliveries.first_needed)
        await _step_by_step(database, lambda tx: events.forget(tx, tx.now - events_days * DAY_MS, below), events.STEP)
        await _step_by_step(database, lambda tx: keys.forget(tx, tx.now - events_days * DAY_MS), keys.STEP)


async def _step_by_step(database: Database, work: Callable[[Tx], int], step: int) -> None:
    """Repeats a transaction until it removes fewer than `step` rows, at most HOUSE_STEPS times. The
    remaining rows wait a minute."""
    for _ in range(HOUSE_STEPS):
        if await database.write(work) < step:
            return


async def forget_leases(database: Database) -> None:
    """Drops the leases of rows that no longer exist."""
    if await database.read(leases.are_forgotten):
        await database.write(leases.forget)


async def _together(
    database: Database, kind: Kind, items: list[int], work: Callable[[list[int]], Awaitable[None]]
) -> None:
    """Does the work of many rows at once. If that fails, does the work of each row alone, so that a
    failing row does not stop the others."""
    if len(items) > 1:
        try:
            await work(items)
            return
        except Busy:
            raise
        except Exception as error:
            log.warning("work is tried row by row", kind=kind, rows=len(items), exc_info=error)
    for item in items:
        await _alone(database, kind, item, partial(work, [item]))


async def _alone(database: Database, kind: Kind, item: int, work: Callable[[], Awaitable[None]]) -> None:
    """Does the work of one row. Logs a failure and backs off from the row."""
    try:
        await work()
    except Busy:
        raise
    except Exception as error:
        log.error("work has failed and will be tried again", kind=kind, item=item, exc_info=error)
        await database.write(partial(leases.back_off, kind=kind, item=item))


async def _in_thread(work: Callable[[], object]) -> None:
    await asyncio.to_thread(work)


async def _keep_on(work: Callable[[], Awaitable[None]], pause: float = PAUSE_SECONDS) -> None:
    while True:
        await _round(work)
        await asyncio.sleep(pause)


async def _round(work: Callable[[], Awaitable[None]]) -> None:
    try:
        await work()
    except Busy as error:
        log.warning("work will be tried again", reason=error.detail)
