"""POST /v2/email-accounts/:id/restore, and what a deletion keeps until the purge."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from postroom.settings import Settings
from tests.api.rows import DAY_MS, age_addresses, age_deletions, last_event, new_events, rows, stored_password
from tests.harness.server import ApiServer, Response, Tenant


def delete(tenant: Tenant, id_: int, **fields: Any) -> None:
    assert tenant.post("/v2/email-accounts/delete", {"id": id_, **fields}).status == 200


def restore(tenant: Tenant, id_: int, body: Any = None, **query: Any) -> Response:
    return tenant.post(f"/v2/email-accounts/{id_}/restore", body, **query)


def deleted(tenant: Tenant, **query: Any) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = tenant.get("/v2/email-accounts", deleted="true", **query).json["items"]
    return items


def test_it_works(tenant: Tenant) -> None:
    account = tenant.account("billing", display_name="Z")
    before, password = rows(tenant), stored_password(tenant, account["id"])
    delete(tenant, account["id"])
    done = restore(tenant, account["id"], {"user_id": "user_123"})
    assert done.status == 200
    expected = {"id": account["id"], "domain": tenant.domain, "address": account["address"], "status": "active"}
    assert done.json == {"account": expected}
    assert list(done.json["account"]) == list(expected)
    full = tenant.full(account["id"])
    assert full == account | {"updated_at": full["updated_at"]}
    assert stored_password(tenant, account["id"]) == password
    for table, count in (("addresses", -1), ("account_counts", 4)):
        kept = [row for row in rows(tenant, table) if row[count] != 0]
        assert [row[:4] for row in kept] == [row[:4] for row in before[table]]


@pytest.mark.parametrize(
    ("body", "field", "code"),
    [
        ({"user_id": ""}, "user_id", "invalid"),
        ({"user_id": None}, "user_id", "invalid"),
        ({"id": 1}, "id", "unknown_field"),
        ([], "body", "invalid"),
    ],
)
def test_it_refuses(tenant: Tenant, body: Any, field: str, code: str) -> None:
    account = tenant.account()
    delete(tenant, account["id"])
    before = rows(tenant)
    refused = restore(tenant, account["id"], body)
    assert (refused.status, refused.problem(field)) == (400, code)
    assert rows(tenant) == before


def test_not_found(tenant: Tenant, stranger: Tenant) -> None:
    account = tenant.account()
    delete(tenant, account["id"])
    before = rows(tenant)
    answers = [restore(tenant, account["id"], {"user_id": "user_9"}), restore(stranger, account["id"])]
    answers += [restore(tenant, 9**18), tenant.post("/v2/email-accounts/x/restore")]
    other = tenant.new_key(user_id="user_9")
    answers += [tenant.post(f"/v2/email-accounts/{account['id']}/restore", key=other)]
    elsewhere = tenant.new_key(domains=[tenant.new_domain()])
    before = rows(tenant)
    answers += [tenant.post(f"/v2/email-accounts/{account['id']}/restore", key=elsewhere)]
    assert [(answer.status, answer.code) for answer in answers] == [(404, "not_found")] * 6
    assert rows(tenant) == before


def test_one_that_lives_is_answered_as_it_is(tenant: Tenant) -> None:
    account = tenant.account()
    delete(tenant, account["id"])
    first = restore(tenant, account["id"], fields="*").json
    before = rows(tenant)
    assert restore(tenant, account["id"], fields="*").json == first
    assert rows(tenant) == before


@pytest.mark.parametrize("status", ["suspended", "disabled"])
def test_the_status_stays(tenant: Tenant, status: str) -> None:
    account = tenant.account()
    tenant.put(f"/v2/email-accounts/{account['id']}", {"status": status})
    delete(tenant, account["id"])
    assert restore(tenant, account["id"]).json["account"]["status"] == status
    assert tenant.get("/v2/stats").json["accounts"][status] == 1


def test_its_events(tenant: Tenant) -> None:
    account, at = tenant.account(), last_event(tenant)
    delete(tenant, account["id"])
    restore(tenant, account["id"])
    assert new_events(tenant, at) == ["account.deleted", "account.restored"]


def test_the_address_may_be_taken_meanwhile(tenant: Tenant) -> None:
    account = tenant.account("name")
    delete(tenant, account["id"])
    again = tenant.account("name")
    before = rows(tenant)
    refused = restore(tenant, account["id"])
    assert (refused.status, refused.code) == (409, "address_exists")
    assert rows(tenant) == before
    assert again["id"] != account["id"]
    delete(tenant, again["id"])
    assert restore(tenant, account["id"]).status == 200


def test_another_user_has_taken_it_after_the_quarantine(tenant: Tenant) -> None:
    account = tenant.account("name")
    delete(tenant, account["id"])
    assert tenant.create("name", user_id="another").code == "address_exists"
    age_addresses(tenant, 31 * DAY_MS)
    other = tenant.account("name", user_id="another")
    assert restore(tenant, account["id"]).code == "address_exists"
    delete(tenant, other["id"])
    # Now in quarantine for the other user.
    assert restore(tenant, account["id"]).code == "address_exists"


def test_its_domain_is_gone(tenant: Tenant) -> None:
    account = tenant.account()
    delete(tenant, account["id"])
    tenant.set_domain_status(tenant.domain, "pending")
    refused = restore(tenant, account["id"])
    assert (refused.status, refused.code) == (409, "domain_gone")
    tenant.set_domain_status(tenant.domain, "suspended")
    assert restore(tenant, account["id"]).status == 200


def test_a_limit_is_reached(tenant: Tenant) -> None:
    account = tenant.account("a")
    delete(tenant, account["id"])
    tenant.account("b")
    tenant.put("/v2/limits", {"user_id": "user_123", "accounts": 1})
    refused = restore(tenant, account["id"])
    assert (refused.status, refused.code, refused.json["limit"]) == (409, "limit_reached", 1)


def test_a_restored_account_is_the_default_only_without_others(tenant: Tenant) -> None:
    first, second = tenant.account("a"), tenant.account("b")
    delete(tenant, first["id"])
    assert tenant.full(second["id"])["is_default"]
    restore(tenant, first["id"])
    assert [tenant.full(a["id"])["is_default"] for a in (first, second)] == [False, True]
    delete(tenant, first["id"])
    delete(tenant, second["id"])
    restore(tenant, first["id"])
    restore(tenant, second["id"])
    assert [tenant.full(a["id"])["is_default"] for a in (first, second)] == [True, False]


def test_the_list_of_deleted_ones(tenant: Tenant, stranger: Tenant) -> None:
    made = [tenant.account(f"n{n}", user_id=f"user_{n % 2}") for n in range(5)]
    tenant.account("alive")
    for account in made:
        delete(tenant, account["id"])
    assert [item["id"] for item in deleted(tenant)] == [account["id"] for account in made]
    assert list(deleted(tenant)[0]) == ["id", "user_id", "domain", "address"]
    (only,) = deleted(tenant, fields="id,deleted_at,purge_at", q="n3@")
    assert only["id"] == made[3]["id"]
    assert only["deleted_at"] < only["purge_at"]
    assert len(deleted(tenant, user_id="user_0")) == len(deleted(tenant, domain=tenant.domain, status="active")) - 2
    page = tenant.get("/v2/email-accounts", deleted="true", limit=2, offset=1)
    assert [item["id"] for item in page.json["items"]] == [made[1]["id"], made[2]["id"]]
    assert "deleted=true" in page.headers["link"]
    assert [i["id"] for i in tenant.get("/v2/email-accounts", deleted="false").json["items"]] != []
    assert tenant.get("/v2/email-accounts", deleted="yes").problem("deleted") == "invalid"
    assert deleted(stranger) == []
    assert [i["id"] for i in deleted(tenant, key=tenant.new_key(user_id="user_1"))] == [made[1]["id"], made[3]["id"]]
    assert deleted(tenant, key=tenant.new_key(domains=[tenant.new_domain()])) == []
    restore(tenant, made[0]["id"])
    assert len(deleted(tenant)) == 4


def test_after_the_grace_it_is_gone(tenant: Tenant) -> None:
    account = tenant.account()
    delete(tenant, account["id"])
    age_deletions(tenant, 7 * DAY_MS - 60_000)
    assert len(deleted(tenant)) == 1
    age_deletions(tenant, 60_001)
    assert deleted(tenant) == []
    assert restore(tenant, account["id"]).status == 404


def test_purge_is_now(tenant: Tenant) -> None:
    account = tenant.account("name")
    done = tenant.post("/v2/email-accounts/delete", {"id": account["id"], "purge": True})
    assert done.json == {"ok": True, "deleted": {"id": account["id"], "address": account["address"]}}
    assert restore(tenant, account["id"]).status == 404
    assert deleted(tenant) == []
    assert tenant.account("name")["id"] != account["id"]


def test_purge_of_one_that_is_deleted_already(tenant: Tenant) -> None:
    account = tenant.account("name")
    delete(tenant, account["id"])
    at = last_event(tenant)
    delete(tenant, account["id"], purge=True)
    assert restore(tenant, account["id"]).status == 404
    assert tenant.post("/v2/email-accounts/delete", {"id": account["id"], "purge": True}).status == 404
    assert [event["data"].get("changed") for event in tenant.events(after=at)] == [["purge_at"]]
    assert tenant.get("/v2/stats").json["accounts"]["total"] == 0


def test_without_days_it_is_erased_at_once(database_url: str) -> None:
    with ApiServer.start(database_url, Settings(rate_limit="off", purge_days=0)) as api:
        tenant = api.new_tenant()
        account = tenant.account()
        gone = tenant.post("/v2/email-accounts/delete", {"id": account["id"]}, fields="*").json["deleted"]
        assert gone["purge_at"] == gone["deleted_at"]
        assert restore(tenant, account["id"]).status == 404


def test_one_of_many_at_once_takes_the_address(tenant: Tenant) -> None:
    """A restore races with creates of the same address; exactly one succeeds."""
    account = tenant.account("name")
    delete(tenant, account["id"])
    with ThreadPoolExecutor(8) as pool:
        made = [pool.submit(tenant.create, "name") for _ in range(4)]
        back = [pool.submit(restore, tenant, account["id"]) for _ in range(4)]
    assert sum(done.result().status == 201 for done in made) + any(done.result().status == 200 for done in back) == 1
    assert tenant.get("/v2/stats").json["accounts"]["total"] == 1
