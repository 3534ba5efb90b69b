"""POST /v2/email-accounts/create: which user may have an address."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.api.rows import DAY_MS, age_addresses, new_events, opens, rows
from tests.harness.server import Tenant

GOOD = "a horse beside the lake"


def test_the_address_is_stored_in_one_spelling(tenant: Tenant) -> None:
    made = tenant.create("Billing.Team_1-x", domain=tenant.domain.upper()).json["account"]
    assert (made["local_part"], made["domain"]) == ("billing.team_1-x", tenant.domain)
    assert made["address"] == f"billing.team_1-x@{tenant.domain}"
    assert tenant.create("BILLING.team_1-X").code == "address_exists"


def test_dots_are_significant(tenant: Tenant) -> None:
    assert tenant.create("a.b").status == tenant.create("ab").status == 201


def test_an_international_domain_is_its_a_label(tenant: Tenant) -> None:
    number = tenant.domain.removesuffix(".test")
    name = tenant.new_domain(f"bücher{number}.test".encode("idna").decode())
    made = tenant.create("a", domain=f"Bücher{number}.test").json["account"]
    assert made["address"] == f"a@{name}"
    assert tenant.create("a", domain=f"bu\u0308cher{number}.test").code == "address_exists"
    assert tenant.create("a", domain=name.upper()).code == "address_exists"


def test_the_longest_address(tenant: Tenant) -> None:
    labels = tenant.domain.removesuffix(".test").ljust(61, "x") + "." + "y" * 61
    longest, longer = tenant.new_domain(f"{labels}.{'z' * 60}.test"), tenant.new_domain(f"{labels}.{'z' * 61}.test")
    assert len(tenant.account("l" * 64, domain=longest)["address"]) == 254
    assert tenant.create("l" * 64, domain=longer).problem("local_part") == "invalid_address"
    assert len(tenant.account("l" * 63, domain=longer)["address"]) == 254


ROLES = (
    "abuse",
    "admin",
    "administrator",
    "hostmaster",
    "mailer-daemon",
    "noc",
    "postmaster",
    "root",
    "security",
    "ssladmin",
    "webmaster",
)


@pytest.mark.parametrize("role", [*ROLES, "PostMaster"])
def test_role_addresses_are_reserved(tenant: Tenant, role: str) -> None:
    own = tenant.new_domain(user_id="user_123")
    before = rows(tenant)
    for body in ({}, {"allow_reserved": True}, {"domain": own}, {"domain": own, "allow_reserved": False}):
        refused = tenant.create(role, **body)
        assert (refused.status, refused.code) == (409, "reserved_local_part"), body
    assert rows(tenant) == before
    assert tenant.create(role, domain=own, allow_reserved=True).status == 201


@pytest.mark.parametrize("ordinary", ["support", "billing", "info", "sales", "administration"])
def test_ordinary_names_are_not_reserved(tenant: Tenant, ordinary: str) -> None:
    assert tenant.create(ordinary).status == 201


def test_a_taken_address_keeps_its_password(tenant: Tenant) -> None:
    first = tenant.create().json
    before = rows(tenant)
    for user in ("user_123", "user_9"):
        refused = tenant.create(user_id=user, password=GOOD)
        assert (refused.status, refused.code) == (409, "address_exists")
    assert rows(tenant) == before
    assert opens(tenant, first["account"]["id"], first["password"])


def test_one_of_many_at_once_wins(tenant: Tenant) -> None:
    def create(number: int) -> Any:
        return tenant.create("wanted", user_id=f"user_{number}", display_name=str(number))

    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(create, range(24)))
    won = [answer for answer in answers if answer.status == 201]
    lost = [answer for answer in answers if answer.status != 201]
    assert len(won) == 1
    assert {(answer.status, answer.code) for answer in lost} == {(409, "address_exists")}
    account = tenant.full(won[0].json["account"]["id"])
    assert account["display_name"] == won[0].json["account"]["display_name"]
    assert opens(tenant, account["id"], won[0].json["password"])
    assert [len(rows(tenant, table)) for table in ("accounts", "addresses")] == [1, 1]
    assert new_events(tenant) == ["account.created"]


def test_an_address_rests_for_another_user(tenant: Tenant) -> None:
    old = tenant.account("name", user_id="first")
    tenant.post("/v2/email-accounts/delete", {"id": old["id"]})
    before = rows(tenant)
    assert tenant.create("name", user_id="second").code == "address_exists"
    age_addresses(tenant, 30 * DAY_MS - 60_000)
    assert tenant.create("name", user_id="second").code == "address_exists"
    age_addresses(tenant, 60_000)
    assert len(before["addresses"]) == 1
    new = tenant.account("name", user_id="second")
    assert new["id"] > old["id"]
    assert tenant.create("name", user_id="first").code == "address_exists"


def test_the_same_user_may_have_the_address_again_at_once(tenant: Tenant) -> None:
    old = tenant.account("name", display_name="Old")
    tenant.put(f"/v2/email-accounts/{old['id']}", {"status": "suspended"})
    tenant.post("/v2/email-accounts/delete", {"id": old["id"]})
    new = tenant.account("name")
    assert new["id"] > old["id"]
    assert (new["display_name"], new["status"], new["is_default"]) == (None, "active", True)
    assert tenant.get(f"/v2/email-accounts/{old['id']}").status == 404
    homes = tenant.api.database.write_sync(
        lambda tx: tx.all("SELECT home FROM mail_logins WHERE domain = :d", d=tenant.domain)
    )
    assert [row[0].partition("/")[2] for row in homes] == [str(new["id"])]


def test_the_same_user_of_another_organization_is_not_the_same(tenant: Tenant, stranger: Tenant) -> None:
    """A domain that changes hands starts without the previous owner's addresses."""
    old = tenant.account("name")
    tenant.post("/v2/email-accounts/delete", {"id": old["id"]})
    tenant.set_domain_status(tenant.domain, "pending")
    stranger.new_domain(tenant.domain)
    made = stranger.create("name", domain=tenant.domain)
    assert made.status == 201
    assert made.json["account"]["id"] > old["id"]
