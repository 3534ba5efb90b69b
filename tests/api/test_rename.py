"""Renames of accounts on both engines: everything but the address stays."""

import threading
from typing import Any

import pytest

from tests.api.rows import rows
from tests.harness.server import Response, Tenant

DAY_MS = 24 * 3600 * 1000


@pytest.fixture
def ann(tenant: Tenant) -> int:
    return int(tenant.account("ann", user_id="u")["id"])


def rename(tenant: Tenant, id_: int, **body: Any) -> Response:
    return tenant.request("PUT", f"/v2/email-accounts/{id_}", body)


def alias(tenant: Tenant, local_part: str, *ids: int, **more: Any) -> Any:
    body = {"domain": tenant.domain, "local_part": local_part, "user_id": "u", "account_ids": list(ids)}
    return tenant.post("/v2/email-aliases/create", body | more).json["alias"]


def formers(tenant: Tenant, **filters: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = tenant.get("/v2/email-aliases", kind="former", **filters).json["items"]
    return found


def renamed(tenant: Tenant) -> list[tuple[str, str]]:
    every = [event["data"] for event in tenant.events() if event["type"] == "account.renamed"]
    return [(data["from"], data["to"]) for data in every]


def test_it_works(tenant: Tenant, ann: int) -> None:
    old, new = f"ann@{tenant.domain}", f"anna@{tenant.domain}"
    before = tenant.get(f"/v2/email-accounts/{ann}", fields="*").json["account"]
    answer = rename(tenant, ann, local_part="Anna")
    assert (answer.status, list(answer.json["account"])) == (200, ["id", "domain", "address", "status"])
    assert answer.json["account"]["address"] == new
    after = tenant.get(f"/v2/email-accounts/{ann}", fields="*").json["account"]
    changed = {"local_part": "anna", "address": new, "updated_at": after["updated_at"], "aliases": [old]}
    assert after == before | changed
    (former,) = formers(tenant)
    assert (former["address"], former["account_ids"], former["may_send"]) == (old, [ann], True)
    assert (former["expires_at"], former["user_id"]) == (None, "u")
    assert renamed(tenant) == [(old, new)]
    assert [event["data"]["former_id"] for event in tenant.events() if event["type"] == "account.renamed"] == [
        former["id"]
    ]


def test_back_again_swaps_the_two(tenant: Tenant, ann: int) -> None:
    for number in range(3):
        for local_part, former in (("anna", "ann"), ("ann", "anna")):
            assert rename(tenant, ann, local_part=local_part).status == 200, number
            assert [item["local_part"] for item in formers(tenant)] == [former]
    assert len(renamed(tenant)) == 6


def test_the_present_address_changes_nothing(tenant: Tenant, ann: int) -> None:
    before = rows(tenant)
    assert rename(tenant, ann, local_part="ANN", domain=tenant.domain, keep_former=False).status == 200
    assert rows(tenant) == before


def test_with_other_changes(tenant: Tenant, ann: int) -> None:
    answer = rename(tenant, ann, local_part="anna", status="suspended", display_name="Anna")
    assert (answer.json["account"]["address"], answer.json["account"]["status"]) == (
        f"anna@{tenant.domain}",
        "suspended",
    )
    assert rename(tenant, ann, local_part="annb", is_default=False).status == 400
    assert [item["address"] for item in tenant.get("/v2/email-accounts").json["items"]] == [f"anna@{tenant.domain}"]


def test_to_another_domain_moves_the_counters(tenant: Tenant, ann: int) -> None:
    domain = tenant.new_domain(user_id="u")
    assert rename(tenant, ann, domain=domain).json["account"]["address"] == f"ann@{domain}"
    counted = {item["domain"]: item["accounts"]["total"] for item in tenant.get("/v2/stats").json["domains"]}
    assert {name: number for name, number in counted.items() if number} == {domain: 1}
    assert tenant.get("/v2/email-accounts", domain=domain).json["items"][0]["id"] == ann
    assert tenant.get("/v2/email-accounts", q=f"ann@{domain}").json["items"][0]["id"] == ann
    assert tenant.post("/v2/domains/delete", {"domain": domain, "user_id": "u"}).code == "domain_not_empty"


def test_the_old_domain_is_not_deleted_before_the_former_address(tenant: Tenant) -> None:
    domain = tenant.new_domain(user_id="u")
    ann = tenant.account("ann", domain=domain, user_id="u")["id"]
    assert rename(tenant, ann, domain=tenant.domain).status == 200
    body = {"domain": domain, "user_id": "u"}
    assert tenant.post("/v2/domains/delete", body).code == "domain_not_empty"
    assert tenant.post("/v2/email-aliases/delete", {"id": formers(tenant)[0]["id"]}).status == 200
    assert tenant.post("/v2/domains/delete", body).status == 200


def test_without_a_former_address_the_old_one_rests(tenant: Tenant, ann: int) -> None:
    assert rename(tenant, ann, local_part="anna", keep_former=False).status == 200
    assert formers(tenant) == []
    body = {"domain": tenant.domain, "local_part": "ann", "user_id": "other"}
    assert tenant.post("/v2/email-accounts/create", body).code == "address_exists"
    found = tenant.get("/v2/email-aliases/resolve", address=f"ann@{tenant.domain}").json
    assert (found["accepted"], found["reason"]) == (False, "quarantine")
    assert rename(tenant, ann, local_part="ann").status == 200


def test_former_days(tenant: Tenant, ann: int) -> None:
    before = tenant.get(f"/v2/email-accounts/{ann}", fields="updated_at").json["account"]
    assert rename(tenant, ann, local_part="anna", former_days=1).status == 200
    (former,) = formers(tenant)
    assert former["expires_at"][:10] > before["updated_at"][:10]
    for days in (0, -1, 36501, 1.5, "1"):
        assert rename(tenant, ann, local_part="annb", former_days=days).status == 400, days
    assert rename(tenant, ann, local_part="annb", former_days=1, keep_former=False).status == 400
    assert rename(tenant, ann, former_days=1).status == 400


def test_a_former_address_belongs_to_its_account(tenant: Tenant, ann: int) -> None:
    ben = tenant.account("ben", user_id="u")["id"]
    rename(tenant, ann, local_part="anna")
    (former,) = formers(tenant)
    path = f"/v2/email-aliases/{former['id']}"
    for ids in ([ben], [ann, ben]):
        assert tenant.request("PUT", path, {"account_ids": ids}).status == 400
    changed = tenant.request("PUT", path, {"account_ids": [ann], "may_send": False, "name": "old"}).json["alias"]
    assert (changed["kind"], changed["may_send"], changed["name"]) == ("former", False, "old")
    assert rename(tenant, ben, local_part="ann").code == "address_exists"


def test_what_is_refused_changes_nothing(tenant: Tenant, ann: int) -> None:
    tenant.account("ben", user_id="u")
    alias(tenant, "sales", ann)
    suspended = tenant.new_domain(user_id="u", status="suspended")
    others = tenant.new_domain(user_id="other")
    before = rows(tenant)
    for body, code in (
        ({"local_part": "ben"}, "address_exists"),
        ({"local_part": "sales"}, "address_exists"),
        ({"local_part": "admin"}, "reserved_local_part"),
        ({"local_part": "admin", "allow_reserved": True}, "reserved_local_part"),  # a platform domain
        ({"local_part": "a+b"}, "invalid_request"),
        ({"local_part": "*"}, "invalid_request"),
        ({"domain": "nobody-has-this.test"}, "not_found"),
        ({"domain": others}, "not_found"),
        ({"domain": suspended}, "domain_not_active"),
        ({"domain": f"{'a' * 60}.{'b' * 60}.{'c' * 60}.{'d' * 60}.test", "local_part": "x" * 64}, "invalid_request"),
    ):
        assert rename(tenant, ann, **body).code == code, body
    assert rows(tenant) == before


def test_a_role_on_the_user_s_own_domain(tenant: Tenant, ann: int) -> None:
    domain = tenant.new_domain(user_id="u")
    assert rename(tenant, ann, domain=domain, local_part="admin").code == "reserved_local_part"
    assert rename(tenant, ann, domain=domain, local_part="admin", allow_reserved=True).status == 200
    assert rename(tenant, ann, local_part="anna").status == 200
    assert rename(tenant, ann, local_part="admin").status == 200  # it was this account's


def test_limits(tenant: Tenant, ann: int) -> None:
    domain = tenant.new_domain(user_id="u")
    tenant.account("one", domain=domain, user_id="u")
    tenant.request("PUT", "/v2/limits", {"user_id": "u", "accounts_per_domain": 1, "accounts": 2})
    answer = rename(tenant, ann, domain=domain)
    assert (answer.code, answer.json["errors"][0]["field"]) == ("limit_reached", "accounts_per_domain")
    tenant.request("PUT", "/v2/limits", {"user_id": "u", "accounts_per_domain": None, "aliases_per_account": 1})
    assert rename(tenant, ann, domain=domain).status == 200  # no account more, so not the limit on accounts
    assert rename(tenant, ann, domain=tenant.domain).status == 200  # no address more
    answer = rename(tenant, ann, local_part="anna")
    assert (answer.code, answer.json["errors"][0]["field"]) == ("limit_reached", "aliases_per_account")
    assert rename(tenant, ann, local_part="anna", keep_former=False).status == 200


def test_a_deleted_account_takes_its_former_addresses_along(tenant: Tenant, ann: int) -> None:
    rename(tenant, ann, local_part="anna")
    (former,) = formers(tenant)
    tenant.post("/v2/email-accounts/delete", {"id": ann})
    assert formers(tenant) == []
    body = {"domain": tenant.domain, "local_part": "ann", "user_id": "other"}
    assert tenant.post("/v2/email-accounts/create", body).code == "address_exists"
    assert tenant.post(f"/v2/email-accounts/{ann}/restore", {}).json["account"]["address"] == f"anna@{tenant.domain}"
    assert formers(tenant) == [former]


def test_keys_that_are_bound(tenant: Tenant, ann: int) -> None:
    domain = tenant.new_domain(user_id="u")
    path, api = f"/v2/email-accounts/{ann}", tenant.api
    one, both = tenant.new_key(domains=[tenant.domain]), tenant.new_key(domains=[tenant.domain, domain])
    foreign = api.request("PUT", path, {"domain": domain}, key=one)
    missing = api.request("PUT", path, {"domain": "nobody-has-this.test"}, key=one)
    assert (foreign.status, foreign.json | {"request_id": ""}) == (404, missing.json | {"request_id": ""})
    assert api.request("PUT", path, {"local_part": "anna"}, key=tenant.new_key(user_id="other")).status == 404
    assert api.request("PUT", path, {"domain": domain}, key=both).status == 200


def test_a_retry_renames_once(tenant: Tenant, ann: int) -> None:
    headers = {"idempotency-key": "k"}
    path = f"/v2/email-accounts/{ann}"
    first = tenant.request("PUT", path, {"local_part": "anna"}, headers=headers)
    rename(tenant, ann, local_part="annb")
    assert tenant.request("PUT", path, {"local_part": "anna"}, headers=headers).json == first.json
    assert len(renamed(tenant)) == 2


def test_renames_at_once(tenant: Tenant, ann: int) -> None:
    """No address is in two hands, and the counters stay right."""
    ben = tenant.account("ben", user_id="u")["id"]
    domains = [tenant.domain, tenant.new_domain(user_id="u")]
    answers: list[Response] = []

    def run(number: int) -> None:
        for step in range(6):
            body = {"domain": domains[(number + step) % 2], "local_part": f"x{step % 3}"}
            answers.append(rename(tenant, (ann, ben)[number % 2], **body))

    threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {answer.status for answer in answers} <= {200, 409}, [answer.text for answer in answers]
    accounts = tenant.get("/v2/email-accounts", fields="*").json["items"]
    addresses = [item["address"] for item in accounts] + [item["address"] for item in formers(tenant)]
    assert len(addresses) == len(set(addresses)) == len(rows(tenant, "addresses"))
    counted = {item["domain"]: item["accounts"]["total"] for item in tenant.get("/v2/stats").json["domains"]}
    for domain in domains:
        assert counted.get(domain, 0) == len([item for item in accounts if item["domain"] == domain])
