"""The worker counts the mail of accounts whose quota has changed, or whose mailbox has crossed a
threshold, and records which mailboxes are full."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from postroom.accounts import commands as accounts
from postroom.accounts.commands import CreateAccount, UpdateAccount
from postroom.accounts.quotas import SetQuota
from postroom.actor import Actor
from postroom.db import Database, Tx
from postroom.errors import MailUnavailable, not_found
from postroom.mailboxes.interface import Size
from postroom.service import bootstrap
from postroom.service.quota_counts import FAILURES, QuotaCounts
from postroom.tenants import organizations
from tests.harness.kept import KeptDatabase


@dataclass
class World:
    database: Database
    actor: Actor
    domain: str
    warned: set[int] = field(default_factory=set)
    sizes: dict[int, Size | Exception] = field(default_factory=dict)
    asked: list[int] = field(default_factory=list)

    def counts(self) -> QuotaCounts:
        return QuotaCounts(self.database, self._read_warnings, self._count)

    def _read_warnings(self) -> set[int]:
        found, self.warned = self.warned, set()
        return found

    async def _count(self, id_: int) -> Size:
        self.asked.append(id_)
        size = self.sizes.get(id_, Size(0, 0))
        if isinstance(size, Exception):
            raise size
        return size

    def do(self, work: Callable[[Tx], Any]) -> Any:
        return self.database.write_sync(work)

    def create(self, name: str, quota_bytes: int | None = 100) -> int:
        command = CreateAccount(self.domain, name, "u", None, "{SSHA512}x", quota_bytes=quota_bytes)
        return int(self.do(lambda tx: accounts.create(tx, self.actor, command)).id)

    def change(self, id_: int, quota_bytes: int | None) -> None:
        command = UpdateAccount(quota=SetQuota(quota_bytes))
        self.do(lambda tx: accounts.update(tx, self.actor, id_, None, command))

    def full(self, id_: int) -> bool:
        row = self.do(lambda tx: tx.one("SELECT over_quota_at FROM accounts WHERE id = :id", id=id_))
        return row[0] is not None

    def due(self) -> list[int]:
        sql = "SELECT id FROM accounts WHERE quota_check_at IS NOT NULL AND organization_id = :o ORDER BY id"
        return [row[0] for row in self.do(lambda tx: tx.all(sql, o=self.actor.organization_id))]

    def events(self) -> list[str]:
        sql = "SELECT type FROM events WHERE organization_id = :o AND type LIKE '%quota%' ORDER BY id"
        return [row[0] for row in self.do(lambda tx: tx.all(sql, o=self.actor.organization_id))]


@pytest.fixture
def world(database_url: str, request: pytest.FixtureRequest) -> Iterator[World]:
    database = KeptDatabase(database_url)
    name = f"{request.node.name.partition('[')[0].replace('_', '-')}.test"

    def make(tx: Tx) -> Actor:
        tx.run("UPDATE accounts SET quota_check_at = NULL WHERE quota_check_at > 0")  # of other tests
        bootstrap.create_domain(tx, name, name, None, "active")
        return Actor(organizations.ensure(tx, name))

    yield World(database, database.write_sync(make), name)
    database.close()


def run(counts: QuotaCounts) -> None:
    asyncio.run(counts())


def test_a_warning(world: World) -> None:
    """Is read once, and changes a row only if it is news."""
    one, other = world.create("one"), world.create("other")
    counts = world.counts()
    world.warned, world.sizes[one] = {one, other}, Size(100, 1)
    run(counts)
    assert (world.full(one), world.full(other)) == (True, False)
    run(counts)
    world.warned = {one}
    run(counts)
    assert world.events() == ["account.over_quota"]
    assert world.asked == [one, other, one]
    world.warned, world.sizes[one] = {one}, Size(99, 1)
    run(counts)
    assert world.events() == ["account.over_quota", "account.under_quota"]
    assert not world.full(one)


def test_a_changed_quota(world: World) -> None:
    """A message that arrived between the count and the change is noticed."""
    id_ = world.create("one")
    world.sizes[id_] = Size(60, 1)
    world.change(id_, 50)
    assert (world.due(), world.full(id_)) == ([id_], False)
    run(world.counts())
    assert (world.due(), world.full(id_)) == ([], True)


def test_a_change_during_a_count(world: World) -> None:
    """The account stays due."""
    id_ = world.create("one")
    world.change(id_, 50)
    counts = world.counts()
    count = counts._count

    async def change_meanwhile(id_: int) -> Size:
        world.do(lambda tx: tx.run("UPDATE accounts SET quota_check_at = quota_check_at - 1 WHERE id = :id", id=id_))
        return await count(id_)

    counts._count = change_meanwhile  # type: ignore[method-assign]
    run(counts)
    assert world.due() == [id_]


def test_a_dovecot_that_does_not_answer(world: World) -> None:
    """Nothing is forgotten, and the others do not wait for it."""
    away = [world.create(f"away{number}") for number in range(FAILURES + 2)]
    last = world.create("last")
    world.sizes = {id_: MailUnavailable("away") for id_ in away}
    world.sizes[last] = Size(100, 1)
    world.warned = {*away, last}
    counts = world.counts()
    run(counts)
    assert world.asked == away[:FAILURES]
    run(counts)
    assert world.full(last)
    assert world.due() == away
    world.sizes = dict.fromkeys(away, Size(100, 1))
    world.do(lambda tx: tx.run("UPDATE accounts SET quota_check_at = 1 WHERE quota_check_at > 1"))
    run(counts)
    assert all(world.full(id_) for id_ in away)
    assert world.due() == []


def test_a_deleted_account(world: World) -> None:
    """Is not counted, and is counted again after its restore."""
    id_ = world.create("one")
    world.change(id_, 50)
    world.do(lambda tx: accounts.delete(tx, world.actor, id_, None, grace_ms=10**9))
    world.warned, world.sizes[id_] = {id_}, not_found()
    run(world.counts())
    assert (world.due(), world.events()) == ([], [])
    world.do(lambda tx: accounts.restore(tx, world.actor, id_, None))
    world.sizes[id_] = Size(50, 1)
    run(world.counts())
    assert world.full(id_)
