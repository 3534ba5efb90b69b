"""Quotas that are promised at the same time on PostgreSQL: the sum holds, and no order of the locks
leads to a deadlock."""

from collections.abc import Callable
from typing import Any

from postroom.accounts import commands as accounts
from postroom.accounts.commands import CreateAccount, UpdateAccount
from postroom.accounts.model import Account
from postroom.accounts.quotas import SetQuota
from postroom.db import Tx
from postroom.tenants import limits
from postroom.tenants.limits import SetLimits
from tests.db import test_postgres_races
from tests.db.test_postgres_races import World

Work = Callable[[Tx], Any]
url, world = test_postgres_races.url, test_postgres_races.world


def create(world: World, name: str) -> Work:
    command = CreateAccount(world.domain, name, "u", None, "{SSHA512}x", quota_bytes=6)
    return lambda tx: accounts.create(tx, world.actor, command)


def change(world: World, account: Account, quota_bytes: int) -> Work:
    command = UpdateAccount(quota=SetQuota(quota_bytes))
    return lambda tx: accounts.update(tx, world.actor, account.id, None, command)


def test_the_sum_holds(world: World) -> None:
    """For creates, changes and restores, whichever comes first."""
    (first,) = world.made("first")
    world.do(lambda tx: limits.change(tx, world.actor, "u", SetLimits(storage_bytes=10)))
    raised = change(world, first, 6)
    for works in ((create(world, "a"), raised), (raised, create(world, "b")), (create(world, "c"), create(world, "d"))):
        one, two = world.beside(*works)
        assert one != "limit_reached"
        assert two == "limit_reached"
        world.do(change(world, first, 1))
        if isinstance(one, Account):
            world.do(world.delete(one))
    gone = world.do(create(world, "e"))
    world.do(world.delete(gone))
    assert world.beside(world.restore(gone), create(world, "f"))[1] == "limit_reached"


def test_a_quota_beside_other_changes(world: World) -> None:
    first, second = world.made("first", "second")
    world.do(lambda tx: limits.change(tx, world.actor, "u", SetLimits(storage_bytes=100, accounts=9)))
    number = 0
    for other in (world.disable(first), world.make_default(second), create(world, "third"), world.delete(first)):
        for before in (True, False):
            number += 1
            works = [change(world, second, number), other]
            found = world.beside(*(works if before else works[::-1]))
            assert "busy" not in found
