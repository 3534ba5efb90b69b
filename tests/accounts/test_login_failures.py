"""Wrong passwords are counted by network and by account; bans, attacks and the look-up of a login
follow from the counts, on both databases."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from postroom.accounts import commands as accounts
from postroom.accounts import login_attacks, login_bans, login_failures, login_networks, purges
from postroom.accounts.commands import CreateAccount
from postroom.accounts.login_failures import Attempt, Bounds
from postroom.actor import Actor
from postroom.db import Database, Tx
from postroom.schema import look_ups
from postroom.service import bootstrap
from postroom.tenants import organizations
from tests.harness.kept import KeptDatabase

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
BOUNDS = Bounds(account=10, network=4, proxies=("198.51.100.0/24",))
LOOK_UP = look_ups.rows(
    "mail_passwords",
    {"local_part": "'a'", "domain": ":name", "app_digest": ":digest", "network": ":network"},
    has_functions=False,
)


@dataclass
class World:
    database: Database
    domain: str
    actor: Actor
    id: int
    later: int = 0

    def do(self, work: Callable[[Tx], Any]) -> Any:
        """Runs a transaction, `later` milliseconds after now."""

        def at(tx: Tx) -> Any:
            tx.now += self.later
            return work(tx)

        return self.database.write_sync(at)

    def fail(self, client: str, number: int = 1, *, account: bool = True, name: str = "") -> None:
        attempt = Attempt(self.id if account else None, name or f"a@{self.domain}", client)
        self.do(lambda tx: login_failures.count(tx, {attempt: number}, BOUNDS))

    def is_banned(self, client: str) -> bool:
        network = login_networks.network_of(client) or ""
        return bool(self.do(lambda tx: login_bans.is_banned(tx, network)))

    def is_attacked(self) -> bool:
        return bool(self.do(lambda tx: login_attacks.is_attacked(tx, self.id)))

    def know(self, client: str) -> None:
        network = login_networks.network_of(client) or ""
        self.do(lambda tx: login_networks.remember(tx, {(self.id, network): tx.now}))

    def finds(self, client: str, digest: str = "x") -> bool:
        """Whether Dovecot would find a password to compare, now."""
        values = {"name": self.domain, "digest": digest, "network": login_networks.network_of(client)}
        return self.database.write_sync(lambda tx: tx.one(f"SELECT 1 FROM {LOOK_UP}", **values)) is not None

    def events(self) -> list[str]:
        sql = "SELECT type FROM events WHERE account_id = :id AND type LIKE 'account.login%' ORDER BY id"
        return [row[0] for row in self.do(lambda tx: tx.all(sql, id=self.id))]


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    opened = KeptDatabase(database_url)
    yield opened
    opened.close()


@pytest.fixture
def world(database: Database, request: pytest.FixtureRequest) -> World:
    domain = f"{request.node.originalname.replace('_', '-')}.test"

    def make(tx: Tx) -> tuple[Actor, int]:
        for table in ("login_failures", "login_bans"):  # other tests use the same networks
            tx.run(f"DELETE FROM {table}")
        bootstrap.create_domain(tx, domain, domain, None, "active")
        actor = Actor(organizations.ensure(tx, domain))
        return actor, accounts.create(tx, actor, CreateAccount(domain, "a", "u", None, "{SSHA512}x")).id

    return World(database, domain, *database.write_sync(make))


def test_a_network_is_banned(world: World) -> None:
    world.fail("192.0.2.1", 3)
    assert not world.is_banned("192.0.2.1")
    assert world.finds("192.0.2.1")
    world.fail("192.0.2.1")
    assert world.is_banned("192.0.2.1")
    assert not world.finds("192.0.2.1")
    assert world.finds("192.0.2.2")
    assert [ban.network for ban in world.do(login_bans.in_force)] == ["192.0.2.1"]
    assert world.do(login_bans.tally) == 1


def test_an_ipv6_network_is_a_64(world: World) -> None:
    for host in range(4):
        world.fail(f"2001:db8:1:2::{host}")
    assert not world.finds("2001:db8:1:2:ffff::1")
    assert world.finds("2001:db8:1:3::1")


def test_bans_grow_and_are_forgiven(world: World) -> None:
    lengths = []
    for _ in range(9):
        world.fail("192.0.2.1", 3)
        assert not world.is_banned("192.0.2.1")
        world.fail("192.0.2.1", 1)
        (ban,) = world.do(login_bans.in_force)
        lengths.append((ban.until_at - ban.from_at) // MINUTE)
        world.fail("192.0.2.1", 9, account=False, name="nobody@x.test")  # not counted
        world.later += ban.until_at - ban.from_at + 1
    assert lengths == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    world.later += DAY
    world.fail("192.0.2.1", 4)
    (ban,) = world.do(login_bans.in_force)
    assert ban.until_at - ban.from_at == MINUTE


def test_typing_errors_over_a_day_ban_nobody(world: World) -> None:
    for _ in range(10):
        world.fail("192.0.2.1", 3)
        assert not world.is_banned("192.0.2.1")
        world.later += 11 * MINUTE


def test_unknown_addresses_count_for_the_network(world: World) -> None:
    for number in range(4):
        world.fail("192.0.2.1", account=False, name=f"nobody{number}@{world.domain}")
    assert world.is_banned("192.0.2.1")
    world.fail("192.0.2.3", 50, account=False, name="a name without a domain")
    assert world.is_banned("192.0.2.3")


def test_a_name_that_no_database_stores_is_nobodys(world: World) -> None:
    for number, name in enumerate(["a\0@b.test", "a@b\0", "\ud800@x.test", "a@\udfff", "@", "a" * 5000]):
        world.fail(f"192.0.2.{100 + number}", BOUNDS.network, account=False, name=name)
        assert world.is_banned(f"192.0.2.{100 + number}"), ascii(name[:20])


def test_a_fault_is_no_wrong_password(world: World) -> None:
    """While the database does not answer, Dovecot compares no password."""
    world.fail("192.0.2.1", 50, account=False)
    world.fail("192.0.2.1", 50, account=False, name=f"A@{world.domain.upper()}")
    world.fail("no address", 50)
    assert not world.is_banned("192.0.2.1")
    assert not world.is_attacked()


def test_an_account_under_attack(world: World) -> None:
    world.know("192.0.2.200")
    for host in range(3):
        world.fail(f"192.0.2.{host}", 3)
    assert not world.is_attacked()
    assert world.events() == []
    world.fail("192.0.2.4")
    world.fail("192.0.2.5", account=False)  # refused without a comparison: the attack goes on
    assert world.events() == ["account.login_attack_started"]
    (attack,) = [attack for attack in world.do(login_attacks.under_way) if attack.account_id == world.id]
    assert (attack.address, attack.failures) == (f"a@{world.domain}", 11)
    assert not world.finds("192.0.2.9")
    assert world.finds("192.0.2.200")


def test_app_passwords_work_during_an_attack_and_not_during_a_ban(world: World) -> None:
    insert = """
INSERT INTO app_passwords (account_id, name, password, digest, imap, pop3, smtp, sieve, created_at)
VALUES (:id, 'phone', 'x', 'abc', 1, 1, 1, 1, 1)"""
    world.do(lambda tx: tx.run(insert, id=world.id))
    for host in range(10):
        world.fail(f"192.0.2.{host}")
    assert world.finds("192.0.2.99", digest="abc")
    assert not world.finds("192.0.2.99", digest="abd")
    world.fail("192.0.2.99", 4)
    assert not world.finds("192.0.2.99", digest="abc")


def test_an_attack_ends(world: World) -> None:
    def check() -> None:
        world.do(lambda tx: login_failures.end_attacks(tx, login_attacks.due(tx), BOUNDS))

    for host in range(10):
        world.fail(f"192.0.2.{host}")
    check()
    for _ in range(6):
        world.later += 5 * MINUTE
        check()
        assert world.is_attacked()
    world.later += HOUR
    check()
    assert not world.is_attacked()
    assert world.events() == ["account.login_attack_started", "account.login_attack_ended"]


def test_an_attack_without_a_worker_is_over_after_ten_minutes(world: World) -> None:
    world.later = -11 * MINUTE
    for host in range(10):
        world.fail(f"192.0.2.{host}")
    assert world.is_attacked()
    assert world.finds("192.0.2.9")
    world.later = -9 * MINUTE
    world.fail("192.0.2.11")
    assert not world.finds("192.0.2.9")


def test_a_known_network_stays_open(world: World) -> None:
    world.know("192.0.2.1")
    world.fail("192.0.2.1", 9)
    assert not world.is_banned("192.0.2.1")
    world.fail("192.0.2.1", 50, account=False, name="nobody@x.test")  # a neighbor
    assert world.is_banned("192.0.2.1")
    assert world.finds("192.0.2.1")
    assert not world.is_attacked()


def test_a_known_network_that_guesses_is_distrusted_for_an_hour(world: World) -> None:
    world.know("192.0.2.1")
    world.fail("192.0.2.1", 9)
    world.later += HOUR + 1
    world.fail("192.0.2.1", 9)  # another hour
    world.later = 0
    world.fail("192.0.2.1", 50, account=False, name="nobody@x.test")
    assert world.finds("192.0.2.1")
    world.fail("192.0.2.1", 10)
    assert not world.finds("192.0.2.1")
    world.do(lambda tx: login_networks.trust(tx, world.id))
    assert world.finds("192.0.2.1")


def test_a_network_is_known_for_thirty_days(world: World) -> None:
    world.later = -30 * DAY - MINUTE
    world.know("192.0.2.1")
    world.later = -29 * DAY
    world.know("192.0.2.2")
    world.later = 0
    for host in range(10, 20):
        world.fail(f"192.0.2.{host}")
    assert not world.finds("192.0.2.1")
    assert world.finds("192.0.2.2")
    pairs = {(world.id, f"192.0.2.{host}"): 2**40 for host in (1, 2, 3)}
    assert len(world.do(lambda tx: login_networks.news(tx, pairs))) == 1  # a day is over for no stored one
    assert world.do(login_networks.forget) >= 1
    assert world.do(lambda tx: tx.all("SELECT network FROM login_networks WHERE account_id = :id", id=world.id)) == [
        ("192.0.2.2",)
    ]


def test_a_suspended_account_knows_no_new_network(world: World) -> None:
    update = accounts.UpdateAccount(status="suspended")
    world.do(lambda tx: accounts.update(tx, world.actor, world.id, None, update))
    world.know("192.0.2.1")
    assert not world.do(lambda tx: login_networks.is_known(tx, (world.id, "192.0.2.1")))


def test_webmails_are_counted_by_account_alone(world: World) -> None:
    world.fail("198.51.100.7", 9)
    assert not world.is_banned("198.51.100.7")
    world.fail("198.51.100.7")
    assert not world.is_banned("198.51.100.7")
    assert world.is_attacked()


def test_lifting(world: World) -> None:
    world.know("192.0.2.200")
    world.fail("192.0.2.200", 10)
    for host in range(5):
        world.fail(f"192.0.2.{host}", 4)
    lift = [world.do(lambda tx: login_failures.lift_network(tx, "192.0.2.1")) for _ in range(2)]
    assert lift == [True, False]
    assert not world.finds("192.0.2.1")
    assert world.do(lambda tx: login_failures.lift_account(tx, world.id))
    assert not world.do(lambda tx: login_failures.lift_account(tx, world.id))
    assert world.finds("192.0.2.1")
    assert not world.finds("192.0.2.2")
    assert world.do(lambda tx: login_networks.is_known(tx, (world.id, "192.0.2.200")))
    assert world.events() == ["account.login_attack_started", "account.login_attack_ended"]
    world.fail("192.0.2.1", 3)
    assert world.finds("192.0.2.1")


def test_bounds_that_are_off(world: World) -> None:
    attempt = Attempt(world.id, f"a@{world.domain}", "192.0.2.1")
    world.know("192.0.2.2")
    attempts = {attempt: 10_000, Attempt(world.id, attempt.name, "192.0.2.2"): 10_000}
    world.do(lambda tx: login_failures.count(tx, attempts, Bounds(0, 0)))
    assert world.finds("192.0.2.1")
    assert not world.is_attacked()
    assert world.do(lambda tx: login_networks.is_known(tx, (world.id, "192.0.2.2")))


def test_old_rows_go(world: World) -> None:
    world.fail("192.0.2.1", 4)
    world.later = HOUR + MINUTE
    assert world.do(login_failures.forget) == 1
    assert world.do(login_bans.forget) == 0
    world.later = DAY + HOUR
    assert world.do(login_bans.forget) == 1
    assert not world.do(
        lambda tx: tx.all("SELECT network FROM login_failures UNION ALL SELECT network FROM login_bans")
    )


def test_a_purge_erases_them(world: World) -> None:
    world.know("192.0.2.200")
    for host in range(10):
        world.fail(f"192.0.2.{host}")
    world.do(lambda tx: accounts.delete(tx, world.actor, world.id, None, grace_ms=0))
    world.later = 1
    assert world.do(lambda tx: purges.begin_purge(tx, world.id))
    for table in ("login_networks", "login_failures", "login_attacks"):
        sql = f"SELECT account_id FROM {table} WHERE account_id = :id"
        assert world.do(lambda tx, sql=sql: tx.all(sql, id=world.id)) == [], table
    world.fail("192.0.2.99", 50)  # an attempt from before
    assert not world.is_attacked()
