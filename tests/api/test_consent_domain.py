"""POST /v2/domains/:domain/consent: the owner of a domain permits other tenants to have a name
below it."""

from typing import Any

import pytest

from postroom.actor import Actor
from postroom.db import Tx
from postroom.domains import commands as domains
from postroom.domains import consents
from tests.api.rows import rows
from tests.harness.server import Tenant


def consent(tenant: Tenant, domain: str, subdomain: str, **options: Any) -> Any:
    return tenant.post(f"/v2/domains/{domain}/consent", {"subdomain": subdomain, "user_id": "u"}, **options)


def blocked(tenant: Tenant, name: str) -> bool:
    """Whether a domain above keeps the tenant's claim from becoming active."""

    def work(tx: Tx) -> bool:
        return consents.blocked_by_parent(tx, domains.get(tx, Actor(tenant.organization_id), name, "u"))

    return tenant.api.database.write_sync(work)


def test_it_works(tenant: Tenant, stranger: Tenant) -> None:
    name = tenant.new_domain(user_id="u")
    below = f"shop.{name}"
    stranger.new_domain(below, "u", "pending")
    assert blocked(stranger, below)
    given = consent(tenant, name, below.upper())
    assert (given.status, given.json) == (200, {"ok": True, "subdomain": below})
    assert not blocked(stranger, below)
    event = tenant.events()[-1]
    assert (event["type"], event["user_id"]) == ("domain.consented", "u")
    assert event["data"] == {"domain": name, "subdomain": below}
    before = rows(tenant)
    assert consent(tenant, name, below).json == given.json
    assert rows(tenant) == before
    assert [event for event in stranger.events() if event["type"] == "domain.consented"] == []


def test_what_a_consent_covers(tenant: Tenant, stranger: Tenant) -> None:
    name = tenant.new_domain(user_id="u")
    names = [f"a.{name}", f"x.a.{name}", f"b.{name}", f"xa.{name}"]
    for each in names:
        stranger.new_domain(each, "u", "pending")
    assert consent(tenant, name, f"a.{name}").status == 200
    assert [blocked(stranger, each) for each in names] == [False, False, True, True]


def test_who_blocks(tenant: Tenant, stranger: Tenant) -> None:
    """An active or suspended domain of another organization blocks names below it. A claim does
    not, and neither does a domain of one's own organization."""
    own = tenant.new_domain(user_id="other")
    tenant.new_domain(f"a.{own}", "u", "pending")
    assert not blocked(tenant, f"a.{own}")
    claimed = tenant.new_domain(user_id="u", status="pending")
    stranger.new_domain(f"a.{claimed}", "u", "pending")
    assert not blocked(stranger, f"a.{claimed}")
    tenant.set_domain_status(own, "suspended")
    stranger.new_domain(f"b.{own}", "u", "pending")
    assert blocked(stranger, f"b.{own}")
    assert tenant.post("/v2/domains/delete", {"domain": own, "user_id": "other"}).status == 200
    assert not blocked(stranger, f"b.{own}")


@pytest.mark.parametrize("levels", [1, 2, 3, 5])
def test_a_name_is_blocked_from_any_height(tenant: Tenant, stranger: Tenant, levels: int) -> None:
    """The owner of a name controls every name below it, even if others own the names between."""
    name = tenant.new_domain(user_id="u")
    between = [".".join(["a"] * level + [name]) for level in range(1, levels)]
    below = ".".join(["a"] * levels + [name])
    for each in between:  # the claimant proved these before the name above was proven
        stranger.new_domain(each, "u", "active")
    stranger.new_domain(below, "u", "pending")
    assert blocked(stranger, below)
    assert consent(tenant, name, below).status == 200
    assert not blocked(stranger, below)


def test_it_says_the_same_with_and_without_a_claim(tenant: Tenant, stranger: Tenant) -> None:
    name = tenant.new_domain(user_id="u")
    stranger.new_domain(f"a.{name}", "u", "pending")
    first, second = consent(tenant, name, f"a.{name}"), consent(tenant, name, f"b.{name}")
    assert (first.status, list(first.json)) == (second.status, list(second.json))


def test_it_refuses(tenant: Tenant) -> None:
    name, claimed = tenant.new_domain(user_id="u"), tenant.new_domain(user_id="u", status="pending")
    bound = tenant.new_key(user_id="u")
    before = rows(tenant)
    for subdomain in (name, f"x{name}", "other.test", "x", ""):
        refused = consent(tenant, name, subdomain)
        assert (refused.status, bool(refused.problem("subdomain"))) == (400, True)
    assert consent(tenant, claimed, f"a.{claimed}").code == "domain_not_active"
    assert consent(tenant, "nobody-has-this.test", "a.nobody-has-this.test").status == 404
    assert consent(tenant, tenant.domain, f"a.{tenant.domain}", key=bound).code == "forbidden"
    assert rows(tenant) == before


@pytest.mark.parametrize(
    ("body", "field"), [({"user_id": "u"}, "subdomain"), ({"subdomain": "a.b.test"}, "user_id"), ({"x": 1}, "x")]
)
def test_fields(tenant: Tenant, body: Any, field: str) -> None:
    refused = tenant.post(f"/v2/domains/{tenant.domain}/consent", body)
    assert refused.problem(field)
