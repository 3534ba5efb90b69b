"""A setup link on PostgreSQL while something else happens to its account: it is used once, and what
comes first ends it."""

from collections.abc import Callable

import pytest

from postroom.accounts import commands as accounts
from postroom.accounts import setup_links
from postroom.accounts.commands import UpdateAccount
from postroom.accounts.model import Account
from postroom.db import Tx
from postroom.errors import Refused
from tests.db import test_postgres_races
from tests.db.test_postgres_races import Work, World

url, world = test_postgres_races.url, test_postgres_races.world
PASSWORD = "SELECT password FROM accounts WHERE id = :id"


def make(world: World, account: Account, token: str) -> Work:
    """Makes a link of the account as it is then."""

    def work(tx: Tx) -> int:
        return setup_links.make(tx, world.actor, accounts.lock(tx, world.actor, account.id, None), token, 60)

    return work


def accept(world: World, token: str, password: str = "{SSHA512}owner") -> Work:
    return lambda tx: setup_links.accept(tx, world.actor, token, password)


def suspend(world: World, account: Account) -> Work:
    return lambda tx: accounts.update(tx, world.actor, account.id, None, UpdateAccount(status="suspended"))


def sign_out(world: World, account: Account) -> Work:
    return lambda tx: accounts.sign_out(tx, world.actor, account.id, None)


def reset(world: World, account: Account) -> Work:
    return lambda tx: accounts.reset(tx, world.actor, account.id, None, "{SSHA512}reset")


ENDS: dict[str, Callable[[World, Account], Work]] = {
    "a reset": reset,
    "the end of the sessions": sign_out,
    "a suspension": suspend,
    "a deletion": World.delete,
    "a newer link": lambda world, account: make(world, account, f"newer {account.id}"),
}


def linked(world: World) -> tuple[Account, str]:
    (account,) = world.made("owner")
    world.do(make(world, account, f"token {account.id}"))
    return account, f"token {account.id}"


def password(world: World, account: Account) -> str:
    return str(world.do(lambda tx: tx.one(PASSWORD, id=account.id))[0])


def test_it_is_used_once(world: World) -> None:
    account, token = linked(world)
    one, two = world.beside(accept(world, token), accept(world, token, "{SSHA512}thief"))
    assert (one[0].id, two) == (account.id, "not_found")
    assert password(world, account) == "{SSHA512}owner"


@pytest.mark.parametrize("what", ENDS)
def test_what_comes_first_ends_it(world: World, what: str) -> None:
    account, token = linked(world)
    before = password(world, account)
    assert world.beside(ENDS[what](world, account), accept(world, token))[1] == "not_found"
    assert password(world, account) == ("{SSHA512}reset" if what == "a reset" else before)


@pytest.mark.parametrize("what", ENDS)
def test_what_comes_second_happens(world: World, what: str) -> None:
    account, token = linked(world)
    found = world.beside(accept(world, token), ENDS[what](world, account))
    assert [one for one in found if isinstance(one, str)] == []
    assert password(world, account) == ("{SSHA512}reset" if what == "a reset" else "{SSHA512}owner")
    with pytest.raises(Refused) as refused:
        world.do(accept(world, token))
    assert refused.value.code == "not_found"
