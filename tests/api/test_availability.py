"""GET /v2/email-accounts/available: whether a create would get the address."""

import pytest

from tests.api.rows import DAY_MS, age_addresses
from tests.harness.server import Tenant

PATH = "/v2/email-accounts/available"


def reason(tenant: Tenant, local_part: str = "billing", **query: str) -> str | None:
    answer = tenant.get(PATH, **{"domain": tenant.domain, "local_part": local_part, **query})
    assert answer.status == 200, answer.text
    assert list(answer.json) == ["available", "reason"]
    assert answer.json["available"] == (answer.json["reason"] is None)
    found: str | None = answer.json["reason"]
    return found


def test_it_works(tenant: Tenant) -> None:
    assert reason(tenant) is None
    tenant.account("billing")
    assert reason(tenant) == reason(tenant, "Billing") == "address_exists"
    assert reason(tenant, "sales") is None


def test_a_resting_address_is_for_its_user(tenant: Tenant) -> None:
    id_ = tenant.account("billing", user_id="u1")["id"]
    assert tenant.post("/v2/email-accounts/delete", {"id": id_}).status == 200
    assert reason(tenant) == reason(tenant, user_id="u2") == "address_exists"
    assert reason(tenant, user_id="u1") is None
    assert tenant.create("billing", user_id="u2").code == "address_exists"
    age_addresses(tenant, 31 * DAY_MS)
    assert reason(tenant) is reason(tenant, user_id="u2") is None
    assert tenant.create("billing", user_id="u2").status == 201


def test_what_create_would_refuse_with(tenant: Tenant) -> None:
    assert reason(tenant, "postmaster") == tenant.create("postmaster").code == "reserved_local_part"
    pending = tenant.new_domain(user_id="user_123", status="pending")
    assert reason(tenant, domain=pending) == tenant.create(domain=pending).code == "domain_not_active"


@pytest.mark.parametrize(
    ("query", "field", "code"),
    [
        ({"local_part": "a"}, "domain", "required"),
        ({"domain": "d.test"}, "local_part", "required"),
        ({"domain": "d.test", "local_part": "a b"}, "local_part", "invalid_local_part"),
        ({"domain": "d", "local_part": "a"}, "domain", "invalid_domain"),
        ({"domain": "d.test", "localPart": "a"}, "localPart", "unknown_parameter"),
    ],
)
def test_bad_queries(tenant: Tenant, query: dict[str, str], field: str, code: str) -> None:
    refused = tenant.get(PATH, **query)
    assert (refused.status, refused.problem(field)) == (400, code)


def test_nothing_is_told_of_others(tenant: Tenant, stranger: Tenant) -> None:
    tenant.account("billing")
    for domain in (tenant.domain, "nobody-has-this.test"):
        answer = stranger.get(PATH, domain=domain, local_part="billing")
        assert (answer.status, answer.code) == (404, "not_found")


def test_an_error_about_an_address_names_the_field(tenant: Tenant) -> None:
    tenant.account("billing")
    assert tenant.create("billing").problem("local_part") == "address_exists"
    assert tenant.create("admin").problem("local_part") == "reserved_local_part"
