"""Two processes on one PostgreSQL: the second starts when the first has done its work and has not
committed. Neither ever fails with an internal error, each user with accounts has one default
account, and each name has one owner."""

import asyncio
import itertools
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Event
from typing import Any

import msgspec
import psycopg
import pytest

from postroom.accounts import commands as accounts
from postroom.accounts.commands import CreateAccount, UpdateAccount
from postroom.accounts.model import Account
from postroom.actor import Actor
from postroom.db import Database, Tx, migrate, open_database
from postroom.domains import commands as domains
from postroom.domains import dkim, proofs
from postroom.domains.commands import Domain
from postroom.errors import Refused
from postroom.service import bootstrap
from postroom.tenants import limits, organizations
from postroom.tenants.limits import SetLimits
from tests.harness.postgres import PostgresServer
from tests.harness.service import wait_for

Work = Callable[[Tx], Any]

WAITING = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
DEFAULTS = "SELECT id FROM accounts WHERE organization_id = :o AND user_id = 'u' AND is_default = 1 AND {living}"
KEY = dkim.generate()
_numbers = itertools.count(1)


@dataclass
class World:
    url: str
    database: Database
    actor: Actor
    organization: str
    domain: str

    def do(self, work: Work) -> Any:
        return self.database.write_sync(work)

    def beside(self, first: Work, second: Work) -> list[Any]:
        """Starts `second` when `first` is done and not yet committed. Returns the result of each,
        or the code of its refusal."""
        done, go = Event(), Event()

        def held(tx: Tx) -> Any:
            answer = first(tx)
            done.set()
            assert go.wait(30)
            return answer

        with ThreadPoolExecutor(2) as pool, psycopg.connect(self.url, autocommit=True) as watcher:
            one = pool.submit(_answer, self.database, held)
            wait_for("the first", lambda: done.is_set() or one.done())
            two = pool.submit(_answer, self.database, second)
            wait_for("the second", lambda: two.done() or watcher.execute(WAITING).fetchone())
            go.set()
            return [one.result(), two.result()]

    def create(self, name: str, user_id: str = "u") -> Callable[[Tx], Account]:
        command = CreateAccount(self.domain, name, user_id, None, "{SSHA512}x")
        return lambda tx: accounts.create(tx, self.actor, command)

    def made(self, *names: str) -> list[Account]:
        return [self.do(self.create(name)) for name in names]

    def delete(self, account: Account) -> Work:
        return lambda tx: accounts.delete(tx, self.actor, account.id, None, grace_ms=10**9)

    def restore(self, account: Account) -> Work:
        return lambda tx: accounts.restore(tx, self.actor, account.id, None)

    def make_default(self, account: Account) -> Work:
        return lambda tx: accounts.update(tx, self.actor, account.id, None, UpdateAccount(is_default=True))

    def disable(self, account: Account) -> Work:
        return lambda tx: accounts.update(tx, self.actor, account.id, None, UpdateAccount(status="disabled"))

    def own(self, name: str) -> Callable[[Tx], Domain]:
        return lambda tx: domains.create(tx, self.actor, f"{name}.{self.domain}", "u", "active", KEY)

    def claim(self, name: str) -> Callable[[Tx], Domain]:
        return lambda tx: domains.claim(tx, self.actor, f"{name}.{self.domain}", "u", KEY)

    def limit(self, user_id: str | None, limit: str) -> None:
        self.do(lambda tx: limits.change(tx, self.actor, user_id, msgspec.structs.replace(SetLimits(), **{limit: 1})))

    def default(self) -> list[int]:
        sql = DEFAULTS.format(living="deleted_at IS NULL")
        return [row[0] for row in self.do(lambda tx: tx.all(sql, o=self.actor.organization_id))]


def _answer(database: Database, work: Work) -> Any:
    try:
        return database.write_sync(work)
    except Refused as refused:
        return refused.code


@pytest.fixture(scope="module")
def url(postgres: PostgresServer) -> str:
    url = postgres.new_database()
    migrate(url)
    return url


@pytest.fixture
def world(url: str) -> Iterator[World]:
    number = next(_numbers)
    organization, domain = f"race {number}", f"race{number}.example"
    database = open_database(url)

    def make(tx: Tx) -> int:
        bootstrap.create_domain(tx, organization, domain, None, "active", KEY)
        return organizations.ensure(tx, organization)

    yield World(url, database, Actor(database.write_sync(make)), organization, domain)
    database.close()


def test_two_first_accounts(world: World) -> None:
    one, two = world.beside(world.create("one"), world.create("two"))
    assert (one.is_default, two.is_default) == (True, False)
    assert world.default() == [one.id]


@pytest.mark.parametrize("restored_first", [True, False])
def test_a_first_account_and_one_that_comes_back(world: World, restored_first: bool) -> None:
    (old,) = world.made("old")
    world.do(world.delete(old))
    works = [world.restore(old), world.create("new")]
    found = world.beside(*(works if restored_first else works[::-1]))
    assert [account.is_default for account in found] == [True, False]
    assert world.default() == [found[0].id]


def test_two_that_come_back(world: World) -> None:
    gone = world.made("one", "two")
    for account in gone:
        world.do(world.delete(account))
    found = world.beside(*(world.restore(account) for account in gone))
    assert [account.is_default for account in found] == [True, False]


@pytest.mark.parametrize("who", ["u", None])
@pytest.mark.parametrize("limit", ["accounts", "accounts_per_domain"])
def test_one_place_is_left_for_an_account(world: World, who: str | None, limit: str) -> None:
    world.limit(who, limit)
    found = world.beside(world.create("one"), world.create("two"))
    assert [getattr(one, "address", one) for one in found] == [f"one@{world.domain}", "limit_reached"]


def test_one_place_is_left_for_an_account_that_comes_back(world: World) -> None:
    (gone,) = world.made("gone")
    world.do(world.delete(gone))
    world.limit(None, "accounts")
    assert world.beside(world.create("new", "other"), world.restore(gone))[1] == "limit_reached"


def test_one_place_is_left_for_a_domain(world: World) -> None:
    world.limit("u", "domains")
    found = world.beside(world.own("one"), world.own("two"))
    assert [getattr(one, "name", one) for one in found] == [f"one.{world.domain}", "limit_reached"]


@pytest.mark.parametrize("most", ["PENDING", "PENDING_OF_USER"])
def test_one_place_is_left_for_a_claim(world: World, most: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, most, 1)
    found = world.beside(world.claim("one"), world.claim("two"))
    assert [getattr(one, "name", one) for one in found] == [f"one.{world.domain}", "limit_reached"]


def test_without_a_limit_nobody_waits(world: World) -> None:
    """Two accounts on two domains for two users of one organization: the second is committed before
    the first."""
    other = f"other.{world.domain}"
    world.do(lambda tx: bootstrap.create_domain(tx, world.organization, other, None, "active", KEY))
    world.limit("somebody", "accounts")
    world.limit(None, "accounts")
    world.do(lambda tx: limits.change(tx, world.actor, None, SetLimits(accounts=None)))
    command = CreateAccount(other, "two", "v", None, "{SSHA512}x")

    def first(tx: Tx) -> None:
        accounts.create(tx, world.actor, CreateAccount(world.domain, "one", "u", None, "{SSHA512}x"))
        world.do(lambda tx: accounts.create(tx, world.actor, command))

    world.do(first)


def test_two_want_to_be_the_default(world: World) -> None:
    _, one, two = world.made("default", "one", "two")
    found = world.beside(world.make_default(one), world.make_default(two))
    assert [account.is_default for account, _ in found] == [True, True]
    assert world.default() == [two.id], "the later one wins"


@pytest.mark.parametrize("deleted_first", [True, False])
def test_the_only_account_goes_and_another_comes(world: World, deleted_first: bool) -> None:
    (old,) = world.made("old")
    works: list[Work] = [world.delete(old), world.create("new")]
    world.beside(*(works if deleted_first else works[::-1]))
    (default,) = world.default()
    assert default != old.id


def test_a_domain_goes_and_an_account_comes(world: World) -> None:
    """The create has found the domain and waits for a counter while the domain is deleted."""
    domain = world.do(world.own("gone"))
    command = CreateAccount(domain.name, "late", "u", None, "{SSHA512}x")
    found = world.beside(
        lambda tx: domains.delete(tx, world.actor, domain), lambda tx: accounts.create(tx, world.actor, command)
    )
    assert found == [None, "not_found"]


@pytest.mark.parametrize("successor_first", [True, False])
def test_the_default_goes_and_so_does_its_successor(world: World, successor_first: bool) -> None:
    default, successor, last = world.made("default", "successor", "last")
    works = [world.delete(successor), world.delete(default)]
    world.beside(*(works if successor_first else works[::-1]))
    assert world.default() == [last.id]


@pytest.mark.parametrize("disabled_first", [True, False])
def test_the_default_is_disabled_and_its_successor_goes(world: World, disabled_first: bool) -> None:
    default, successor = world.made("default", "successor")
    works = [world.disable(default), world.delete(successor)]
    world.beside(*(works if disabled_first else works[::-1]))
    assert world.default() == [default.id]


def test_it_is_made_default_and_goes(world: World) -> None:
    default, other = world.made("default", "other")
    world.beside(world.make_default(other), world.delete(other))
    assert world.default() == [default.id]


def claim(world: World, organization: str, name: str) -> Domain:
    def make(tx: Tx) -> Domain:
        return domains.claim(tx, Actor(organizations.ensure(tx, organization)), name, "u", KEY)

    found: Domain = world.do(make)
    return found


def prove(domain: Domain) -> Work:
    return lambda tx: proofs.prove(tx, Actor(domain.organization_id), domain)


def owners(world: World, name: str) -> list[int]:
    return [
        row[0]
        for row in world.do(lambda tx: tx.all("SELECT id FROM domains WHERE name = :n AND status <> 'pending'", n=name))
    ]


@pytest.mark.parametrize("proven_first", [True, False])
def test_a_proof_and_the_operators_word_for_another(world: World, proven_first: bool) -> None:
    """The later one is refused. A domain that DNS has proven stays; the operator must take the name
    away first."""
    name = f"{world.domain}.shop.example"
    proven, chosen = claim(world, f"{world.organization} a", name), claim(world, f"{world.organization} b", name)
    activate: Work = lambda tx: domains.set_status(tx, Actor(chosen.organization_id), chosen, "active")  # noqa: E731
    works = [prove(proven), activate]
    found = world.beside(*(works if proven_first else works[::-1]))
    assert found == ([True, "domain_exists"] if proven_first else [None, False])
    assert owners(world, name) == [proven.id if proven_first else chosen.id]


@pytest.mark.parametrize("proven_first", [True, False])
def test_a_proof_and_a_domain_that_the_operator_makes(world: World, proven_first: bool) -> None:
    name = f"{world.domain}.new.example"
    proven = claim(world, f"{world.organization} a", name)
    make: Work = lambda tx: bootstrap.create_domain(tx, world.organization, name, "v", "active", KEY).status  # noqa: E731
    works = [prove(proven), make]
    found = world.beside(*(works if proven_first else works[::-1]))
    assert found == ([True, "domain_exists"] if proven_first else ["active", False])
    assert len(owners(world, name)) == 1


def test_a_proof_and_the_operators_word_for_the_same(world: World) -> None:
    name = f"{world.domain}.same.example"
    proven = claim(world, f"{world.organization} a", name)
    activate: Work = lambda tx: domains.set_status(tx, Actor(proven.organization_id), proven, "active")  # noqa: E731
    assert world.beside(activate, prove(proven)) == [None, False]
    assert owners(world, name) == [proven.id]


async def batch(database: Database, works: list[Work], entered: asyncio.Event, go: Event) -> list[Any]:
    """Two jobs in one transaction: the first is done, and the second waits behind it until `go`."""
    loop, go_on = asyncio.get_running_loop(), Event()

    def wait(_tx: Tx) -> None:
        loop.call_soon_threadsafe(entered.set)
        assert go.wait(30)

    first, second = works
    plug = asyncio.create_task(database.write(lambda _tx: go_on.wait(30)))
    await asyncio.sleep(0)
    jobs = [asyncio.create_task(database.write(work)) for work in (first, wait, second)]
    await asyncio.sleep(0)
    go_on.set()
    await plug
    return await asyncio.gather(*jobs)


def test_batches_that_wait_for_each_other(world: World) -> None:
    """A batch commits many requests at once and holds all of their locks. Two batches in opposite
    orders deadlock; then one request is carried out after the others, and none is refused."""
    name = f"second{world.domain}"
    world.do(lambda tx: bootstrap.create_domain(tx, world.organization, name, None, "active", KEY))
    there = [world.domain, name]
    other = open_database(world.url)

    def create(domain: str, local_part: str) -> Work:
        command = CreateAccount(domain, local_part, local_part, None, "{SSHA512}x")
        return lambda tx: accounts.create(tx, world.actor, command)

    async def run() -> list[Any]:
        go, entered = Event(), [asyncio.Event(), asyncio.Event()]
        running = [
            asyncio.create_task(
                batch(world.database, [create(there[0], "a0"), create(there[1], "a1")], entered[0], go)
            ),
            asyncio.create_task(batch(other, [create(there[1], "b0"), create(there[0], "b1")], entered[1], go)),
        ]
        for each in entered:
            await each.wait()
        go.set()
        return await asyncio.gather(*running)

    found = asyncio.run(run())
    assert [[account.address for account in (made[0], made[2])] for made in found] == [
        [f"a0@{there[0]}", f"a1@{there[1]}"],
        [f"b0@{there[1]}", f"b1@{there[0]}"],
    ]
    other.close()


def test_transactions_of_the_command_line_that_wait_for_each_other(world: World) -> None:
    first, second = world.made("one", "two")
    met = [Event(), Event()]

    def both(mine: int, accounts_: list[Account]) -> Work:
        def work(tx: Tx) -> None:
            for account in accounts_:
                tx.run("UPDATE accounts SET generation = generation + 1 WHERE id = :id", id=account.id)
                met[mine].set()
                assert met[1 - mine].wait(30)

        return work

    with ThreadPoolExecutor(2) as pool:
        runs = [
            pool.submit(world.do, both(number, order))
            for number, order in enumerate(([first, second], [second, first]))
        ]
        for run in runs:
            run.result()
    rows = world.do(lambda tx: tx.all("SELECT generation FROM accounts WHERE id IN (:a, :b)", a=first.id, b=second.id))
    assert rows == [(3,), (3,)]


def test_a_reader_that_lost_its_connection_asks_again(world: World) -> None:
    """After an outage, neither a read nor a write fails because of a lost connection."""
    read: Callable[[Tx], Any] = lambda tx: tx.one("SELECT 1")  # noqa: E731

    async def run() -> None:
        for ask in (world.database.read, world.database.read_slow, world.database.write):
            assert await ask(read) == (1,)
        with psycopg.connect(world.url, autocommit=True) as operator_:
            operator_.execute(
                "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        for ask in (world.database.read, world.database.read_slow, world.database.write):
            assert await ask(read) == (1,)

    asyncio.run(run())
