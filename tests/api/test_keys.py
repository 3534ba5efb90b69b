"""The restrictions of a key: domains, networks, expiry. Also the time of its last use."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from postroom.auth import keys
from postroom.auth.tokens import digest
from postroom.db import Tx
from postroom.settings import Settings
from tests.api.rows import last_event, rows
from tests.api.test_list_accounts import ids, walk
from tests.harness.server import ApiServer, Tenant
from tests.harness.service import wait_for

ACCOUNTS = "/v2/email-accounts"


class Bound:
    """A tenant with three domains, and a key for two of them."""

    def __init__(self, tenant: Tenant, **limits: Any) -> None:
        self.tenant = tenant
        self.first, self.second, self.foreign = tenant.domain, tenant.new_domain(), tenant.new_domain()
        self.key = tenant.new_key(domains=[self.first, self.second], **limits)
        names = [self.first, self.foreign, self.second, self.foreign, self.first]
        self.accounts = [tenant.account(f"n{n}", domain=name, user_id=f"u{n % 2}") for n, name in enumerate(names)]
        self.seen = [account["id"] for account in self.accounts if account["domain"] != self.foreign]
        self.hidden = [account["id"] for account in self.accounts if account["domain"] == self.foreign]


@pytest.fixture
def bound(tenant: Tenant) -> Bound:
    return Bound(tenant)


def test_it_works(bound: Bound) -> None:
    tenant = bound.tenant
    made = tenant.request("POST", f"{ACCOUNTS}/create", body_for(bound.second), key=bound.key)
    assert made.status == 201
    assert ids(tenant.get(ACCOUNTS, key=bound.key)) == [*bound.seen, made.json["account"]["id"]]


def body_for(domain: str, local_part: str = "new") -> Any:
    return {"domain": domain, "local_part": local_part, "user_id": "u1"}


def test_a_foreign_domain_does_not_exist(bound: Bound) -> None:
    tenant, before = bound.tenant, rows(bound.tenant)
    id_ = bound.hidden[0]
    refused = [
        tenant.post(f"{ACCOUNTS}/create", body_for(bound.foreign), key=bound.key),
        tenant.post(f"{ACCOUNTS}/create", body_for(bound.foreign, "n1"), key=bound.key),
        tenant.get(f"{ACCOUNTS}/{id_}", key=bound.key),
        tenant.put(f"{ACCOUNTS}/{id_}", {"display_name": "x"}, key=bound.key),
        tenant.post(f"{ACCOUNTS}/{id_}/password/reset", {}, key=bound.key),
        tenant.post(f"{ACCOUNTS}/{id_}/password/reset", {"password": "a password of 5 words"}, key=bound.key),
        tenant.post(f"{ACCOUNTS}/delete", {"id": id_}, key=bound.key),
        tenant.get(f"/v2/domains/{bound.foreign}/email-accounts", key=bound.key),
    ]
    assert [answer.status for answer in refused] == [404] * len(refused)
    assert rows(tenant) == before


@pytest.mark.parametrize("limit", [1, 2, 3, 50])
def test_lists_over_its_domains(bound: Bound, limit: int) -> None:
    tenant = bound.tenant
    pages = walk(replace(tenant, key=bound.key), ACCOUNTS, limit=limit)
    assert [id_ for page in pages for id_ in page] == bound.seen
    assert ids(tenant.get(ACCOUNTS, key=bound.key, offset=1)) == bound.seen[1:]
    assert ids(tenant.get(ACCOUNTS, key=bound.key, after=bound.seen[0])) == bound.seen[1:]
    assert ids(tenant.get(ACCOUNTS, key=bound.key, domain=bound.foreign)) == []
    assert ids(tenant.get(ACCOUNTS, key=bound.key, domain=bound.second)) == [bound.accounts[2]["id"]]
    assert ids(tenant.get(ACCOUNTS, key=bound.key, q="n")) == bound.seen
    assert ids(tenant.get(ACCOUNTS, key=bound.key, user_id="u1")) == []
    assert ids(tenant.get(ACCOUNTS, key=bound.key, user_id="u0", status="active", q="n0")) == bound.seen[:1]


def test_events_of_its_domains(bound: Bound) -> None:
    tenant = bound.tenant
    listed = tenant.get("/v2/events", key=bound.key, limit=500).json["items"]
    assert [event["account_id"] for event in listed if event["account_id"]] == bound.seen
    assert {event["type"] for event in listed} == {"domain.created", "account.created"}
    assert bound.foreign not in str(listed)
    for query in ({"domain": bound.foreign}, {"account_id": bound.hidden[0]}):
        assert tenant.get("/v2/events", key=bound.key, **query).json["items"] == []
    by_user = tenant.get("/v2/events", key=bound.key, user_id="u0").json["items"]
    assert [event["account_id"] for event in by_user] == bound.seen


def test_counts_of_its_domains(bound: Bound) -> None:
    stats = bound.tenant.get("/v2/stats", key=bound.key).json
    assert stats["accounts"]["total"] == 3
    assert [(shown["domain"], shown["accounts"]["total"]) for shown in stats["domains"]] == [
        (bound.first, 2),
        (bound.second, 1),
    ]
    assert bound.tenant.get("/v2/stats", key=bound.key, user_id="u1").json["accounts"]["total"] == 0
    assert bound.tenant.get("/v2/stats", key=bound.key, limit=1, offset=1).json["domains"] == stats["domains"][1:]


def test_user_and_domains_together(tenant: Tenant) -> None:
    both = Bound(tenant, user_id="u0")
    extra = tenant.account("other", user_id="u1")
    assert ids(tenant.get(ACCOUNTS, key=both.key)) == both.seen
    assert tenant.get(f"{ACCOUNTS}/{extra['id']}", key=both.key).status == 404
    assert tenant.get("/v2/stats", key=both.key).json["accounts"]["total"] == 3


def test_it_cannot_move_the_default_account(bound: Bound) -> None:
    tenant, (first, *_, last) = bound.tenant, bound.accounts
    before = rows(tenant)
    refused = tenant.put(f"{ACCOUNTS}/{last['id']}", {"is_default": True, "display_name": "x"}, key=bound.key)
    assert (refused.status, refused.code) == (403, "forbidden")
    assert rows(tenant) == before
    assert tenant.put(f"{ACCOUNTS}/{first['id']}", {"is_default": True}, key=bound.key).status == 200


def test_the_default_follows_to_a_domain_that_the_key_does_not_see(tenant: Tenant) -> None:
    account = tenant.account("a")
    new_default = tenant.account("b", domain=tenant.new_domain())
    key = tenant.new_key(domains=[tenant.domain])
    at = last_event(tenant)
    assert tenant.post(f"{ACCOUNTS}/delete", {"id": account["id"]}, key=key).status == 200
    assert tenant.full(new_default["id"])["is_default"]
    assert [event["account_id"] for event in tenant.events(after=at)] == [account["id"], new_default["id"]]
    shown = tenant.get("/v2/events", key=key, after=at).json["items"]
    assert [event["account_id"] for event in shown] == [account["id"]]


def test_another_claim_of_the_same_name_is_another_domain(tenant: Tenant) -> None:
    name = tenant.new_domain(user_id="u", status="pending")
    tenant.new_domain(name, user_id="v")
    key = tenant.new_key(user_id="u", domains=[name])
    assert tenant.get(f"/v2/domains/{name}/email-accounts", key=key).json["domain"]["status"] == "pending"
    unbound = tenant.post("/v2/keys", {"domains": [name], "user_id": "u"}).json["api_key"]
    assert tenant.post(f"{ACCOUNTS}/create", {"domain": name, "local_part": "a"}, key=unbound).status == 409


def test_networks(tenant: Tenant, database_url: str) -> None:
    here, there = tenant.new_key(networks=("127.0.0.0/8",)), tenant.new_key(networks=("203.0.113.0/24", "::1/128"))
    forwarded = {"X-Forwarded-For": "203.0.113.7"}
    wrong = tenant.get("/v2/stats", key="pr_" + "x" * 43)
    for headers in ({}, forwarded):
        assert tenant.get("/v2/stats", key=here, headers=headers).status == 200
        refused = tenant.get("/v2/stats", key=there, headers=headers)
        assert {**refused.json, "request_id": ""} == {**wrong.json, "request_id": ""}
    with ApiServer.start(database_url, Settings(trusted_proxies="127.0.0.0/8")) as behind:
        for key, status in ((here, 401), (there, 200)):
            assert behind.request("GET", "/v2/stats", key=key, headers=forwarded).status == status
        assert behind.request("GET", "/v2/stats", key=there).status == 401


def test_it_expires_by_itself(tenant: Tenant) -> None:
    made = tenant.post("/v2/keys", {"expires_at": "2199-01-01T00:00:00Z"}).json
    child = tenant.post("/v2/keys", {}, key=made["api_key"]).json
    assert child["key"]["expires_at"] == made["key"]["expires_at"]
    move(tenant, made["api_key"], "expires_at", 1)
    assert tenant.get("/v2/stats", key=made["api_key"]).status == 401
    assert tenant.post("/v2/keys", {}, key=made["api_key"]).status == 401


def move(tenant: Tenant, key: str, column: str, value: int) -> None:
    """Sets a time of a key in the database."""
    sql = f"UPDATE api_keys SET {column} = :value WHERE digest = :digest"
    tenant.api.database.write_sync(lambda tx: tx.run(sql, value=value, digest=digest(key)))


def last_use(tenant: Tenant, key: str) -> int | None:
    sql = "SELECT last_used_at FROM api_keys WHERE digest = :digest"
    row = tenant.api.database.write_sync(lambda tx: tx.one(sql, digest=digest(key)))
    assert row
    found: int | None = row[0]
    return found


def test_the_last_use_is_recorded(tenant: Tenant) -> None:
    key = tenant.new_key()
    tenant.get("/v2/stats", key=key)
    used = wait_for("the last use", lambda: last_use(tenant, key))
    shown = tenant.get("/v2/keys").json["items"][-1]["last_used_at"]
    assert datetime.fromisoformat(shown) == datetime.fromtimestamp(cast(int, used) / 1000, UTC)


def test_the_last_use_is_coarse(tenant: Tenant, database_url: str) -> None:
    key = tenant.new_key()
    now = tenant.api.database.write_sync(lambda tx: tx.now)
    move(tenant, key, "last_used_at", now)
    old = tenant.new_key()
    move(tenant, old, "last_used_at", now - keys.USE_MS)
    with ApiServer.start(database_url) as other:
        for api in (tenant.api, other):
            for used in (key, old):
                assert api.request("GET", "/v2/stats", key=used).status == 200
        wait_for("the last use", lambda: last_use(tenant, old) != now - keys.USE_MS)
    assert last_use(tenant, key) == now


def test_only_the_first_of_several_processes_writes_it(tenant: Tenant) -> None:
    key = tenant.new_key()

    def work(tx: Tx) -> list[Any]:
        found = keys.authenticate(tx, key, "127.0.0.1")
        assert found
        actor, is_to_note = found
        assert is_to_note
        keys.use(tx, actor)
        again = keys.authenticate(tx, key, "127.0.0.1")
        assert again == (actor, False)
        tx.now += 1
        keys.use(tx, actor)
        return [tx.one("SELECT last_used_at FROM api_keys WHERE id = :id", id=actor.key_id), tx.now - 1]

    row, first = tenant.api.database.write_sync(work)
    assert row[0] == first


def test_a_refused_key_was_not_used(tenant: Tenant) -> None:
    key = tenant.new_key(networks=("192.0.2.0/24",))
    assert tenant.get("/v2/stats", key=key).status == 401
    tenant.get("/v2/stats")
    wait_for("the last use", lambda: last_use(tenant, tenant.key))
    assert last_use(tenant, key) is None
