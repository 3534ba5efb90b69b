"""Domains that their owner loses: to the proof of another organization, or after a long time
elsewhere."""

import asyncio
import json
from collections.abc import Callable

import pytest

from postroom.accounts import commands as accounts
from postroom.actor import Actor
from postroom.domains import check_schedule, verification
from postroom.domains import commands as domains
from postroom.domains.commands import Domain
from postroom.domains.verification import HOUR_MS
from postroom.service import worker
from tests.domains.world import HOST, World, near


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
