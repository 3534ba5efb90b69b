"""POST /v2/email-accounts/:id/password/reset."""

from typing import Any

import pytest

from tests.api.rows import last_event, opens, rows, stored_password
from tests.harness.server import ApiServer, Tenant

PATH = "/v2/email-accounts/{}/password/reset"
GOOD = "a horse beside the lake"


def test_it_works(tenant: Tenant, api: ApiServer) -> None:
    old = tenant.create("billing").json
    id_ = old["account"]["id"]
    done = tenant.post(PATH.format(id_), {"user_id": "user_123"})
    assert done.status == 200
    assert done.json == {
        "account": {"id": id_, "domain": tenant.domain, "address": f"billing@{tenant.domain}"},
        "password": done.json["password"],
        "note": "Save this password now. It will not be shown again.",
    }
    assert [*done.json, *done.json["account"]] == ["account", "password", "note", "id", "domain", "address"]
    assert done.headers["cache-control"] == "no-store"
    assert opens(tenant, id_, done.json["password"])
    assert not opens(tenant, id_, old["password"])
    assert stored_password(tenant, id_).startswith("{SSHA512}")
    assert [pair for pair in api.ended if pair[0] == id_] == [(id_, 1)]


def test_a_chosen_password(tenant: Tenant) -> None:
    id_ = tenant.account()["id"]
    assert tenant.post(PATH.format(id_), {"password": GOOD}).json["password"] == GOOD
    assert opens(tenant, id_, GOOD)
    assert stored_password(tenant, id_).startswith("{ARGON2ID}")


REFUSED: list[tuple[Any, str, str]] = [
    ({"password": None}, "password", "invalid"),
    ({"password": 1}, "password", "invalid"),
    ({"password": ""}, "password", "too_short"),
    ({"password": "x" * 257}, "password", "too_long"),
    ({"password": "a horse\nbeside the lake"}, "password", "control_character"),
    ({"password": "passwordpassword"}, "password", "common"),
    ({"password": "my own billing account"}, "password", "contains_address"),
    ({"user_id": None}, "user_id", "invalid"),
    ({"user_id": ""}, "user_id", "invalid"),
    ({"password_hash": "x"}, "password_hash", "unknown_scheme"),
    ({"password_hash": None}, "password_hash", "invalid"),
    ({"password_hash": "{MD5-CRYPT}$1$s$/c1BW6w9oMdpQUwlCV1Uu/", "password": GOOD}, "password_hash", "exclusive"),
    ({"id": 1}, "id", "unknown_field"),
    ([], "body", "invalid"),
]


@pytest.mark.parametrize(("body", "field", "code"), REFUSED, ids=lambda v: ascii(v)[:30])
def test_it_refuses(tenant: Tenant, api: ApiServer, body: Any, field: str, code: str) -> None:
    path = PATH.format(tenant.account("billing")["id"])
    before, ended = rows(tenant), len(api.ended)
    refused = tenant.post(path, body)
    assert (refused.status, refused.code) == (400, "invalid_request")
    assert refused.problem(field) == code
    assert (rows(tenant), len(api.ended)) == (before, ended)


@pytest.mark.parametrize("password", [{}, {"password": GOOD}, {"password": "short"}])
def test_not_found(tenant: Tenant, password: dict[str, str]) -> None:
    account = tenant.account()
    before = rows(tenant)
    assert tenant.post(PATH.format(account["id"]), {"user_id": "user_9", **password}).status == 404
    assert tenant.post(PATH.format(account["id"]), {"user_id": "user_123", **password}, user_id="x").status == 404
    for id_ in ("0", "x", account["id"] + 10**9, "9223372036854775808"):
        assert tenant.post(PATH.format(id_), password).status == 404
    assert rows(tenant) == before


def test_without_a_body_a_password_is_generated(tenant: Tenant) -> None:
    id_ = tenant.account()["id"]
    assert opens(tenant, id_, tenant.post(PATH.format(id_)).json["password"])


@pytest.mark.parametrize("status", ["suspended", "disabled"])
def test_the_status_stays(tenant: Tenant, status: str) -> None:
    id_ = tenant.account()["id"]
    tenant.put(f"/v2/email-accounts/{id_}", {"status": status})
    done = tenant.post(PATH.format(id_), {})
    assert tenant.full(id_)["status"] == status
    tenant.put(f"/v2/email-accounts/{id_}", {"status": "active"})
    assert opens(tenant, id_, done.json["password"])


def test_every_reset_ends_the_sessions_before_it(tenant: Tenant, api: ApiServer) -> None:
    id_ = tenant.account()["id"]
    for _ in range(3):
        tenant.post(PATH.format(id_), {})
    assert [pair for pair in api.ended if pair[0] == id_] == [(id_, 1), (id_, 2), (id_, 3)]
    assert [row[1:3] for row in rows(tenant, "session_endings")] == [(id_, 1), (id_, 2), (id_, 3)]
    sql = "SELECT domain FROM mail_sessions WHERE id = :id"
    good = api.database.write_sync(lambda tx: tx.all(sql, id=id_))
    assert good == [("4.acct.internal",)]


def test_its_event(tenant: Tenant) -> None:
    id_, at = tenant.account()["id"], last_event(tenant)
    done = tenant.post(PATH.format(id_), {"password": GOOD})
    (event,) = tenant.events(after=at)
    assert (event["type"], event["account_id"], event["user_id"]) == ("account.password_reset", id_, "user_123")
    assert event["request_id"] == done.headers["x-request-id"]
    assert set(event["data"]) == {"address", "status"}


def test_the_password_is_nowhere_else(tenant: Tenant, log_lines: list[str]) -> None:
    id_, line = tenant.account()["id"], len(log_lines)
    for body in ({}, {"password": GOOD}):
        told = tenant.post(PATH.format(id_), body).json["password"]
        seen = tenant.get("/v2/events", limit=500).text + repr(rows(tenant)) + "".join(log_lines[line:])
        assert "account.password_reset" in seen
        assert told not in seen


def test_fields(tenant: Tenant) -> None:
    account = tenant.account()
    done = tenant.post(PATH.format(account["id"]), {}, fields="*").json
    assert list(done) == ["account", "password", "note"]
    assert list(done["account"]) == list(account)
    assert done["account"] == tenant.full(account["id"]) | {"sessions_ended": True}
    refused = tenant.post(PATH.format(account["id"]), {}, fields="password")
    assert refused.problem("fields") == "unknown_field"


def test_it_works_when_the_domain_is_no_longer_active(tenant: Tenant) -> None:
    id_ = tenant.account()["id"]
    tenant.set_domain_status(tenant.domain, "suspended")
    assert tenant.post(PATH.format(id_), {}).status == 200


def test_a_deleted_account(tenant: Tenant) -> None:
    id_ = tenant.account()["id"]
    tenant.post("/v2/email-accounts/delete", {"id": id_})
    before = rows(tenant)
    assert tenant.post(PATH.format(id_), {"password": GOOD}).status == 404
    assert rows(tenant) == before


def test_scripts_are_stopped_where_that_is_asked_for(tenant: Tenant) -> None:
    """The answer has the same fields. From the commit on, the account's link to its active script
    has another name."""
    mine, other = tenant.account(), tenant.account("other")
    sql = "SELECT active_script FROM mail_recipients WHERE id = :id"

    def link(account: dict[str, Any]) -> str:
        row = tenant.api.database.write_sync(lambda tx: tx.one(sql, id=account["id"]))
        assert row
        return str(row[0])

    path = f"/v2/email-accounts/{mine['id']}/password/reset"
    plain = tenant.post(path, {"disable_scripts": False})
    assert (plain.status, link(mine)) == (200, ".dovecot.sieve")
    asked = tenant.post(path, {"disable_scripts": True})
    assert (asked.status, list(asked.json), list(asked.json["account"])) == (
        200,
        list(plain.json),
        list(plain.json["account"]),
    )
    assert tenant.post(path, {"disable_scripts": True}).status == 200
    assert (link(mine), link(other)) == (".dovecot.2.sieve", ".dovecot.sieve")
    logins = tenant.api.database.write_sync(
        lambda tx: tx.all("SELECT active_script FROM mail_logins WHERE id = :id", id=mine["id"])
    )
    assert logins == [(".dovecot.2.sieve",)]
    told = [event for event in tenant.events() if event["type"] == "account.scripts_disabled"]
    assert [(event["account_id"], event["data"]["address"]) for event in told] == [(mine["id"], mine["address"])] * 2
    wrongs: tuple[object, ...] = ("yes", 1, None, [])
    for wrong in wrongs:
        assert tenant.post(path, {"disable_scripts": wrong}).problem("disable_scripts") == "invalid"
    stranger = tenant.post(f"/v2/email-accounts/{2**40}/password/reset", {"disable_scripts": True})
    assert stranger.status == 404
