"""GET /v2/domains: the domains that a user sees, with the platform domains."""

from typing import Any

import pytest

from tests.api.test_create_domain import ALL_FIELDS
from tests.harness.server import Tenant

PATH = "/v2/domains"


def names(tenant: Tenant, **options: Any) -> list[str]:
    answer = tenant.get(PATH, **{"user_id": "u", **options})
    assert answer.status == 200, answer.text
    return [item["domain"] for item in answer.json["items"]]


def test_it_works(tenant: Tenant) -> None:
    claimed = tenant.new_domain(user_id="u", status="pending")
    tenant.new_domain(user_id="other")
    listed = tenant.get(PATH, user_id="u")
    assert listed.status == 200, listed.text
    assert listed.json == {
        "items": [{"domain": tenant.domain, "status": "active"}, {"domain": claimed, "status": "pending"}],
        "limit": 50,
        "offset": 0,
    }
    assert list(listed.json) == ["items", "limit", "offset"]
    assert list(tenant.get(PATH, user_id="u", fields="*").json["items"][0]) == ALL_FIELDS
    assert tenant.get(PATH, user_id="u", fields="user_id").json["items"] == [{"user_id": None}, {"user_id": "u"}]


def test_status(tenant: Tenant) -> None:
    claimed = tenant.new_domain(user_id="u", status="pending")
    suspended = tenant.new_domain(user_id="u", status="suspended")
    assert names(tenant, status="pending") == [claimed]
    assert names(tenant, status="suspended") == [suspended]
    assert names(tenant, status="active") == [tenant.domain]


def test_pages(tenant: Tenant) -> None:
    """The user's domains and the platform domains in one order, by offset and by cursor."""
    expected = [tenant.domain] + [tenant.new_domain(user_id="u" if n % 2 else None) for n in range(8)]
    assert names(tenant) == expected
    by_offset = [name for offset in range(0, 10, 4) for name in names(tenant, limit=4, offset=offset)]
    assert by_offset == expected
    found, path = [], f"{PATH}?user_id=u&limit=2"
    while path:
        page = tenant.get(path)
        found += [item["domain"] for item in page.json["items"]]
        path = page.headers.get("link", "").removesuffix('>; rel="next"').removeprefix("<")
    assert found == expected
    assert names(tenant, offset=100) == []


def test_keys(tenant: Tenant) -> None:
    first, second = tenant.new_domain(user_id="u"), tenant.new_domain(user_id="u")
    user = tenant.new_key(user_id="u")
    listed = tenant.get(PATH, key=user).json["items"]
    assert [item["domain"] for item in listed] == [tenant.domain, first, second]
    assert names(tenant, key=tenant.new_key(domains=[first, tenant.domain])) == [tenant.domain, first]
    assert names(tenant, key=tenant.new_key(domains=[second], user_id="u")) == [second]


def test_deleted_ones_are_gone(tenant: Tenant) -> None:
    gone = tenant.new_domain(user_id="u")
    assert tenant.post("/v2/domains/delete", {"domain": gone, "user_id": "u"}).status == 200
    assert names(tenant) == [tenant.domain]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({}, "user_id"),
        ({"user_id": "u", "status": "open"}, "status"),
        ({"user_id": "u", "limit": "0"}, "limit"),
        ({"user_id": "u", "offset": "-1"}, "offset"),
        ({"user_id": "u", "after": "x"}, "after"),
        ({"user_id": "u", "fields": "token"}, "fields"),
    ],
)
def test_it_refuses(tenant: Tenant, query: dict[str, str], field: str) -> None:
    refused = tenant.get(PATH, **query)
    assert refused.status == 400
    assert refused.problem(field)


def test_of_every_user(tenant: Tenant, stranger: Tenant) -> None:
    names = [tenant.domain, tenant.new_domain(user_id="u"), tenant.new_domain(user_id="v")]
    stranger.new_domain(user_id="u")
    assert [item["domain"] for item in tenant.get(PATH, every_user="true").json["items"]] == names
    narrow = tenant.new_key(user_id="u")
    assert [item["domain"] for item in tenant.get(PATH, every_user="true", key=narrow).json["items"]] == names[:2]
    bound = tenant.new_key(domains=names[2:])
    assert [item["domain"] for item in tenant.get(PATH, every_user="true", key=bound).json["items"]] == names[2:]
    assert tenant.get(PATH, every_user="true", user_id="u").problem("every_user") == "invalid"
    assert tenant.get(PATH, every_user="yes").problem("every_user") == "invalid"
