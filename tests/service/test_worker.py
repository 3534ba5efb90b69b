"""The worker and rows that fail: such a row stops neither others nor the worker. Organizations take
turns. On both databases."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from postroom import idempotency, leases
from postroom.accounts import commands as accounts
from postroom.accounts.commands import CreateAccount
from postroom.actor import Actor
from postroom.auth.keys import CreateKey
from postroom.db import Database, Tx
from postroom.domains import check_schedule, dkim
from postroom.domains import commands as domains
from postroom.domains.resolver import Resolver
from postroom.domains.verification import Verification
from postroom.idempotency import Attempt
from postroom.log import log
from postroom.mail_host import MailHost
from postroom.mailboxes import session_revocations
from postroom.mailboxes.session_revocations import Ended
from postroom.service import bootstrap, worker
from postroom.tenants import organizations
from tests.harness.dns_server import DnsServer
from tests.harness.kept import KeptDatabase

HOST = MailHost("mx.host.example", 587, 465, 993)
KEY = dkim.generate()
_numbers = itertools.count(1)

# Statements that make the database refuse to change one row, and statements that end this.
POISON = {
    "sqlite": [
        """
CREATE TRIGGER poison BEFORE {event} ON {table} WHEN OLD.{column} = {value}
BEGIN SELECT RAISE(ABORT, 'poisoned'); END"""
    ],
    "postgresql": [
        """
CREATE FUNCTION poisoned() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''poisoned''; END'""",
        """
CREATE TRIGGER poison BEFORE {event} ON {table} FOR EACH ROW WHEN (OLD.{column} = {value})
EXECUTE FUNCTION poisoned()""",
    ],
}
CURE = {
    "sqlite": ["DROP TRIGGER poison"],
    "postgresql": ["DROP TRIGGER poison ON {table}", "DROP FUNCTION poisoned()"],
}


@dataclass
class World:
    database: Database
    dns: DnsServer
    mail: Path
    engine: str

    def do(self, work: Callable[[Tx], Any]) -> Any:
        return self.database.write_sync(work)

    def rows(self, sql: str, **params: Any) -> list[Any]:
        return self.database.write_sync(lambda tx: tx.all(sql, **params))

    @contextmanager
    def poisoned(self, table: str, event: str, column: str, value: int) -> Iterator[None]:
        """In this block the database refuses to change one row."""

        names = {"table": table, "event": event, "column": column, "value": value}

        def run(statements: list[str]) -> None:
            for statement in statements:
                sql = statement.format(**names)
                self.do(lambda tx, sql=sql: tx.run(sql))  # type: ignore[misc]

        run(POISON[self.engine])
        try:
            yield
        finally:
            run(CURE[self.engine])

    def domain(self, organization: str | None = None) -> domains.Domain:
        number = next(_numbers)
        organization = organization or f"worker {number}"
        make = lambda tx: bootstrap.create_domain(tx, organization, f"w{number}.example", "u", "active", KEY)  # noqa: E731
        found: domains.Domain = self.do(make)
        return found

    def account(self, organization: str | None = None) -> tuple[Actor, int]:
        domain = self.domain(organization)
        actor = Actor(domain.organization_id)
        command = CreateAccount(domain.name, "a", "u", None, "{SSHA512}x")
        return actor, self.do(lambda tx: accounts.create(tx, actor, command).id)

    def claim(self, organization: str | None = None) -> int:
        number = next(_numbers)
        organization = organization or f"worker {number}"

        def make(tx: Tx) -> int:
            actor = Actor(organizations.ensure(tx, organization))
            return domains.claim(tx, actor, f"w{number}.example", "u", KEY).id

        found: int = self.do(make)
        return found

    def types(self, domain_id: int) -> list[str]:
        return [row[0] for row in self.rows("SELECT type FROM events WHERE domain_id = :id ORDER BY id", id=domain_id)]


@pytest.fixture(scope="module")
def opened(database_url: str) -> Iterator[tuple[Database, DnsServer]]:
    database = KeptDatabase(database_url)
    with DnsServer.start() as dns:
        yield database, dns
    database.close()


@pytest.fixture
def world(opened: tuple[Database, DnsServer], database_url: str, tmp_path: Path) -> World:
    """Nothing is due except what the test creates."""
    database, dns = opened

    def clear(tx: Tx) -> None:
        for table in ("session_endings", "domain_checks", "idempotent_answers", "leases"):
            tx.run(f"DELETE FROM {table}")
        tx.run("UPDATE dkim_keys SET due_at = NULL")
        tx.run("UPDATE accounts SET purge_at = NULL")
        tx.run("UPDATE domains SET expires_at = NULL")

    database.write_sync(clear)
    (tmp_path / "mail").mkdir()
    return World(database, dns, tmp_path / "mail", database_url.partition(":")[0])


async def ended(_sessions: Sequence[Ended]) -> bool:
    return True


def check_due(world: World) -> Awaitable[object]:
    async def run() -> None:
        verification = Verification(world.database, Resolver(world.dns.address), HOST)
        async with asyncio.TaskGroup() as group:
            await worker.start_checks(world.database, verification, group, set())

    return run()


@dataclass(frozen=True)
class Kind:
    """One kind of work: how a row of it becomes due, what runs it, and what has changed when it is
    done."""

    make: Callable[[World], int]
    run: Callable[[World], Awaitable[object]]
    left: str
    """Finds a row while it is not done."""
    poison: tuple[str, str, str]
    """Which change of the row must fail: table, event, column."""


def due_ending(world: World) -> int:
    actor, account = world.account()

    def make(tx: Tx) -> int:
        accounts.reset(tx, actor, account, None, "{SSHA512}y")
        tx.run("UPDATE session_endings SET due_at = 1, late = 1 WHERE account_id = :id", id=account)
        return int(tx.all("SELECT id FROM session_endings WHERE account_id = :id", id=account)[0][0])

    found: int = world.do(make)
    return found


def due_purge(world: World) -> int:
    actor, account = world.account()
    world.do(lambda tx: accounts.delete(tx, actor, account, None, grace_ms=0))
    world.do(lambda tx: tx.run("DELETE FROM session_endings WHERE account_id = :id", id=account))
    return account


def due_claim(world: World) -> int:
    id_ = world.claim()
    world.do(lambda tx: tx.run("UPDATE domains SET expires_at = 1 WHERE id = :id", id=id_))
    return id_


def due_check(world: World) -> int:
    id_ = world.claim()
    world.do(lambda tx: tx.run("UPDATE domain_checks SET due_at = 1 WHERE domain_id = :id", id=id_))
    return id_


def due_key(world: World) -> int:
    id_ = world.domain().id

    def make(tx: Tx) -> int:
        tx.run("UPDATE dkim_keys SET state = 'retiring', due_at = 1 WHERE domain_id = :id", id=id_)
        return int(tx.all("SELECT id FROM dkim_keys WHERE domain_id = :id", id=id_)[0][0])

    found: int = world.do(make)
    return found


def due_answer(world: World) -> int:
    actor, _ = world.account()

    def make(tx: Tx) -> int:
        name = f"worker {next(_numbers)}"
        organization = organizations.name_of(tx, actor.organization_id)
        bootstrap.create_key(tx, organization, CreateKey())
        key_id = int(tx.all("SELECT MAX(id) FROM api_keys")[0][0])
        idempotency.claim(tx, Attempt(actor.organization_id, key_id, name, "r", b""))
        tx.run("UPDATE idempotent_answers SET expires_at = 1 WHERE name = :name", name=name)
        return int(tx.all("SELECT id FROM idempotent_answers WHERE name = :name", name=name)[0][0])

    found: int = world.do(make)
    return found


KINDS = {
    "session": Kind(
        due_ending,
        lambda world: worker.end_due_sessions(world.database, ended),
        "SELECT 1 FROM session_endings WHERE id = :id",
        ("session_endings", "DELETE", "id"),
    ),
    "purge": Kind(
        due_purge,
        lambda world: worker.purge_due(world.database, world.mail),
        "SELECT 1 FROM accounts WHERE id = :id AND purge_at IS NOT NULL",
        ("accounts", "UPDATE", "id"),
    ),
    "claim": Kind(
        due_claim,
        lambda world: worker.expire_claims(world.database),
        "SELECT 1 FROM domains WHERE id = :id AND deleted_at IS NULL",
        ("domains", "UPDATE", "id"),
    ),
    "check": Kind(
        due_check,
        check_due,
        "SELECT 1 FROM domain_checks WHERE domain_id = :id AND failures = 0",
        # The lease sets free_at alone; the result of a check sets all.
        ("domain_checks", "UPDATE OF failures", "domain_id"),
    ),
    "key": Kind(
        due_key,
        lambda world: worker.keep_keys(world.database, Resolver(world.dns.address)),
        "SELECT 1 FROM dkim_keys WHERE id = :id",
        ("dkim_keys", "DELETE", "id"),
    ),
    "answer": Kind(
        due_answer,
        lambda world: worker.prune_answers(world.database),
        "SELECT 1 FROM idempotent_answers WHERE id = :id",
        ("idempotent_answers", "DELETE", "id"),
    ),
}


@pytest.mark.parametrize("name", KINDS)
def test_a_row_that_fails_stops_no_other(world: World, name: str) -> None:
    """The failure is logged, the others are done, and the worker backs off from the row until it
    works."""
    kind = KINDS[name]
    poisoned, *others = [kind.make(world) for _ in range(3)]
    lease = "SELECT free_at - :now, failures FROM leases WHERE kind = :kind AND item = :item"

    def standing() -> Any:
        return world.do(lambda tx: tx.one(lease, kind=name, item=poisoned, now=tx.now))

    def run() -> list[Any]:
        logs: list[dict[str, Any]] = []
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(log, "write", logs.append)
            asyncio.run(_run(kind, world))
        return [line for line in logs if line.get("item") == poisoned]

    with world.poisoned(kind.poison[0], kind.poison[1], kind.poison[2], poisoned):
        assert [line["event"] for line in run()] == ["work has failed and will be tried again"]
        assert [bool(world.rows(kind.left, id=id_)) for id_ in (poisoned, *others)] == [True, False, False]
        pause, failures = standing()
        assert (failures, pause > leases.PAUSE_MS - 20_000) == (1, True)
        assert run() == [], "the row is in its pause"
        end_pause(world, poisoned)
        assert len(run()) == 1
        longer, failures = standing()
        assert (failures, longer > pause + 10_000) == (2, True)
    end_pause(world, poisoned)
    assert run() == []
    assert not world.rows(kind.left, id=poisoned)


async def _run(kind: Kind, world: World) -> None:
    await kind.run(world)


def end_pause(world: World, item: int) -> None:
    def work(tx: Tx) -> None:
        tx.run("UPDATE leases SET free_at = 0 WHERE item = :item", item=item)
        tx.run("UPDATE domain_checks SET free_at = 0 WHERE domain_id = :item", item=item)

    world.do(work)


def test_the_pause_has_an_end(world: World) -> None:
    for _ in range(30):
        world.do(lambda tx: leases.back_off(tx, "key", 7))
    ((free_at, now),) = world.do(lambda tx: [(tx.one("SELECT free_at FROM leases WHERE item = 7"), tx.now)])
    assert 0 <= free_at[0] - now <= leases.LONGEST_MS


def test_a_lease_is_for_one_and_runs_out(world: World) -> None:
    def take(tx: Tx, later: int = 0) -> list[int]:
        tx.now += later
        return leases.acquire(tx, "key", [1, 2], lambda _tx, _item: True)

    assert (world.do(take), world.do(take)) == ([1, 2], [])
    assert world.do(lambda tx: take(tx, leases.LEASE_MS - 5_000)) == []
    assert world.do(lambda tx: take(tx, leases.LEASE_MS + 1)) == [1, 2]
    world.do(lambda tx: leases.release(tx, "key", [1]))
    assert world.do(take) == [1]


def test_what_was_done_meanwhile_is_not_done_again(world: World) -> None:
    """A worker has looked up the due rows. Before it takes the lease, another worker has taken it
    and finished."""
    actor, account = world.account()
    world.do(lambda tx: accounts.reset(tx, actor, account, None, "{SSHA512}y"))
    world.do(lambda tx: tx.run("UPDATE session_endings SET due_at = 1"))
    seen = [id_ for id_, _ in world.do(session_revocations.due)]
    take = lambda tx: leases.acquire(tx, "session", seen, session_revocations.is_due)  # noqa: E731
    assert world.do(take) == seen

    def finish(tx: Tx) -> None:
        session_revocations.complete(tx, seen)
        leases.release(tx, "session", seen)

    world.do(finish)
    assert world.do(take) == []
    assert world.rows("SELECT item FROM leases") == []


def test_leases_of_what_went_are_forgotten(world: World) -> None:
    world.do(lambda tx: leases.acquire(tx, "key", [1, 2], lambda _tx, _item: True))
    world.do(lambda tx: tx.run("UPDATE leases SET free_at = :then WHERE item = 1", then=tx.now - leases.FORGET_MS - 1))
    asyncio.run(worker.forget_leases(world.database))
    assert world.rows("SELECT item FROM leases") == [(2,)]


def test_organizations_take_turns_at_the_end_of_sessions(world: World) -> None:
    _, crowd = world.account("many")
    others = [world.account(name)[1] for name in ("few", "one")]
    add = "INSERT INTO session_endings (account_id, generation, due_at) VALUES (:id, :generation, :due)"

    def make(tx: Tx) -> None:
        for number in range(300):
            tx.run(add, id=crowd, generation=number, due=1)
        for id_ in others:
            for number in range(2):
                tx.run(add, id=id_, generation=number, due=2)

    world.do(make)
    found = [pair.account_id for _, pair in world.do(lambda tx: session_revocations.due(tx, 10))]
    assert sorted(found[:3]) == sorted([crowd, *others])
    assert (found.count(crowd), len(found)) == (6, 10)


def test_organizations_take_turns_at_the_dns(world: World) -> None:
    crowd = [world.claim("many") for _ in range(6)]
    other = world.claim("few")
    world.do(lambda tx: tx.run("UPDATE domain_checks SET due_at = domain_id"))
    assert world.do(lambda tx: check_schedule.due(tx, 3)) == [crowd[0], other, crowd[1]]


def test_organizations_take_turns_at_keys(world: World) -> None:
    crowd = [world.domain("many").id for _ in range(6)]
    other = world.domain("few").id
    world.do(lambda tx: tx.run("UPDATE dkim_keys SET due_at = domain_id WHERE domain_id >= :id", id=crowd[0]))
    assert [key.domain_id for key in world.do(lambda tx: dkim.due(tx, 3))] == [crowd[0], other, crowd[1]]
