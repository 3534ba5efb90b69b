"""GET /v2/events."""

from typing import Any

import pytest

from tests.api.test_list_accounts import ids, next_of, walk
from tests.harness.server import ApiServer, Tenant

PATH = "/v2/events"
KEYS = [
    "id",
    "type",
    "account_id",
    "domain_id",
    "user_id",
    "key_id",
    "request_id",
    "client_address",
    "data",
    "created_at",
]


def test_it_works(tenant: Tenant) -> None:
    account = tenant.account()
    listed = tenant.get(PATH)
    assert listed.status == 200
    assert list(listed.json) == ["items", "limit", "after"]
    assert (listed.json["limit"], listed.json["after"]) == (50, 0)
    assert [item["type"] for item in listed.json["items"]] == ["domain.created", "key.created", "account.created"]
    event = listed.json["items"][-1]
    assert list(event) == KEYS
    assert (event["account_id"], event["user_id"]) == (account["id"], "user_123")
    assert event["created_at"] == account["created_at"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("limit", "0"),
        ("limit", "x"),
        ("after", "-1"),
        ("after", str(2**63)),
        ("account_id", "0"),
        ("account_id", "x"),
        ("account_id", str(2**63)),
        ("account_id", "١"),
        ("user_id", ""),
        ("user_id", "x" * 129),
        ("domain", "x"),
    ],
)
def test_it_refuses(tenant: Tenant, name: str, value: str) -> None:
    refused = tenant.get(PATH, **{name: value})
    assert (refused.status, refused.code) == (400, "invalid_request")
    assert refused.problem(name)


def test_filters(tenant: Tenant) -> None:
    other = tenant.new_domain()
    first, second = tenant.account("a", user_id="u1"), tenant.account("b", user_id="u2", domain=other)
    third = tenant.account("c", user_id="u1", domain=other)

    def found(**query: Any) -> list[int]:
        return [event["account_id"] for event in tenant.events(**query) if event["account_id"]]

    assert found() == [first["id"], second["id"], third["id"]]
    assert found(user_id="u1") == [first["id"], third["id"]]
    assert found(domain=other) == found(domain=other.upper()) == [second["id"], third["id"]]
    assert found(account_id=second["id"]) == [second["id"]]
    assert found(account_id=second["id"], user_id="u2", domain=other) == [second["id"]]
    assert found(account_id=second["id"], user_id="u1") == []
    assert found(domain="nobody-has-this.test") == []
    assert found(account_id=2**63 - 1) == []


def test_a_deleted_accounts_events_stay(tenant: Tenant) -> None:
    account = tenant.account()
    tenant.post("/v2/email-accounts/delete", {"id": account["id"]})
    kept = [event["type"] for event in tenant.events(account_id=account["id"])]
    assert kept == ["account.created", "account.deleted"]


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 50])
def test_the_links_lead_through_every_event_once(tenant: Tenant, limit: int) -> None:
    tenant.create("a")
    tenant.create("b")
    every = ids(tenant.get(PATH))
    pages = walk(tenant, PATH, limit=limit)
    assert [id_ for page in pages for id_ in page] == every == sorted(every)
    assert pages[-1]
    filtered = walk(tenant, PATH, limit=1, user_id="user_123", domain=tenant.domain)
    assert [id_ for page in filtered for id_ in page] == every[-2:]


def test_a_limit_over_the_bound(tenant: Tenant) -> None:
    assert tenant.get(PATH, limit=10**6).json["limit"] == 500


def test_after_the_end_is_an_empty_page(tenant: Tenant) -> None:
    listed = tenant.get(PATH, after=2**63 - 1)
    assert (listed.status, listed.json["items"], next_of(listed)) == (200, [], None)


def test_a_key_of_one_user_sees_that_users_events(tenant: Tenant) -> None:
    account = tenant.account("a", user_id="bound")
    foreign = tenant.account("b", user_id="other")
    key = tenant.new_key(user_id="bound")
    listed = tenant.get(PATH, key=key).json["items"]
    assert {event["user_id"] for event in listed} == {"bound"}
    assert account["id"] in [event["account_id"] for event in listed]
    assert tenant.get(PATH, key=key, account_id=foreign["id"]).json["items"] == []
    assert tenant.get(PATH, key=key, user_id="other").status == 404


def test_the_operators_acts_have_no_key(tenant: Tenant) -> None:
    domain_created = tenant.events()[0]
    assert [domain_created[name] for name in ("key_id", "request_id", "client_address")] == [None, None, None]


def test_no_event_holds_a_key(tenant: Tenant, api: ApiServer) -> None:
    key = tenant.new_key()
    text = tenant.get(PATH).text
    assert "key.created" in text
    assert key not in text
    assert tenant.key not in text


def test_newest_first(tenant: Tenant) -> None:
    for name in ("one", "two", "three"):
        tenant.account(name)
    oldest = [event["id"] for event in tenant.events()]
    first = tenant.get("/v2/events", order="newest", limit=2)
    assert [event["id"] for event in first.json["items"]] == oldest[:-3:-1]
    path = first.headers["link"].partition(">")[0].removeprefix("<")
    assert [event["id"] for event in tenant.get(path).json["items"]] == oldest[-3:-5:-1]
    assert tenant.get("/v2/events", order="other").problem("order") == "invalid"
