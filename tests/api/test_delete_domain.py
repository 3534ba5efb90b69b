"""POST /v2/domains/delete: the domain ends and its name is free. Nothing that is in use is lost."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.api.rows import rows
from tests.harness.server import Tenant

PATH = "/v2/domains/delete"


def delete(tenant: Tenant, domain: str, user_id: str = "u", **options: Any) -> Any:
    return tenant.post(PATH, {"domain": domain, "user_id": user_id}, **options)


def mail_is_taken(tenant: Tenant, domain: str) -> bool:
    sql = "SELECT name FROM mail_domains WHERE name = :name"
    return tenant.api.database.write_sync(lambda tx: tx.one(sql, name=domain)) is not None


def test_it_works(tenant: Tenant) -> None:
    name = tenant.new_domain(user_id="u")
    id_ = tenant.get(f"/v2/domains/{name}/info", user_id="u", fields="id").json["domain"]["id"]
    assert mail_is_taken(tenant, name)
    ended = delete(tenant, name.upper())
    assert (ended.status, ended.json) == (200, {"ok": True, "deleted": name})
    assert not mail_is_taken(tenant, name)
    event = tenant.events()[-1]
    assert (event["type"], event["domain_id"], event["user_id"]) == ("domain.deleted", id_, "u")
    assert event["data"] == {"domain": name, "status": "active"}
    assert delete(tenant, name).code == "not_found"
    assert tenant.get(f"/v2/domains/{name}/info", user_id="u").status == 404
    assert tenant.get(f"/v2/domains/{name}/email-accounts").status == 404
    assert tenant.create(domain=name, user_id="u").status == 404


def test_the_name_can_be_claimed_again(tenant: Tenant, stranger: Tenant) -> None:
    name = tenant.new_domain(user_id="u")
    key = tenant.new_key(domains=[name])
    before = tenant.get(f"/v2/domains/{name}/info", user_id="u", fields="id").json
    assert delete(tenant, name).status == 200
    again = tenant.post("/v2/domain", {"domain": name, "user_id": "u"}, fields="id,status")
    assert again.status == 201
    assert again.json["domain"]["domain"]["id"] > before["domain"]["id"]
    assert again.json["domain"]["domain"]["status"] == "pending"
    assert again.json["domain"]["dns"][0] != before["dns"][0]
    assert tenant.get(f"/v2/domains/{name}/info", user_id="u", key=key).status == 404
    assert stranger.new_domain(name) == name


@pytest.mark.parametrize("number", [1, 2])
def test_a_domain_with_accounts(tenant: Tenant, number: int) -> None:
    name = tenant.new_domain(user_id="u")
    made = [tenant.account(f"a{n}", domain=name, user_id="u")["id"] for n in range(number)]
    before = rows(tenant)
    refused = delete(tenant, name)
    assert (refused.status, refused.code) == (409, "domain_not_empty")
    assert str(number) in refused.json["detail"]
    assert rows(tenant) == before
    for id_ in made:
        assert tenant.post("/v2/email-accounts/delete", {"id": id_}).status == 200
    assert delete(tenant, name).status == 200


def test_nothing_shows_it_afterwards(tenant: Tenant) -> None:
    name = tenant.new_domain(user_id="u")
    id_ = tenant.account(domain=name, user_id="u")["id"]
    key_id = tenant.key_id(tenant.new_key(domains=[name, tenant.domain], name="two"))
    tenant.post("/v2/email-accounts/delete", {"id": id_})
    assert name in tenant.get("/v2/stats").text
    assert delete(tenant, name).status == 200
    assert name not in tenant.get("/v2/stats").text
    assert name not in tenant.get("/v2/domains", user_id="u").text
    shown = next(key for key in tenant.get("/v2/keys").json["items"] if key["id"] == key_id)
    assert shown["domains"] == [tenant.domain]
    assert tenant.put("/v2/limits", {"user_id": "u", "domains": 1}).status == 200
    assert tenant.post("/v2/domain", {"domain": name, "user_id": "u"}).status == 201


def test_a_platform_domain(tenant: Tenant) -> None:
    """Only an unrestricted key may delete a platform domain."""
    for bound in ({"user_id": "u"}, {"domains": [tenant.domain]}):
        refused = delete(tenant, tenant.domain, key=tenant.new_key(**bound))  # type: ignore[arg-type]
        assert (refused.status, refused.code) == (403, "forbidden")
    assert delete(tenant, tenant.domain).status == 200


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"user_id": "u"}, "domain"),
        ({"domain": "a.test"}, "user_id"),
        ({"domain": "a", "user_id": "u"}, "domain"),
        ({"domain": "a.test", "user_id": "u", "purge": True}, "purge"),
    ],
)
def test_it_refuses(tenant: Tenant, body: Any, field: str) -> None:
    refused = tenant.post(PATH, body)
    assert refused.status == 400
    assert refused.problem(field)


def test_accounts_that_are_made_meanwhile(tenant: Tenant) -> None:
    """Either the deletion or the create succeeds. An account on a deleted domain never exists."""
    for number in range(5):
        name = tenant.new_domain(user_id="u")
        with ThreadPoolExecutor(2) as pool:
            made = pool.submit(tenant.create, f"a{number}", domain=name, user_id="u")
            ended = pool.submit(delete, tenant, name)
        assert (made.result().status, ended.result().status) in ((201, 409), (404, 200), (409, 200))


def test_its_dkim_key_is_erased(tenant: Tenant) -> None:
    """Even if the record stays in the customer's DNS, nobody can sign with the key."""
    name = f"claim.{tenant.domain}"
    assert tenant.post("/v2/domain", {"domain": name, "user_id": "u"}).status == 201
    before = len(rows(tenant, "dkim_keys"))
    assert delete(tenant, name).status == 200
    assert len(rows(tenant, "dkim_keys")) == before - 1
