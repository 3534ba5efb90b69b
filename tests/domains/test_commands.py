"""Domains: each has one owner, some names cannot be claimed, and who gets mail to the role
addresses."""

from collections.abc import Iterator
from typing import Any

import pytest

from postroom.accounts import commands as accounts
from postroom.accounts.commands import CreateAccount, UpdateAccount
from postroom.actor import Actor
from postroom.db import Database, Tx
from postroom.domains import commands as domains
from postroom.errors import Refused
from postroom.service import bootstrap
from postroom.tenants import organizations
from tests.harness.kept import KeptDatabase


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    opened = KeptDatabase(database_url)
    yield opened
    opened.close()


def new_domain(tx: Tx, name: str) -> Actor:
    """An organization with an active platform domain of the same name."""
    bootstrap.create_domain(tx, name, name, None, "active")
    return Actor(organizations.ensure(tx, name))


def command(domain: str, local_part: str = "a", user_id: str = "u1") -> CreateAccount:
    return CreateAccount(domain, local_part, user_id, None, "{SSHA512}x")


class _Done(Exception):
    pass


def _targets(tx: Tx, role: str, domain: str) -> list[Any]:
    """Who gets mail to a role name: Postfix asks mail_aliases first."""
    sql = "SELECT target FROM {} WHERE local_part = :role AND domain = :domain"
    named = tx.all(sql.format("mail_aliases"), role=role, domain=domain)
    return named or tx.all(sql.format("mail_roles"), role=role, domain=domain)


@pytest.mark.parametrize("role", ["postmaster", "abuse"])
def test_role_mail_always_arrives(database: Database, role: str) -> None:
    """Role mail goes to the account of that name; without one, to the default account of the
    domain's user; else to the operator's account."""
    host = f"host-{role}.test"

    def target(tx: Tx, domain: str) -> Any:
        (found,) = _targets(tx, role, domain)
        return found

    def work(tx: Tx) -> None:
        tx.run("DELETE FROM mail_host")
        tx.run("INSERT INTO mail_host (id, name) VALUES (1, :name)", name=host)
        keeper = Actor(organizations.ensure(tx, host))
        domains.add(tx, keeper, host, "operator", "active")
        made = CreateAccount(host, "postmaster", "operator", None, "x", allow_reserved=True)
        operators = f"{accounts.create(tx, keeper, made).id}@acct.internal"
        platform, own = f"platform-{role}.test", f"own-{role}.test"
        actor = new_domain(tx, platform)
        bootstrap.create_domain(tx, platform, own, "u1", "active")
        assert target(tx, platform) == target(tx, own) == (operators,)
        accounts.create(tx, actor, command(platform, "a", "u1"))
        second = accounts.create(tx, actor, command(own, "b", "u1"))
        accounts.update(tx, actor, second.id, None, UpdateAccount(is_default=True))
        assert (target(tx, platform), target(tx, own)) == ((operators,), (f"{second.id}@acct.internal",))
        named = accounts.create(tx, actor, CreateAccount(own, role, "u1", None, "x", allow_reserved=True))
        assert target(tx, own) == (f"{named.id}@acct.internal",)
        accounts.delete(tx, actor, named.id, None, grace_ms=0)
        assert target(tx, own) == (f"{second.id}@acct.internal",)
        raise _Done

    with pytest.raises(_Done):  # rolls back, because other tests need the row of mail_host
        database.write_sync(work)


@pytest.mark.parametrize("role", ["postmaster", "abuse"])
def test_role_mail_stays_in_the_organization(database: Database, role: str) -> None:
    """Two organizations use the same user_id. The reader of postmaster@ can obtain a certificate
    for the domain."""

    def make(tx: Tx, name: str) -> tuple[str, str]:
        """Creates an organization with a domain of its user u1. Returns the domain and the target
        of the user's default account."""
        actor = Actor(organizations.ensure(tx, name))
        bootstrap.create_domain(tx, name, name, "u1", "active")
        return name, f"{accounts.create(tx, actor, command(name)).id}@acct.internal"

    def work(tx: Tx) -> None:
        made = [make(tx, f"{role}-{number}.test") for number in range(3)]
        assert [_targets(tx, role, name) for name, _ in made] == [[(target,)] for _, target in made]
        empty = f"{role}-empty.test"
        bootstrap.create_domain(tx, empty, empty, "u1", "active")
        assert not {row[0] for row in _targets(tx, role, empty)} & {target for _, target in made}

    database.write_sync(work)


def test_a_domain_has_one_owner(database: Database) -> None:
    def work(tx: Tx) -> None:
        first, second = new_domain(tx, "owner.test"), Actor(organizations.ensure(tx, "claimant"))
        claim = domains.create(tx, second, "owner.test", None, "pending")
        for act in (
            lambda: domains.set_status(tx, second, claim, "active"),
            lambda: domains.create(tx, second, "owner.test", "u9", "active"),
        ):
            with pytest.raises(Refused) as refused:
                act()
            assert refused.value.code == "domain_exists"
        owned = domains.get(tx, first, "owner.test", None)
        domains.set_status(tx, first, owned, "pending")
        domains.set_status(tx, second, claim, "active")

    database.write_sync(work)


def test_names_that_nobody_may_claim(database: Database) -> None:
    def work(tx: Tx) -> None:
        tx.run("DELETE FROM mail_host")
        tx.run("INSERT INTO mail_host (id, name) VALUES (1, 'own-host.test')")
        for name in ("own-host.test", "acct.internal", "1.acct.internal", "x.local", "a.localhost"):
            with pytest.raises(Refused) as refused:
                bootstrap.create_domain(tx, "greedy", name, None, "pending")
            assert refused.value.fields[0].code == "refused_domain"
        raise _Done

    with pytest.raises(_Done):
        database.write_sync(work)
