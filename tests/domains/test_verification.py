"""Scheduled checks of domains: which checks are due and when, what a check does to a domain, and
that silence changes nothing."""

import asyncio
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from postroom.actor import Actor
from postroom.domains import check_schedule, dkim, proofs, verification
from postroom.domains import commands as domains
from postroom.domains.resolver import Resolver
from postroom.domains.verification import DAY_MS, HOUR_MS
from postroom.mailboxes.session_revocations import Ended
from postroom.service import worker
from postroom.tenants import organizations
from tests.domains.world import HOST, KEY, World, near, new_name
from tests.harness.service import wait_for


def test_it_works(world: World) -> None:
    """A claim is checked soon, then less and less often; a proven domain is checked daily."""
    domain = world.claim("ours", new_name())
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
    domain = world.claim("ours", new_name())
    world.publish(domain)
    world.run("UPDATE domains SET token = NULL WHERE id = :id RETURNING 1", id=domain.id)
    world.check(domain)
    assert world.domain(domain.id).status == "pending"


def test_a_domain_without_a_key_is_not_proven_yet(world: World) -> None:
    """Its mail would not be signed, so the proof waits for the worker to create the DKIM key."""
    name = new_name()
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
    domain = world.claim("ours", new_name())
    actor = Actor(domain.organization_id)
    for sql in (
        "UPDATE domains SET token = 'new' WHERE id = :id RETURNING 1",
        "UPDATE domains SET token = :token, deleted_at = 1 WHERE id = :id RETURNING 1",
    ):
        world.run(sql, id=domain.id, **({"token": domain.token} if ":token" in sql else {}))
        assert not world.database.write_sync(lambda tx: proofs.prove(tx, actor, domain))
    assert world.told(domain) == ["domain.created"]


def test_one_of_two_workers_checks(world: World) -> None:
    domain = world.claim("ours", new_name())
    lease = lambda: world.database.write_sync(lambda tx: check_schedule.lease(tx, [domain.id]))  # noqa: E731
    assert lease() == [], "the check is not due yet"
    world.run("UPDATE domain_checks SET due_at = 0 RETURNING 1")
    assert world.database.write_sync(lambda tx: check_schedule.due(tx, 10)) == [domain.id]
    ((taken, until),) = lease()
    assert (taken, lease()) == (domain.id, [])
    assert world.database.write_sync(lambda tx: check_schedule.due(tx, 10)) == []
    world.run("UPDATE domain_checks SET free_at = free_at - :by RETURNING 1", by=check_schedule.LEASE_MS)
    wait_for("a later time", lambda: time.time_ns() // 1_000_000 + check_schedule.LEASE_MS > until)
    assert [id_ for id_, _ in lease()] == [domain.id], "the lease of a dead worker must end"
    acquire = lambda: world.database.write_sync(lambda tx: check_schedule.acquire(tx, domain.id, until))  # noqa: E731
    assert not acquire(), "a worker whose lease has ended must not go on"


def test_a_claim_expires(world: World) -> None:
    domain = world.claim("ours", new_name())
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


def test_the_worker_ends_sessions_while_the_dns_is_silent(world: World, tmp_path: Path) -> None:
    """With more unanswered domains than the worker checks at once, sessions still end."""
    lost = world.active("first")
    account = world.account(lost)
    claims = [world.claim("silent", new_name()) for _ in range(worker.CHECKS_AT_ONCE + 4)]
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
        parts |= {"mail": tmp_path / "mail", "alive": tmp_path / "alive", "read_logins": list}
        work = asyncio.create_task(worker.run(world.database, **parts))  # type: ignore[arg-type]
        await until(lambda: len({q[0] for q in world.dns.asked} & world.dns.silent) >= worker.CHECKS_AT_ONCE)
        insert = "INSERT INTO session_endings (account_id, generation, due_at) VALUES (:id, 7, 0)"
        await world.database.write(lambda tx: tx.run(insert, id=account))
        await until(lambda: world.run("SELECT id FROM session_endings WHERE generation = 7") == [])
        work.cancel()
        await asyncio.wait([work])

    asyncio.run(run())
    assert Ended(account, 7) in ended
    assert {world.domain(claim.id).status for claim in claims} == {"pending"}


async def until(ask: Callable[[], bool]) -> None:
    await asyncio.to_thread(wait_for, "the worker", ask)


def test_many_revocations_do_not_wait_for_the_next_round(world: World) -> None:
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


def test_a_proof_that_takes_accounts_away_does_not_block_the_loop(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The revocations of a lost domain's accounts are written in the writer thread."""
    threads: list[str] = []

    def complete(*arguments: Any, **options: Any) -> Any:
        threads.append(threading.current_thread().name)
        return real(*arguments, **options)

    real = verification.complete
    monkeypatch.setattr(verification, "complete", complete)
    domain = world.claim("u", new_name())
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
    domain = world.claim("ours", new_name())
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
