"""GET /v2/stats."""

import random
from collections import Counter
from typing import Any

import pytest

from tests.harness.server import Tenant

PATH = "/v2/stats"
ZERO = {"total": 0, "active": 0, "suspended": 0, "disabled": 0}


def test_it_works(tenant: Tenant) -> None:
    first = tenant.account("a")
    tenant.account("b")
    tenant.put(f"/v2/email-accounts/{first['id']}", {"status": "suspended"})
    stats = tenant.get(PATH)
    assert stats.status == 200
    counted = {"total": 2, "active": 1, "suspended": 1, "disabled": 0}
    assert stats.json == {
        "accounts": counted,
        "domains": [{"domain": tenant.domain, "accounts": counted}],
        "limit": 50,
        "offset": 0,
    }
    assert [*stats.json, *stats.json["accounts"]] == ["accounts", "domains", "limit", "offset", *counted]


@pytest.mark.parametrize(
    ("name", "value"), [("limit", "0"), ("limit", "x"), ("offset", "-1"), ("user_id", ""), ("user_id", "x" * 129)]
)
def test_it_refuses(tenant: Tenant, name: str, value: str) -> None:
    refused = tenant.get(PATH, **{name: value})
    assert (refused.status, refused.code) == (400, "invalid_request")
    assert refused.problem(name)


def test_nothing_yet(tenant: Tenant) -> None:
    assert tenant.get(PATH).json == {"accounts": ZERO, "domains": [], "limit": 50, "offset": 0}
    tenant.create("a")
    assert tenant.get(PATH, user_id="nobody").json["accounts"] == ZERO


def test_a_refused_create_is_not_counted(tenant: Tenant) -> None:
    tenant.create("a")
    tenant.create("a")
    tenant.create("postmaster")
    tenant.create("a", domain="nobody-has-this.test")
    assert tenant.get(PATH).json["accounts"] == ZERO | {"total": 1, "active": 1}


def test_pages_of_domains(tenant: Tenant) -> None:
    names = [tenant.domain, *(tenant.new_domain() for _ in range(4))]
    for name in names:
        tenant.create("a", domain=name)

    def page(**query: int) -> list[str]:
        stats = tenant.get(PATH, **query).json
        assert stats["accounts"]["total"] == 5
        return [shown["domain"] for shown in stats["domains"]]

    assert page() == names
    assert page(limit=2) == names[:2]
    assert page(limit=2, offset=3) == names[3:]
    assert page(offset=5) == page(offset=2**63 - 1) == []


def test_a_key_of_one_user_counts_that_users_accounts(tenant: Tenant) -> None:
    tenant.create("a", user_id="bound")
    tenant.create("b", user_id="other")
    key = tenant.new_key(user_id="bound")
    assert tenant.get(PATH, key=key).json["accounts"]["total"] == 1
    assert tenant.get(PATH, key=key, user_id="other").status == 404


@pytest.mark.parametrize("seed", [1, 2])
def test_they_equal_a_recount(tenant: Tenant, seed: int) -> None:
    chance = random.Random(seed)
    names, users = [tenant.domain, tenant.new_domain()], ["u1", "u2"]
    for step in range(60):
        _something(tenant, chance, step, names, users)
    for query in ({}, {"user_id": "u1"}, {"user_id": "u2"}):
        listed = tenant.get("/v2/email-accounts", limit=500, fields="domain,status", **query).json["items"]
        stats = tenant.get(PATH, **query).json
        assert stats["accounts"] == _count(listed)
        for shown in stats["domains"]:
            assert shown["accounts"] == _count([a for a in listed if a["domain"] == shown["domain"]])


def _something(tenant: Tenant, chance: random.Random, step: int, names: list[str], users: list[str]) -> None:
    living = tenant.get("/v2/email-accounts", limit=500).json["items"]
    act = chance.choice(["create", "create", "status", "status", "delete", "taken"])
    if act == "create" or not living:
        tenant.create(f"n{step}", domain=chance.choice(names), user_id=chance.choice(users))
        return
    account = chance.choice(living)
    if act == "status":
        status = chance.choice(["active", "suspended", "disabled"])
        tenant.put(f"/v2/email-accounts/{account['id']}", {"status": status})
    elif act == "delete":
        tenant.post("/v2/email-accounts/delete", {"id": account["id"]})
    else:
        local_part, _, domain = account["address"].partition("@")
        assert tenant.create(local_part, domain=domain).status == 409


def _count(accounts: list[dict[str, Any]]) -> dict[str, int]:
    by_status = Counter(account["status"] for account in accounts)
    return ZERO | by_status | {"total": len(accounts)}
