"""All accounts and domains of one user: suspended, resumed or deleted in bounded steps.

A step is one transaction. It does what a command for one account does, for up to STEP accounts, and
can be repeated until nothing is left: each step finds what is not done yet (decision 0216).
"""

from collections.abc import Callable

import msgspec

from postroom.accounts import commands, queries
from postroom.accounts import locks as account_locks
from postroom.accounts.commands import UpdateAccount
from postroom.accounts.model import Account, Status
from postroom.accounts.queries import AccountFilter
from postroom.actor import Actor
from postroom.db import Tx
from postroom.domains import commands as domains
from postroom.mailboxes.session_revocations import Ended
from postroom.tenants import usage

# Maximum number of accounts, and of domains, that one transaction changes.
STEP = 20


class Step(msgspec.Struct, frozen=True):
    """What a step has done, and what is left. `ended` has the sessions that must end, each with its
    account."""

    accounts: int
    accounts_left: int
    domains: int = 0
    domains_left: int = 0
    ended: tuple[tuple[Account, Ended], ...] = ()


def set_status(tx: Tx, actor: Actor, user_id: str, old: Status, new: Status) -> Step:
    """Gives the accounts with one status another status, the newest first. The domains keep
    theirs, which the operator sets."""
    command = UpdateAccount(status=new)
    found = _lock(tx, actor, user_id, old)
    ended = _each(found, lambda account: commands.update(tx, actor, account.id, user_id, command))
    return Step(len(found), getattr(usage.totals(tx, actor, user_id), old), ended=ended)


def delete(tx: Tx, actor: Actor, user_id: str, *, grace_ms: int, purge: bool) -> Step:
    """Deletes accounts, the newest first; after the last account the user's own domains. The
    default account is usually the oldest, so that it is not passed on at each deletion."""
    found = _lock(tx, actor, user_id, None)
    if found:
        ended = _each(
            found, lambda account: commands.delete(tx, actor, account.id, user_id, grace_ms=grace_ms, purge=purge)
        )
        left = usage.totals(tx, actor, user_id).total
        return Step(len(found), left, domains_left=len(domains.own_page(tx, actor, user_id, STEP)), ended=ended)
    own = domains.own_page(tx, actor, user_id, 2 * STEP)
    for domain in own[:STEP]:
        domains.delete(tx, actor, domain)
    return Step(0, 0, len(own[:STEP]), len(own[STEP:]))


def record_pending_revocations(tx: Tx, actor: Actor, ended: tuple[tuple[Account, Ended], ...]) -> bool:
    """Records which sessions have not ended yet. Returns False if the worker has ended all of them
    in the meantime."""
    late = [commands.record_pending_revocations(tx, actor, account, [session]) for account, session in ended]
    return any(late)


def _lock(tx: Tx, actor: Actor, user_id: str, status: Status | None) -> list[Account]:
    """Accounts that no other transaction changes until the end of this one. The domains' counters
    are locked in one order, so that two steps cannot wait for each other."""
    wanted = AccountFilter(user_id=user_id, status=status, newest=True)
    domain_ids = {account.domain_id for account in queries.page(tx, actor, wanted, limit=STEP)}
    for domain_id in sorted(domain_ids):
        usage.lock(tx, actor.organization_id, domain_id)
    if not domain_ids:
        return []
    account_locks.lock(tx, actor.organization_id, user_id)
    found = queries.page(tx, actor, wanted, limit=STEP)
    return [account for account in found if account.domain_id in domain_ids]


def _each(
    found: list[Account], change: Callable[[Account], tuple[Account, list[Ended]]]
) -> tuple[tuple[Account, Ended], ...]:
    changed = [change(account) for account in found]
    return tuple((account, session) for account, ended in changed for session in ended)
