"""GET /v2/events by type, key and time."""

from datetime import UTC, datetime
from typing import Any

import pytest

from postroom.db import Tx
from tests.harness.server import Tenant

PATH = "/v2/events"


def ids(tenant: Tenant, **query: Any) -> list[int]:
    answer = tenant.get(PATH, limit=500, **query)
    assert answer.status == 200, answer.text
    return [event["id"] for event in answer.json["items"]]


def rfc(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="milliseconds")


@pytest.fixture
def dated(tenant: Tenant) -> list[int]:
    """The ids of twelve events, of which each is a second after the one before, since 1970."""
    for number in range(12):
        tenant.account(f"a{number}")
    made = ids(tenant, type="account.created")

    def work(tx: Tx) -> None:
        tx.run("DELETE FROM events WHERE organization_id = :o AND type <> 'account.created'", o=tenant.organization_id)
        for number, id_ in enumerate(made):
            tx.run("UPDATE events SET created_at = :at WHERE id = :id", at=1000 * number, id=id_)

    tenant.api.database.write_sync(work)
    return made


def test_by_type(tenant: Tenant) -> None:
    account = tenant.account("a")
    tenant.put(f"/v2/email-accounts/{account['id']}", {"status": "suspended"})
    (suspended,) = tenant.events(type="account.suspended")
    assert (suspended["type"], suspended["account_id"]) == ("account.suspended", account["id"])
    assert tenant.events(type="account.suspended", account_id=account["id"], domain=tenant.domain) == [suspended]
    assert tenant.events(type="account.suspended", user_id="nobody") == []
    assert tenant.get(PATH, type="account.invented").problem("type") == "invalid"


def test_by_key(tenant: Tenant) -> None:
    key = tenant.new_key()
    tenant.account("a")
    tenant.post("/v2/email-accounts/create", {"domain": tenant.domain, "local_part": "b", "user_id": "u"}, key=key)
    (event,) = tenant.events(key_id=tenant.key_id(key))
    assert event["data"]["address"] == f"b@{tenant.domain}"
    assert tenant.events(key_id=tenant.key_id(key), type="account.created", user_id="u") == [event]
    assert tenant.events(key_id=tenant.key_id(key), type="account.deleted") == []


def test_by_time(tenant: Tenant, dated: list[int]) -> None:
    for first in (0, 1, 5, 11, 12):
        assert ids(tenant, since=rfc(1000 * first)) == dated[first:]
        assert ids(tenant, until=rfc(1000 * first)) == dated[:first]
        assert ids(tenant, since=rfc(1000 * first - 999)) == dated[first:]
        assert ids(tenant, since=rfc(1000 * first + 1)) == dated[first + 1 :]
    assert ids(tenant, since=rfc(3000), until=rfc(7000)) == dated[3:7]
    assert ids(tenant, since=rfc(3000), until=rfc(7000), order="newest") == dated[3:7][::-1]
    assert ids(tenant, since=rfc(7000), until=rfc(3000)) == []
    assert ids(tenant, since="1970-01-01T01:00:03+01:00") == dated[3:]


@pytest.mark.parametrize("order", ["oldest", "newest"])
def test_pages_of_a_time(tenant: Tenant, dated: list[int], order: str) -> None:
    found: list[int] = []
    query = f"since={rfc(2000)}&until={rfc(9000)}&type=account.created&limit=3&order={order}".replace("+", "%2B")
    path: str | None = f"{PATH}?{query}"
    while path:
        page = tenant.get(path)
        found += [event["id"] for event in page.json["items"]]
        path = page.headers["link"].partition("<")[2].partition(">")[0] if "link" in page.headers else None
    assert found == (dated[2:9] if order == "oldest" else dated[2:9][::-1])


@pytest.mark.parametrize("value", ["yesterday", "2027-01-31", "2027-01-31T00:00:00", "0", "2027-13-01T00:00:00Z"])
@pytest.mark.parametrize("name", ["since", "until"])
def test_a_time_that_is_none(tenant: Tenant, name: str, value: str) -> None:
    refused = tenant.get(PATH, **{name: value})
    assert (refused.status, refused.problem(name)) == (400, "invalid")


def test_a_cursor_beyond_the_time_does_not_widen_it(tenant: Tenant, dated: list[int]) -> None:
    assert ids(tenant, until=rfc(3000), after=dated[9], order="newest") == dated[:3][::-1]
    assert ids(tenant, since=rfc(9000), after=dated[2]) == dated[9:]
