"""Scheduled checks of domains: which checks are due and when, what a check does to a domain, and
that silence changes nothing."""

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from postroom.accounts import commands as accounts
from postroom.accounts.commands import CreateAccount
from postroom.actor import Actor
from postroom.db import Database, Tx, open_database
from postroom.domains import check_schedule, dkim, proofs, verification
from postroom.domains import commands as domains
from postroom.domains.commands import Domain
from postroom.domains.resolver import Resolver
from postroom.domains.verification import DAY_MS, HOUR_MS, Verification
from postroom.mail_host import MailHost
from postroom.service import worker
from postroom.tenants import organizations
from tests.harness.dns_server import DnsServer
from tests.harness.service import wait_for

HOST = MailHost("mx.host.example", 587, 465, 993)
_numbers = count(1)


KEY = dkim.generate()


@dataclass
class World:
    database: Database
    dns: DnsServer

    def run(self, sql: str, **params: Any) -> list[Any]:
        return self.database.write_sync(lambda tx: tx.all(sql, **params))

    def claim(self, organization: str, name: str) -> Domain:
        def work(tx: Any) -> Domain:
            return domains.claim(tx, Actor(organizations.ensure(tx, organization)), name, "u", KEY)

        return self.database.write_sync(work)

    def domain(self, id_: int) -> Domain:
        found = self.database.write_sync(lambda tx: proofs.of_id(tx, id_))
        assert found
        return found

    def publish(self, domain: Domain, **without: bool) -> None:
        for record in self.database.write_sync(lambda tx: domains.records(tx, domain, HOST)):
            name = domain.name if record.host == "@" else f"{record.host}.{domain.name}"
            if record.record_type in ("TXT", "MX"):
                value = f"10 {HOST.name}." if record.record_type == "MX" else record.expected_value
                self.dns.publish(name, record.record_type, *([] if record.purpose in without else [value]))

    def active(self, organization: str = "ours") -> Domain:
        """A domain that DNS has proven."""
        domain = self.claim(organization, f"n{next(_numbers)}.example")
        self.publish(domain)
        self.check(domain)
        assert self.domain(domain.id).status == "active"
        return self.domain(domain.id)

    def lease(self, domain: Domain) -> int:
        """Ends the lease of a domain's check and takes a new lease."""

        def work(tx: Tx) -> int:
            tx.run("UPDATE domain_checks SET free_at = 0 WHERE domain_id = :id", id=domain.id)
            until, _ = check_schedule.begin(tx, domain.id)
            assert until
            return until

        return self.database.write_sync(work)

    def check(self, domain: Domain, seconds: float = 5.0) -> tuple[int | None, int]:
        """Runs a scheduled check to its end. Returns the milliseconds until the next check, and the
        failures."""
        asyncio.run(self.verification(seconds).by_itself(domain.id, self.lease(domain)))
        due_at, failures = self.database.write_sync(lambda tx: check_schedule.standing(tx, domain.id))
        ((now,),) = self.database.write_sync(lambda tx: [(tx.now,)])
        return (None if due_at is None else due_at - now), failures

    def verification(self, seconds: float = 5.0) -> Verification:
        return Verification(self.database, Resolver(self.dns.address, seconds), HOST)

    def account(self, domain: Domain) -> int:
        command = CreateAccount(domain.name, "a", "u", None, "x")
        return self.database.write_sync(lambda tx: accounts.create(tx, Actor(domain.organization_id), command).id)

    def told(self, domain: Domain) -> list[str]:
        return [row[0] for row in self.run("SELECT type FROM events WHERE domain_id = :id ORDER BY id", id=domain.id)]


@pytest.fixture
def world(database_url: str) -> Iterator[World]:
    database = open_database(database_url)
    database.write_sync(lambda tx: tx.run("DELETE FROM domain_checks"))
    with DnsServer.start() as server:
        yield World(database, server)
    database.close()


def near(milliseconds: int | None, expected: int, by: int = 60_000) -> bool:
    return milliseconds is not None and abs(milliseconds - expected) <= by


def test_it_works(world: World) -> None:
    """A claim is checked soon, then less and less often; a proven domain is checked daily."""
    domain = world.claim("ours", f"n{next(_numbers)}.example")
    waits = [world.check(domain)[0] for _ in range(9)]
    for wait, seconds in zip(waits, (30, 60, 120, 240, 480, 960, 1920, 3600, 3600), strict=True):
        assert near(wait, seconds * 1000, 15_000)
    world.publish(domain)
    wait, failures = world.check(domain)
    assert failures == 0
    assert near(wait, DAY_MS, HOUR_MS + 60_000)
    found = world.domain(domain.id)
    assert (found.status, found.activated_by, found.expires_at) == ("active", "dns", None)
    assert world.told(domain) == ["domain.created", "domain.activated"]
    world.check(domain)
    assert world.told(domain) == ["domain.created", "domain.activated"]


def test_it_is_degraded_after_some_failures_and_recovers(world: World) -> None:
    domain = world.active()
    world.publish(domain, mx=True)
    for failures in range(1, verification.FAILURES + 2):
        wait, counted = world.check(domain)
        assert (near(wait, HOUR_MS), counted) == (True, failures)
        assert (world.domain(domain.id).degraded_at is not None) == (failures >= verification.FAILURES)
    found = world.domain(domain.id)
    assert (found.status, found.degraded_reason) == ("active", "mx missing")
    assert world.run("SELECT 1 FROM mail_domains WHERE name = :name", name=domain.name) == [(1,)]
    world.publish(domain)
    wait, counted = world.check(domain)
    assert (near(wait, DAY_MS, HOUR_MS + 60_000), counted) == (True, 0)
    assert world.domain(domain.id).degraded_at is None
    assert world.told(domain)[2:] == ["domain.degraded", "domain.recovered"]


def test_failures_count_one_after_the_other(world: World) -> None:
    domain = world.active()
    for _ in range(3):
        world.publish(domain, spf=True)
        world.check(domain)
        world.check(domain)
        world.publish(domain)
        world.check(domain)
    assert world.domain(domain.id).degraded_at is None


def test_silence_is_no_failure(world: World) -> None:
    domain = world.active()
    world.dns.rcodes[domain.name] = "SERVFAIL"
    world.publish(domain, spf=True)
    for _ in range(verification.FAILURES + 1):
        wait, failures = world.check(domain)
        assert (near(wait, HOUR_MS), failures) == (True, 0)
    world.dns.rcodes.clear()
    world.dns.silent.add(domain.name)
    assert world.check(domain, 0.3)[1] == 0
    assert world.domain(domain.id).degraded_at is None
    assert world.told(domain)[2:] == []


def test_on_request_it_gets_better_only(world: World) -> None:
    domain = world.active()
    actor = Actor(domain.organization_id)

    def ask() -> None:
        world.run("UPDATE domain_checks SET free_at = 0 WHERE domain_id = :id RETURNING 1", id=domain.id)
        asyncio.run(world.verification().on_request(actor, domain.name, "u"))

    world.publish(domain, mx=True)
    for _ in range(verification.FAILURES + 1):
        ask()
    assert world.domain(domain.id).degraded_at is None
    for _ in range(verification.FAILURES):
        world.check(domain)
    assert world.domain(domain.id).degraded_at is not None
    world.publish(domain)
    ask()
    assert world.domain(domain.id).degraded_at is None


def test_what_the_operator_decides_is_not_checked(world: World) -> None:
    domain = world.active()
    actor = Actor(domain.organization_id)
    world.database.write_sync(lambda tx: domains.set_status(tx, actor, domain, "suspended"))
    asked = len(world.dns.asked)
    assert world.check(domain) == (None, 0)
    assert len(world.dns.asked) == asked
    assert world.domain(domain.id).status == "suspended"


def test_a_domain_without_a_token_is_never_proven(world: World) -> None:
    domain = world.claim("ours", f"n{next(_numbers)}.example")
    world.publish(domain)
    world.run("UPDATE domains SET token = NULL WHERE id = :id RETURNING 1", id=domain.id)
    world.check(domain)
    assert world.domain(domain.id).status == "pending"


def test_a_domain_without_a_key_is_not_proven_yet(world: World) -> None:
    """Its mail would not be signed, so the proof waits for the worker to create the DKIM key."""
    name = f"n{next(_numbers)}.example"
    domain = world.database.write_sync(
        lambda tx: domains.claim(tx, Actor(organizations.ensure(tx, "ours")), name, "u", None)
    )
    world.publish(domain)
    world.check(domain)
    assert world.domain(domain.id).status == "pending"
    world.database.write_sync(lambda tx: dkim.fill(tx, domain.id, KEY))
    world.publish(domain)
    world.check(domain)
    assert world.domain(domain.id).status == "active"


def test_a_proof_is_of_the_token_that_was_asked_for(world: World) -> None:
    """A claim that got a new token, or was deleted, during the DNS lookup is not proven."""
    domain = world.claim("ours", f"n{next(_numbers)}.example")
    actor = Actor(domain.organization_id)
    for sql in (
        "UPDATE domains SET token = 'new' WHERE id = :id RETURNING 1",
        "UPDATE domains SET token = :token, deleted_at = 1 WHERE id = :id RETURNING 1",
    ):
        world.run(sql, id=domain.id, **({"token": domain.token} if ":token" in sql else {}))
        assert not world.database.write_sync(lambda tx: proofs.prove(tx, actor, domain))
    assert world.told(domain) == ["domain.created"]


def test_one_of_two_workers_checks(world: World) -> None:
    domain = world.claim("ours", f"n{next(_numbers)}.example")
    lease = lambda: world.database.write_sync(lambda tx: check_schedule.lease(tx, [domain.id]))  # noqa: E731
    assert lease() == [], "the check is not due yet"
    world.run("UPDATE domain_checks SET due_at = 0 RETURNING 1")
    assert world.database.write_sync(lambda tx: check_schedule.due(tx, 10)) == [domain.id]
    ((taken, until),) = lease()
    assert (taken, lease()) == (domain.id, [])
    assert world.database.write_sync(lambda tx: check_schedule.due(tx, 10)) == []
    world.run("UPDATE domain_checks SET free_at = free_at - :by RETURNING 1", by=check_schedule.LEASE_MS)
    assert [id_ for id_, _ in lease()] == [domain.id], "the lease of a dead worker must end"
    acquire = lambda: world.database.write_sync(lambda tx: check_schedule.acquire(tx, domain.id, until))  # noqa: E731
    assert not acquire(), "a worker whose lease has ended must not go on"


def test_a_claim_expires(world: World) -> None:
    domain = world.claim("ours", f"n{next(_numbers)}.example")
    assert domain.expires_at
    expire = lambda: asyncio.run(worker.expire_claims(world.database))  # noqa: E731
    expire()
    assert world.domain(domain.id).status == "pending"
    world.run("UPDATE domains SET expires_at = 1 WHERE id = :id RETURNING 1", id=domain.id)
    expire()
    assert world.database.write_sync(lambda tx: proofs.of_id(tx, domain.id)) is None
    assert world.told(domain) == ["domain.created", "domain.expired"]
    assert world.run("SELECT 1 FROM domain_checks WHERE domain_id = :id", id=domain.id) == []
    again = world.claim("ours", domain.name)
    assert again.token != domain.token


def test_a_domain_with_accounts_does_not_expire(world: World) -> None:
    """A lost domain with an account never expires. One without accounts expires like any claim."""
    with_account, without = world.active("first"), world.active("first")
    world.account(with_account)
    for lost in (with_account, without):
        claim = world.claim("second", lost.name)
        world.publish(claim)
        world.check(claim)
        assert world.domain(claim.id).status == "active"
    ends = [world.domain(lost.id).expires_at for lost in (with_account, without)]
    assert [end is None for end in ends] == [True, False]
    world.run("UPDATE domains SET expires_at = 1 WHERE id = :id RETURNING 1", id=with_account.id)
    asyncio.run(worker.expire_claims(world.database))
    assert world.domain(with_account.id).name == with_account.name


def test_every_session_of_a_lost_domain_ends(world: World) -> None:
    """Sessions end in the next round, and once more later. Logins, senders and scripts no longer
    find the account."""
    lost = world.active("first")
    account = world.account(lost)
    elsewhere = world.account(world.active("first"))
    claim = world.claim("second", lost.name)
    world.publish(claim)
    world.check(claim)
    rows = world.run("SELECT account_id, generation, due_at FROM session_endings ORDER BY due_at")
    ended = [row for row in rows if row[0] in (account, elsewhere)]
    assert [row[:2] for row in ended] == [(account, 1), (account, 1)]
    assert ended[1][2] - ended[0][2] == 3000
    assert world.run("SELECT filtered FROM mail_recipients WHERE id = :id", id=account) == [(0,)]
    assert world.run("SELECT id FROM mail_sessions WHERE id = :id", id=account) == []
    assert world.run("SELECT id FROM mail_sessions WHERE id = :id", id=elsewhere) == [(elsewhere,)]
    assert world.told(lost)[-1] == "domain.lost"


def test_the_worker_ends_sessions_while_the_dns_is_silent(world: World, tmp_path: Path) -> None:
    """With more unanswered domains than the worker checks at once, sessions still end."""
    lost = world.active("first")
    account = world.account(lost)
    claims = [world.claim("silent", f"n{next(_numbers)}.example") for _ in range(worker.CHECKS_AT_ONCE + 4)]
    world.dns.silent |= {claim.name for claim in claims}
    world.dns.silent |= {f"_postroom-challenge.{claim.name}" for claim in claims}
    world.run("UPDATE domain_checks SET due_at = 0 RETURNING 1")
    world.run("DELETE FROM session_endings RETURNING 1")
    ended: list[tuple[int, int]] = []

    async def end_sessions(pairs: Any) -> bool:
        ended.extend(tuple(pair) for pair in pairs)
        return True

    async def run() -> None:
        (tmp_path / "mail").mkdir()
        parts = {"end_sessions": end_sessions, "verification": world.verification(30)}
        parts |= {"resolver": Resolver(world.dns.address)}
        parts |= {"mail": tmp_path / "mail", "alive": tmp_path / "alive", "read_logins": dict}
        work = asyncio.create_task(worker.run(world.database, **parts))  # type: ignore[arg-type]
        await until(lambda: len({q[0] for q in world.dns.asked} & world.dns.silent) >= worker.CHECKS_AT_ONCE)
        insert = "INSERT INTO session_endings (account_id, generation, due_at) VALUES (:id, 7, 0)"
        await world.database.write(lambda tx: tx.run(insert, id=account))
        await until(lambda: world.run("SELECT id FROM session_endings WHERE generation = 7") == [])
        work.cancel()
        await asyncio.wait([work])

    asyncio.run(run())
    assert (account, 7) in ended
    assert {world.domain(claim.id).status for claim in claims} == {"pending"}


async def until(ask: Callable[[], bool]) -> None:
    await asyncio.to_thread(wait_for, "the worker", ask)


def test_many_endings_do_not_wait_for_the_next_round(world: World) -> None:
    """Many revocations of one organization must not delay those of another by a round per batch."""
    account = world.account(world.active())
    many = """
    WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000)
    INSERT INTO session_endings (account_id, generation, due_at) SELECT :id, i, 0 FROM n RETURNING id"""
    world.run(many, id=account)

    async def end_sessions(_pairs: Any) -> bool:
        return True

    asyncio.run(worker.end_due_sessions(world.database, end_sessions))
    assert world.run("SELECT id FROM session_endings WHERE due_at = 0 AND account_id = :id", id=account) == []


def test_the_operator_keeps_a_domain_for_its_owner(world: World) -> None:
    """A proof by DNS cannot take a domain that the operator has activated."""
    domain = world.active()
    actor = Actor(domain.organization_id)
    world.database.write_sync(lambda tx: domains.set_status(tx, actor, domain, "active"))
    assert world.domain(domain.id).activated_by == "operator"
    rival = world.claim("theirs", domain.name)
    world.publish(rival)
    world.check(rival)
    assert (world.domain(domain.id).status, world.domain(rival.id).status) == ("active", "pending")


def test_however_many_accounts_a_proof_takes_away_the_loop_goes_on(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The revocations of a lost domain's accounts are written in the writer thread."""
    threads: list[str] = []

    def complete(*arguments: Any, **options: Any) -> Any:
        threads.append(threading.current_thread().name)
        return verification_settle(*arguments, **options)

    verification_settle = verification.complete
    monkeypatch.setattr(verification, "complete", complete)
    domain = world.claim("u", f"n{next(_numbers)}.example")
    world.check(domain)
    world.run("UPDATE domain_checks SET free_at = 0 WHERE domain_id = :id RETURNING 1", id=domain.id)
    asyncio.run(world.verification().on_request(Actor(domain.organization_id), domain.name, "u"))
    assert threads == ["writer"] * 2


def test_a_check_on_request_puts_nothing_off(world: World) -> None:
    domain = world.active()
    world.publish(domain, mx=True)
    world.run("UPDATE domain_checks SET due_at = 5 WHERE domain_id = :id", id=domain.id)
    actor = Actor(domain.organization_id)
    records = world.database.write_sync(lambda tx: domains.records(tx, domain, HOST))
    plan = verification.Plan(domain, records, world.lease(domain), HOST)
    found = asyncio.run(verification.look(Resolver(world.dns.address), plan.records, domain.name, HOST))
    complete = verification.complete
    world.database.write_sync(lambda tx: complete(tx, actor, plan, found, by_itself=False))
    assert world.run("SELECT due_at, failures FROM domain_checks WHERE domain_id = :id", id=domain.id) == [(5, 0)]


# --- a domain that is owned elsewhere

LONG_AGO = verification.LOST_MS + HOUR_MS


def go_elsewhere(world: World, domain: Domain) -> None:
    """Publishes the zone as a new owner with another mail server would."""
    world.publish(domain, ownership=True, spf=True, dkim=True)
    world.dns.publish(domain.name, "MX", "10 mx.elsewhere.example.")


def long_elsewhere(world: World) -> Domain:
    """A domain that has been degraded, with its MX elsewhere, for so long that the next check ends
    it."""
    domain = world.active()
    go_elsewhere(world, domain)
    for _ in range(verification.FAILURES):
        world.check(domain)
    age(world, domain, "degraded_at", "elsewhere_at")
    return domain


def age(world: World, domain: Domain, *columns: str) -> None:
    """Moves these times of a domain far into the past."""
    for column in columns:
        world.run(f"UPDATE domains SET {column} = {column} - :by WHERE id = :id RETURNING 1", by=LONG_AGO, id=domain.id)


def is_local(world: World, domain: Domain) -> bool:
    return world.run("SELECT 1 FROM mail_domains WHERE name = :name", name=domain.name) != []


def test_a_domain_that_lives_elsewhere_for_long_is_lost(world: World) -> None:
    """Mail from this server to the domain leaves the server. The accounts stay, as after a proof by
    another organization."""
    domain = world.active()
    account = world.account(domain)
    go_elsewhere(world, domain)
    for _ in range(verification.FAILURES):
        world.check(domain)
    age(world, domain, "degraded_at")
    world.check(domain)
    assert is_local(world, domain), "the MX has been elsewhere for a moment only"
    age(world, domain, "elsewhere_at")
    wait, failures = world.check(domain)
    found = world.domain(domain.id)
    assert (found.status, found.activated_by, found.degraded_at, found.expires_at) == ("pending", None, None, None)
    assert found.token not in (None, domain.token)
    assert (near(wait, check_schedule.FIRST_MS), failures) == (True, 0)
    assert not is_local(world, domain)
    for view in ("mail_logins", "mail_senders", "mail_aliases"):
        assert world.run(f"SELECT 1 FROM {view} WHERE domain = :name", name=domain.name) == [], view
    assert world.run("SELECT filtered FROM mail_recipients WHERE id = :id", id=account) == [(0,)]
    endings = world.run("SELECT account_id FROM session_endings")
    assert [row for row in endings if row == (account,)] == [(account,)] * 2
    assert world.told(domain)[-2:] == ["domain.degraded", "domain.lost"]
    ((data,),) = world.run("SELECT data FROM events WHERE domain_id = :id AND type = 'domain.lost'", id=domain.id)
    assert json.loads(data) == {"domain": domain.name, "from": "active", "to": "pending", "reason": "mx elsewhere"}
    actor = Actor(domain.organization_id)
    assert world.database.write_sync(lambda tx: accounts.get(tx, actor, account, "u").id) == account
    world.publish(found)
    world.check(domain)
    assert world.domain(domain.id).status == "active", "a new proof must return the domain"


def silent_mx(world: World, domain: Domain) -> None:
    world.dns.silent.add(domain.name)


def silent_proof(world: World, domain: Domain) -> None:
    world.dns.silent.add(f"_postroom-challenge.{domain.name}")


def proof_is_there(world: World, domain: Domain) -> None:
    world.publish(domain, spf=True, dkim=True)
    world.dns.publish(domain.name, "MX", "10 mx.elsewhere.example.")


def no_mx(world: World, domain: Domain) -> None:
    world.dns.publish(domain.name, "MX")


def also_ours(world: World, domain: Domain) -> None:
    world.dns.publish(domain.name, "MX", "10 mx.elsewhere.example.", f"20 {HOST.name}.")


def a_slip_of_the_pen(world: World, domain: Domain) -> None:
    world.dns.publish(domain.name, "MX", f"10 {HOST.name}.{domain.name}.")


def of_the_operator(world: World, domain: Domain) -> None:
    actor = Actor(domain.organization_id)
    world.database.write_sync(lambda tx: domains.set_status(tx, actor, domain, "active"))


def all_is_well(world: World, domain: Domain) -> None:
    world.publish(domain)


def since_a_moment(world: World, domain: Domain) -> None:
    world.run(
        "UPDATE domains SET elsewhere_at = elsewhere_at + :by WHERE id = :id RETURNING 1", by=LONG_AGO, id=domain.id
    )


def degraded_since_a_moment(world: World, domain: Domain) -> None:
    world.run(
        "UPDATE domains SET degraded_at = degraded_at + :by WHERE id = :id RETURNING 1", by=LONG_AGO, id=domain.id
    )


@pytest.mark.parametrize(
    "then",
    [
        silent_mx,
        silent_proof,
        proof_is_there,
        no_mx,
        also_ours,
        a_slip_of_the_pen,
        of_the_operator,
        all_is_well,
        since_a_moment,
        degraded_since_a_moment,
    ],
)
def test_nothing_else_takes_a_domain_away(world: World, then: Callable[[World, Domain], None]) -> None:
    """The domain has been elsewhere for long, but something differs at the last check."""
    domain = long_elsewhere(world)
    then(world, domain)
    world.check(domain, 0.5)
    assert world.domain(domain.id).status == "active"
    assert is_local(world, domain)
    assert "domain.lost" not in world.told(domain)


@pytest.mark.parametrize("then", [proof_is_there, no_mx, also_ours, all_is_well])
def test_the_time_elsewhere_begins_anew(world: World, then: Callable[[World, Domain], None]) -> None:
    domain = long_elsewhere(world)
    then(world, domain)
    world.check(domain)
    go_elsewhere(world, domain)
    world.check(domain)
    assert world.domain(domain.id).status == "active"
    age(world, domain, "degraded_at", "elsewhere_at")
    world.check(domain)
    expected = "active" if then is all_is_well else "pending"  # the domain is no longer degraded
    assert world.domain(domain.id).status == expected


@pytest.mark.parametrize("silent", [silent_mx, silent_proof])
def test_silence_is_no_sign_of_life(world: World, silent: Callable[[World, Domain], None]) -> None:
    """A check without an answer neither takes the domain away nor gives it more time."""
    domain = long_elsewhere(world)
    silent(world, domain)
    world.check(domain, 0.5)
    assert world.domain(domain.id).status == "active"
    world.dns.silent.clear()
    world.check(domain)
    assert world.domain(domain.id).status == "pending"


def test_a_check_on_request_takes_nothing_away(world: World) -> None:
    domain = long_elsewhere(world)
    world.run("UPDATE domain_checks SET free_at = 0 WHERE domain_id = :id RETURNING 1", id=domain.id)
    asyncio.run(world.verification().on_request(Actor(domain.organization_id), domain.name, "u"))
    assert world.domain(domain.id).status == "active"


@pytest.mark.parametrize(
    "record",
    [
        f"v=spf1 a:{HOST.name} include: spf.x.example ~all",
        f"v=spf1 a:{HOST.name} ip4:192.0.2.300 ~all",
        f"v=spf1 a:{HOST.name} –all",
        f"v=spf1 a:{HOST.name} -all;",
        f"v=spf1 a:{HOST.name} redirect=a.example redirect=b.example",
        f"v=spf1 include:nothing.example a:{HOST.name} -all",
        "v=spf1 +all",
    ],
)
def test_a_record_that_receivers_do_not_use_proves_nothing(world: World, record: str) -> None:
    """With such a record a claim stays pending, and an active domain is degraded. The proposed
    record fixes both."""
    domain = world.claim("ours", f"n{next(_numbers)}.example")
    world.publish(domain)
    world.dns.publish(domain.name, "TXT", record)
    world.check(domain)
    assert world.domain(domain.id).status == "pending"
    records = world.database.write_sync(lambda tx: domains.records(tx, domain, HOST))
    found = asyncio.run(verification.look(Resolver(world.dns.address), records, domain.name, HOST))
    (fix,) = (f.fix or "" for r, f in zip(records, found, strict=True) if r.purpose == "spf")
    world.dns.publish(domain.name, "TXT", "v=spf1 " + fix.rpartition("v=spf1 ")[2])
    world.check(domain)
    assert world.domain(domain.id).status == "active"
    world.dns.publish(domain.name, "TXT", record)
    for _ in range(verification.FAILURES):
        world.check(domain)
    assert world.domain(domain.id).degraded_reason == "spf differs"
