"""POST /v2/email-accounts/delete."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from postroom.db import Tx
from tests.api.rows import last_event, new_events, rows
from tests.harness.server import ApiServer, Tenant

PATH = "/v2/email-accounts/delete"


def test_it_works(tenant: Tenant, api: ApiServer) -> None:
    account = tenant.account("billing")
    done = tenant.post(PATH, {"id": account["id"], "user_id": "user_123"})
    assert done.status == 200
    expected = {"ok": True, "deleted": {"id": account["id"], "address": f"billing@{tenant.domain}"}}
    assert done.json == expected
    assert [*done.json, *done.json["deleted"]] == ["ok", "deleted", "id", "address"]
    assert (account["id"], 1) in api.ended
    assert tenant.get(f"/v2/email-accounts/{account['id']}").status == 404


REFUSED: list[tuple[Any, str, str]] = [
    ({}, "id", "required"),
    ({"id": None}, "id", "invalid"),
    ({"id": "1"}, "id", "invalid"),
    ({"id": 0}, "id", "invalid"),
    ({"id": -1}, "id", "invalid"),
    ({"id": 2**63}, "id", "invalid"),
    ({"id": 10**30}, "id", "invalid"),
    ({"id": 1.5}, "id", "invalid"),
    ({"id": True}, "id", "invalid"),
    ({"id": [1]}, "id", "invalid"),
    ({"id": 1, "user_id": None}, "user_id", "invalid"),
    ({"id": 1, "user_id": ""}, "user_id", "invalid"),
    ({"id": 1, "user_id": 1}, "user_id", "invalid"),
    ({"id": 1, "purge": 1}, "purge", "invalid"),
    ({"id": 1, "purge": None}, "purge", "invalid"),
    ({"id": 1, "erase": True}, "erase", "unknown_field"),
    ([1], "body", "invalid"),
    ("x", "body", "invalid"),
    (None, "id", "required"),
]


@pytest.mark.parametrize(("body", "field", "code"), REFUSED, ids=lambda v: ascii(v)[:30])
def test_it_refuses(tenant: Tenant, body: Any, field: str, code: str) -> None:
    tenant.create()
    before = rows(tenant)
    refused = tenant.post(PATH, body)
    assert (refused.status, refused.code) == (400, "invalid_request")
    assert refused.problem(field) == code
    assert rows(tenant) == before


def test_not_found(tenant: Tenant) -> None:
    account = tenant.account()
    before = rows(tenant)
    for body in ({"id": 2**63 - 1}, {"id": account["id"], "user_id": "user_9"}):
        assert tenant.post(PATH, body).status == 404
    assert tenant.post(PATH, {"id": account["id"], "user_id": "user_123"}, user_id="user_9").status == 404
    assert rows(tenant) == before


def test_the_second_time_is_404(tenant: Tenant, api: ApiServer) -> None:
    account = tenant.account()
    assert tenant.post(PATH, {"id": account["id"]}).status == 200
    before, ended = rows(tenant), len(api.ended)
    assert tenant.post(PATH, {"id": account["id"]}).status == 404
    assert (rows(tenant), len(api.ended)) == (before, ended)


def test_one_of_many_at_once_deletes(tenant: Tenant) -> None:
    account, at = tenant.account(), last_event(tenant)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: tenant.post(PATH, {"id": account["id"]}), range(8)))
    assert sorted(answer.status for answer in answers) == [200] + [404] * 7
    assert new_events(tenant, at) == ["account.deleted"]


def test_the_daemons_no_longer_know_it(tenant: Tenant) -> None:
    account = tenant.account("name")
    tenant.post(PATH, {"id": account["id"]})

    def views(tx: Tx) -> list[Any]:
        sql = "SELECT 1 FROM {} WHERE local_part = 'name' AND domain = :d"
        found = [tx.one(sql.format(v), d=tenant.domain) for v in ("mail_logins", "mail_aliases", "mail_senders")]
        by_id = [tx.one(f"SELECT 1 FROM {v} WHERE id = :i", i=account["id"]) for v in VIEWS_BY_ID]
        return found + by_id

    assert tenant.api.database.write_sync(views) == [None] * 5


VIEWS_BY_ID = ("mail_recipients", "mail_sessions")


def test_its_event(tenant: Tenant) -> None:
    account, other = tenant.account("a"), tenant.account("b")
    at = last_event(tenant)
    done = tenant.post(PATH, {"id": other["id"]})
    (event,) = tenant.events(after=at)
    assert (event["type"], event["account_id"], event["user_id"]) == ("account.deleted", other["id"], "user_123")
    assert event["request_id"] == done.headers["x-request-id"]
    tenant.post(PATH, {"id": account["id"]})
    assert new_events(tenant, event["id"]) == ["account.deleted"]


def test_fields(tenant: Tenant) -> None:
    account = tenant.account(display_name="Z")
    done = tenant.post(PATH, {"id": account["id"]}, fields="*").json
    assert list(done) == ["ok", "deleted"]
    changed = {name: done["deleted"][name] for name in ("updated_at", "deleted_at", "purge_at")}
    assert changed["deleted_at"] == changed["updated_at"] < changed["purge_at"]
    changed |= {"is_default": False, "sessions_ended": True}
    assert done["deleted"] == account | changed
    assert list(done["deleted"]) == list(account)


def test_it_works_when_the_domain_is_no_longer_active(tenant: Tenant) -> None:
    account = tenant.account()
    tenant.set_domain_status(tenant.domain, "suspended")
    assert tenant.post(PATH, {"id": account["id"]}).status == 200


def test_its_revocation_is_recorded_for_the_worker(tenant: Tenant) -> None:
    account = tenant.account()
    tenant.post(PATH, {"id": account["id"]})
    assert [row[1:3] for row in rows(tenant, "session_endings")] == [(account["id"], 1)]


# The statuses of the other accounts, and which of them becomes the default account after the
# deletion of the default account.
SUCCESSION = [
    (["active", "active"], 0),
    (["suspended", "active"], 1),
    (["disabled", "active"], 1),
    (["disabled", "suspended"], 1),
    (["suspended", "suspended"], 0),
    (["disabled", "disabled"], 0),
    ([], None),
]


@pytest.mark.parametrize(("statuses", "successor"), SUCCESSION)
def test_the_default_has_a_successor(tenant: Tenant, statuses: list[str], successor: int | None) -> None:
    default = tenant.account("default")
    tenant.account("foreign", user_id="another")
    others = [tenant.account(f"n{n}")["id"] for n in range(len(statuses))]
    for id_, status in zip(others, statuses, strict=True):
        tenant.put(f"/v2/email-accounts/{id_}", {"status": status})
    at = last_event(tenant)
    tenant.post(PATH, {"id": default["id"]})
    assert [id_ for id_ in others if tenant.full(id_)["is_default"]] == (
        [] if successor is None else [others[successor]]
    )
    events = tenant.events(after=at)
    assert [event["type"] for event in events] == ["account.deleted"] + ["account.updated"] * (successor is not None)
    if successor is not None:
        assert (events[1]["account_id"], events[1]["data"]["changed"]) == (others[successor], ["is_default"])


def test_another_account_keeps_the_default(tenant: Tenant) -> None:
    default, other = tenant.account("a"), tenant.account("b")
    tenant.post(PATH, {"id": other["id"]})
    assert tenant.full(default["id"])["is_default"]
    tenant.post(PATH, {"id": default["id"]})
    assert tenant.account("c")["is_default"]
