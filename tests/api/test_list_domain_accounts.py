"""GET /v2/domains/:domain/email-accounts. It has the paging and the filters of GET
/v2/email-accounts."""

from typing import Any
from urllib.parse import quote

import pytest

from tests.api.test_list_accounts import ids, next_of, walk
from tests.harness.server import Tenant


def path(domain: str) -> str:
    return f"/v2/domains/{quote(domain, safe='')}/email-accounts"


def test_it_works(tenant: Tenant) -> None:
    account = tenant.account("support")
    tenant.account("elsewhere", domain=tenant.new_domain())
    listed = tenant.get(path(tenant.domain), user_id="user_123", limit=50)
    assert listed.status == 200
    assert list(listed.json) == ["domain", "items", "limit", "offset"]
    assert list(listed.json["domain"].items()) == [("domain", tenant.domain), ("status", "active")]
    assert [list(item.items()) for item in listed.json["items"]] == [
        [
            ("id", account["id"]),
            ("domain", tenant.domain),
            ("local_part", "support"),
            ("address", f"support@{tenant.domain}"),
        ]
    ]
    assert (listed.json["limit"], listed.json["offset"]) == (50, 0)


@pytest.mark.parametrize(
    ("name", "value"),
    [("limit", "0"), ("offset", "-1"), ("after", "x"), ("status", "gone"), ("q", ""), ("user_id", ""), ("fields", "x")],
)
def test_it_refuses(tenant: Tenant, name: str, value: str) -> None:
    refused = tenant.get(path(tenant.domain), **{name: value})
    assert (refused.status, refused.code) == (400, "invalid_request")
    assert refused.problem(name)


@pytest.mark.parametrize("name", ["nobody-has-this.test", "x", "127.0.0.1", "co.uk", "a/b.test", "..", "x" * 300, "é"])
def test_not_found(tenant: Tenant, name: str) -> None:
    refused = tenant.get(path(name))
    assert (refused.status, refused.code) == (404, "not_found")


@pytest.mark.parametrize("status", ["pending", "suspended"])
def test_a_domain_that_is_not_active(tenant: Tenant, status: Any) -> None:
    account = tenant.account()
    tenant.set_domain_status(tenant.domain, status)
    listed = tenant.get(path(tenant.domain))
    assert listed.json["domain"] == {"domain": tenant.domain, "status": status}
    assert ids(listed) == [account["id"]]


def test_the_user(tenant: Tenant) -> None:
    own = tenant.new_domain(user_id="u1")
    account = tenant.account(domain=own, user_id="u1")
    assert ids(tenant.get(path(own))) == ids(tenant.get(path(own), user_id="u1")) == [account["id"]]
    assert tenant.get(path(own), user_id="u2").status == 404
    first, second = tenant.account("a", user_id="u1"), tenant.account("b", user_id="u2")
    assert ids(tenant.get(path(tenant.domain))) == [first["id"], second["id"]]
    assert ids(tenant.get(path(tenant.domain), user_id="u2")) == [second["id"]]
    assert ids(tenant.get(path(tenant.domain), user_id="u3")) == []


def test_a_key_of_one_user(tenant: Tenant) -> None:
    key = tenant.new_key(user_id="u1")
    own, theirs = tenant.new_domain(user_id="u1"), tenant.new_domain(user_id="u2")
    first = tenant.account("a", user_id="u1")
    tenant.create("b", user_id="u2")
    assert ids(tenant.get(path(tenant.domain), key=key)) == [first["id"]]
    assert tenant.get(path(own), key=key).status == 200
    assert tenant.get(path(theirs), key=key).status == 404
    assert tenant.get(path(tenant.domain), key=key, user_id="u2").status == 404


def test_an_international_domain_in_any_spelling(tenant: Tenant) -> None:
    number = tenant.domain.removesuffix(".test")
    name = tenant.new_domain(f"bücher{number}.test".encode("idna").decode())
    made = [tenant.account(f"n{n}", domain=name)["id"] for n in range(3)]
    for spelling in (name, name.upper(), f"Bücher{number}.test"):
        listed = tenant.get(path(spelling), limit=2)
        assert listed.json["domain"]["domain"] == name
        link = next_of(listed)
        assert link
        assert link.isascii()
        assert walk(tenant, path(spelling), limit=2) == [made[:2], made[2:]]


def test_search_and_filters(tenant: Tenant) -> None:
    made = [tenant.account(f"n{n}")["id"] for n in range(4)]
    tenant.account("n9", domain=tenant.new_domain())
    tenant.put(f"/v2/email-accounts/{made[2]}", {"status": "suspended"})
    assert walk(tenant, path(tenant.domain), q="n", limit=3) == [made[:3], made[3:]]
    assert ids(tenant.get(path(tenant.domain), status="suspended")) == [made[2]]
    assert ids(tenant.get(path(tenant.domain), q="n2", status="active")) == []
    assert ids(tenant.get(path(tenant.domain), offset=3)) == made[3:]
    assert ids(tenant.get(path(tenant.domain), after=made[0], limit=1)) == [made[1]]


def test_fields(tenant: Tenant) -> None:
    account = tenant.account()
    assert tenant.get(path(tenant.domain), fields="*").json["items"] == [account]
    assert tenant.get(path(tenant.domain), fields="id").json["items"] == [{"id": account["id"]}]
