"""Quotas over HTTP: what an account may hold, what a user may promise, and whether a mailbox is
full. tests/mail/test_quotas.py fills real mailboxes."""

from collections.abc import Iterator
from typing import Any

import pytest

from postroom.accounts import quotas
from postroom.actor import Actor
from postroom.errors import MailUnavailable
from postroom.mailboxes.interface import Size, Usage
from postroom.tenants import limits, usage
from postroom.tenants.limits import SetLimits
from tests.api.rows import last_event, rows
from tests.harness.server import ApiServer, Tenant, Told

MB = 1_000_000
QUOTA = {"fields": "quota_bytes,quota_messages"}


@pytest.fixture
def told(api: ApiServer) -> Iterator[Told]:
    yield api.mailboxes
    api.mailboxes.problem, api.mailboxes.size = None, Usage(0, 0)


def path(id_: int) -> str:
    return f"/v2/email-accounts/{id_}"


def promised(tenant: Tenant, user_id: str | None = None) -> int:
    """The counted sum of the quotas, which must be the sum over the accounts."""
    organization = tenant.organization_id
    read = tenant.api.database.write_sync
    counted = read(lambda tx: usage.promised(tx, organization, user_id))
    whose = " AND user_id = :user_id" if user_id else ""
    values = {"user_id": user_id} if user_id else {}
    (row,) = read(
        lambda tx: tx.all(
            "SELECT COALESCE(SUM(quota_bytes), 0) FROM accounts"
            f" WHERE organization_id = :organization AND deleted_at IS NULL{whose}",
            organization=organization,
            **values,
        )
    )
    assert counted == row[0]
    return counted


def door(tenant: Tenant, id_: int) -> str | None:
    """What Postfix tells a sender of mail to the account."""
    where = "WHERE local_part = :local_part AND domain = :domain"
    account = tenant.full(id_)
    values = {"local_part": account["local_part"], "domain": account["domain"]}
    row = tenant.api.database.write_sync(lambda tx: tx.one(f"SELECT action FROM mail_refusals {where}", **values))
    return row[0] if row else None


def test_it_works(tenant: Tenant) -> None:
    account = tenant.create("a", quota_bytes=5 * MB, quota_messages=100).json["account"]
    assert tenant.get(path(account["id"]), **QUOTA).json["account"] == {"quota_bytes": 5 * MB, "quota_messages": 100}
    changed = tenant.put(path(account["id"]), {"quota_bytes": None, "quota_messages": 7})
    assert list(changed.json["account"]) == ["id", "domain", "address", "status"]
    full = tenant.full(account["id"])
    assert (full["quota_bytes"], full["quota_messages"]) == (None, 7)
    assert tenant.full(tenant.account("b")["id"])["quota_bytes"] is None
    found = tenant.get(f"{path(account['id'])}/usage").json
    assert (found["quota_bytes"], found["quota_messages"], found["over_quota"]) == (None, 7, False)


@pytest.mark.parametrize("name", ["quota_bytes", "quota_messages"])
@pytest.mark.parametrize("value", [0, -1, "5", 1.5, 2**63, True, [], {}])
def test_it_refuses(tenant: Tenant, name: str, value: Any) -> None:
    id_ = tenant.account("b")["id"]
    before = rows(tenant)
    for answer in (tenant.create("a", **{name: value}), tenant.put(path(id_), {name: value})):
        assert (answer.status, answer.code) == (400, "invalid_request")
        assert answer.problem(name)
    assert rows(tenant) == before


def test_a_foreign_account_is_not_counted(tenant: Tenant, stranger: Tenant, told: Told) -> None:
    id_ = stranger.account("a")["id"]
    asked = len(told.asked)
    assert tenant.put(path(id_), {"quota_bytes": 1}).code == "not_found"
    assert tenant.put(path(tenant.account("b")["id"]), {"user_id": "other", "quota_bytes": 1}).code == "not_found"
    assert len(told.asked) == asked
    assert stranger.full(id_)["quota_bytes"] is None


def test_the_same_quota_changes_nothing(tenant: Tenant) -> None:
    id_ = tenant.create("a", quota_bytes=MB).json["account"]["id"]
    before = rows(tenant)
    assert tenant.put(path(id_), {"quota_bytes": MB, "quota_messages": None}).status == 200
    assert rows(tenant) == before


def test_the_door_follows_the_quota(tenant: Tenant, told: Told) -> None:
    """With the size that Dovecot tells before the change."""
    told.size = Usage(1000, 10)
    id_ = tenant.account("a")["id"]
    full = "552 5.2.2 The mailbox is full"
    for body, action in [
        ({"quota_bytes": 1001}, None),
        ({"quota_bytes": 1000}, full),
        ({"quota_bytes": None}, None),
        ({"quota_messages": 10}, full),
        ({"quota_messages": 11}, None),
        ({"quota_bytes": 1, "quota_messages": 1}, full),
        ({"quota_bytes": 2000}, full),
        ({"status": "disabled"}, "550 5.2.1 This mailbox is disabled"),
        ({"status": "active"}, full),
    ]:
        assert tenant.put(path(id_), body).status == 200
        assert door(tenant, id_) == action, body
    tenant.post("/v2/email-accounts/delete", {"id": id_})
    tenant.post(f"{path(id_)}/restore", {})
    assert door(tenant, id_) == full
    tenant.put(path(id_), {"quota_messages": None})
    assert door(tenant, id_) is None


def test_events(tenant: Tenant, told: Told) -> None:
    id_ = tenant.account("a")["id"]
    told.size = Usage(900, 1)
    before = last_event(tenant)
    tenant.put(path(id_), {"quota_bytes": 1000})
    tenant.put(path(id_), {"quota_bytes": 900})
    tenant.put(path(id_), {"quota_bytes": 940})
    tenant.put(path(id_), {"quota_bytes": 1200})
    tenant.put(path(id_), {"quota_bytes": 1100})
    tenant.put(path(id_), {"quota_bytes": 940})
    tenant.put(path(id_), {"quota_bytes": 1201})
    tenant.put(path(id_), {"quota_bytes": 1000})
    found = [event for event in tenant.events(after=before) if event["type"] != "account.updated"]
    assert [(event["type"], event["data"].get("percent")) for event in found] == [
        ("account.quota_warning", 80),
        ("account.over_quota", None),
        ("account.under_quota", None),  # at 95 percent, which is no news after "full"
        ("account.quota_warning", 80),  # after 74 percent
    ]
    for event in found:
        assert (event["account_id"], event["user_id"]) == (id_, "user_123")
        assert event["data"]["address"] == f"a@{tenant.domain}"


def test_a_dovecot_that_does_not_answer(tenant: Tenant, told: Told) -> None:
    """The quota is stored, and a worker finds out whether the mailbox is full."""
    id_ = tenant.account("a")["id"]
    told.problem = MailUnavailable("Dovecot does not answer now.")
    assert tenant.put(path(id_), {"quota_bytes": 1000}).status == 200
    assert door(tenant, id_) is None
    database = tenant.api.database
    assert id_ in database.write_sync(lambda tx: quotas.due(tx, 10_000))
    database.write_sync(lambda tx: quotas.record_usage(tx, None, id_, Size(2000, 1)))
    assert door(tenant, id_)
    tenant.put(path(id_), {"quota_bytes": None})  # known without Dovecot
    assert door(tenant, id_) is None


def test_a_default_for_new_accounts(tenant: Tenant) -> None:
    actor = Actor(tenant.organization_id)
    old = tenant.account("old")["id"]
    tenant.api.database.write_sync(lambda tx: limits.change(tx, actor, None, SetLimits(quota_bytes=3 * MB)))
    tenant.put("/v2/limits", {"user_id": "u", "quota_bytes": 2 * MB})

    def quota(name: str, **fields: Any) -> int | None:
        found: int | None = tenant.full(tenant.create(name, **fields).json["account"]["id"])["quota_bytes"]
        return found

    assert quota("a") == 3 * MB
    assert quota("b", user_id="u") == 2 * MB
    assert quota("c", user_id="u", quota_bytes=9 * MB) == 9 * MB
    assert quota("d", user_id="u", quota_bytes=None) is None
    assert tenant.full(old)["quota_bytes"] is None
    assert promised(tenant) == 14 * MB


def test_the_sum_of_a_user(tenant: Tenant) -> None:
    tenant.put("/v2/limits", {"user_id": "user_123", "storage_bytes": 10 * MB})
    first = tenant.create("a", quota_bytes=6 * MB).json["account"]["id"]
    before = rows(tenant)
    for refused in (
        tenant.create("b", quota_bytes=5 * MB),
        tenant.create("b"),
        tenant.create("b", quota_bytes=None),
        tenant.put(path(first), {"quota_bytes": None}),
        tenant.put(path(first), {"quota_bytes": 10 * MB + 1}),
    ):
        assert (refused.status, refused.code, refused.json["limit"]) == (409, "limit_reached", 10 * MB)
        assert refused.problem("storage_bytes") == "limit_reached"
    assert rows(tenant) == before
    second = tenant.create("b", quota_bytes=4 * MB).json["account"]["id"]
    assert tenant.create("c", user_id="other").status == 201
    assert promised(tenant, "user_123") == promised(tenant) == 10 * MB
    assert tenant.put(path(first), {"quota_bytes": 7 * MB}).code == "limit_reached"
    assert tenant.put(path(second), {"quota_bytes": 3 * MB}).status == 200
    assert tenant.put(path(first), {"quota_bytes": 7 * MB}).status == 200
    assert tenant.put(path(first), {"quota_messages": 5, "status": "suspended"}).status == 200
    assert promised(tenant, "user_123") == 10 * MB


def test_the_sum_of_an_organization(tenant: Tenant, stranger: Tenant) -> None:
    actor = Actor(tenant.organization_id)
    tenant.api.database.write_sync(lambda tx: limits.change(tx, actor, None, SetLimits(storage_bytes=10 * MB)))
    assert tenant.create("a", user_id="one", quota_bytes=6 * MB).status == 201
    assert tenant.create("b", user_id="two", quota_bytes=5 * MB).code == "limit_reached"
    assert tenant.create("b", user_id="two", quota_bytes=4 * MB).status == 201
    assert stranger.create("a").status == 201


def test_a_limit_below_the_present_sum(tenant: Tenant) -> None:
    """Nothing is taken away, quotas can be lowered, and nothing is added."""
    id_ = tenant.create("a", quota_bytes=8 * MB).json["account"]["id"]
    unlimited = tenant.account("b")["id"]
    tenant.put("/v2/limits", {"user_id": "user_123", "storage_bytes": 5 * MB})
    assert tenant.put(path(id_), {"quota_bytes": 7 * MB}).status == 200
    assert tenant.put(path(id_), {"quota_bytes": 8 * MB}).code == "limit_reached"
    assert tenant.put(path(unlimited), {"display_name": "x", "quota_messages": 5}).status == 200
    assert tenant.put(path(unlimited), {"quota_bytes": 1}).code == "limit_reached"


def test_a_deleted_account_promises_nothing(tenant: Tenant) -> None:
    tenant.put("/v2/limits", {"user_id": "user_123", "storage_bytes": 10 * MB})
    first = tenant.create("a", quota_bytes=8 * MB).json["account"]["id"]
    tenant.post("/v2/email-accounts/delete", {"id": first})
    assert promised(tenant) == 0
    second = tenant.create("b", quota_bytes=5 * MB).json["account"]["id"]
    refused = tenant.post(f"{path(first)}/restore", {})
    assert (refused.status, refused.code, refused.problem("storage_bytes")) == (409, "limit_reached", "limit_reached")
    tenant.put(path(second), {"quota_bytes": 2 * MB})
    assert tenant.post(f"{path(first)}/restore", {}).status == 200
    assert tenant.full(first)["quota_bytes"] == 8 * MB
    assert promised(tenant) == 10 * MB


def test_a_suspended_account_keeps_its_promise(tenant: Tenant) -> None:
    id_ = tenant.create("a", quota_bytes=MB).json["account"]["id"]
    for status in ("suspended", "disabled", "active"):
        tenant.put(path(id_), {"status": status})
        assert promised(tenant) == promised(tenant, "user_123") == MB


def test_a_retried_change_is_made_once(tenant: Tenant) -> None:
    id_ = tenant.account("a")["id"]
    key = {"idempotency-key": "quota-1"}
    first = tenant.put(path(id_), {"quota_bytes": MB}, headers=key)
    tenant.put(path(id_), {"quota_bytes": 2 * MB})
    assert tenant.put(path(id_), {"quota_bytes": MB}, headers=key).json == first.json
    assert tenant.full(id_)["quota_bytes"] == 2 * MB
