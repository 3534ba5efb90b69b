"""Setup links: `credential` of create, POST /v2/email-accounts/:id/setup-link, POST /setup/look and
POST /setup/accept."""

from collections.abc import Callable
from typing import Any

import pytest

from postroom.accounts import purges
from postroom.api.rate_limits import WRONG_KEYS
from postroom.db import Tx
from tests.api import test_rate_limits
from tests.api.rows import last_event, new_events, opens, rows
from tests.api.test_rate_limits import Clock, limited
from tests.harness.hashes import HASHES
from tests.harness.server import ApiServer, Tenant

clock = test_rate_limits.clock
LINK = "/v2/email-accounts/{}/setup-link"
GOOD = "a horse beside the lake"
WRONG = "x" * 43


def token_of(answer: Any) -> str:
    base, _, token = answer.json["setup_url"].partition("/setup#")
    assert base.startswith("http://127.0.0.1:")
    assert len(token) == 43
    return str(token)


def link(tenant: Tenant, id_: int, **fields: Any) -> str:
    made = tenant.post(LINK.format(id_), fields)
    assert made.status == 201, made.text
    return token_of(made)


def look(tenant: Tenant, token: str) -> Any:
    return tenant.post("/setup/look", {"token": token}, key=None)


def accept(tenant: Tenant, token: str, password: str = GOOD) -> Any:
    return tenant.post("/setup/accept", {"token": token, "password": password}, key=None)


def test_it_works(tenant: Tenant, api: ApiServer) -> None:
    made = tenant.create("new", credential="setup_link")
    assert made.status == 201, made.text
    assert list(made.json) == ["account", "password", "note", "setup_url", "setup_expires_at"]
    assert made.json["password"] is None
    assert "works once" in made.json["note"]
    id_, token, before = made.json["account"]["id"], token_of(made), last_event(tenant)
    assert tenant.full(id_)["password_scheme"] is None
    seen = look(tenant, token)
    assert seen.json == {"address": f"new@{tenant.domain}", "expires_at": made.json["setup_expires_at"]}
    done = accept(tenant, token)
    assert done.status == 200, done.text
    assert done.json["address"] == f"new@{tenant.domain}"
    assert done.json["imap"][0]["username"] == f"new@{tenant.domain}"
    assert "plist" in done.json["profile"]
    assert GOOD not in done.text
    assert opens(tenant, id_, GOOD)
    assert tenant.full(id_)["password_scheme"] == "chosen"
    assert new_events(tenant, before) == ["account.password_set"]
    assert [pair for pair in api.ended if pair[0] == id_] == [(id_, 1)]
    assert (look(tenant, token).status, accept(tenant, token).status) == (404, 404)


def test_no_credential(tenant: Tenant) -> None:
    made = tenant.create("none", credential="none")
    assert list(made.json) == ["account", "password", "note"]
    assert made.json["password"] is None
    assert tenant.full(made.json["account"]["id"])["password_scheme"] is None


def test_a_password_stays_until_the_link_is_used(tenant: Tenant) -> None:
    made = tenant.create("old").json
    token = link(tenant, made["account"]["id"], expires_in=60)
    assert opens(tenant, made["account"]["id"], made["password"])
    assert accept(tenant, token).status == 200
    assert not opens(tenant, made["account"]["id"], made["password"])


DEADLY: dict[str, Callable[[Tenant, int], Any]] = {
    "a newer link": lambda t, id_: t.post(LINK.format(id_), {}),
    "a reset": lambda t, id_: t.post(f"/v2/email-accounts/{id_}/password/reset", {}),
    "the end of the sessions": lambda t, id_: t.post(f"/v2/email-accounts/{id_}/sessions/end", {}),
    "a suspension": lambda t, id_: t.put(f"/v2/email-accounts/{id_}", {"status": "suspended"}),
    "a deletion": lambda t, id_: t.post("/v2/email-accounts/delete", {"id": id_}),
    "time": lambda t, id_: t.api.database.write_sync(
        lambda tx: tx.run("UPDATE setup_links SET expires_at = 1 WHERE account_id = :id", id=id_)
    ),
}


@pytest.mark.parametrize("what", DEADLY)
def test_what_ends_a_link(tenant: Tenant, what: str) -> None:
    id_ = tenant.account()["id"]
    token = link(tenant, id_)
    assert look(tenant, token).status == 200
    DEADLY[what](tenant, id_)
    refused, wrong = look(tenant, token), look(tenant, WRONG)
    assert (refused.status, refused.code) == (404, "not_found")
    assert {**refused.json, "request_id": ""} == {**wrong.json, "request_id": ""}
    assert accept(tenant, token).status == 404


def test_a_suspension_that_ends_brings_no_link_back(tenant: Tenant) -> None:
    id_ = tenant.account()["id"]
    token = link(tenant, id_)
    for status in ("suspended", "active"):
        tenant.put(f"/v2/email-accounts/{id_}", {"status": status})
    assert look(tenant, token).status == 404


@pytest.mark.parametrize(
    ("fields", "field", "code"),
    [
        ({"credential": "link"}, "credential", "invalid"),
        ({"credential": None}, "credential", "invalid"),
        ({"credential": "none", "password": GOOD}, "credential", "exclusive"),
        (
            {"credential": "setup_link", "password_hash": HASHES[0]},
            "credential",
            "exclusive",
        ),
    ],
)
def test_create_refuses(tenant: Tenant, fields: dict[str, Any], field: str, code: str) -> None:
    before = rows(tenant)
    refused = tenant.create("x", **fields)
    assert (refused.status, refused.problem(field)) == (400, code)
    assert rows(tenant) == before


@pytest.mark.parametrize("seconds", [0, 59, 30 * 86400 + 1, -1, "60", None, 1.5])
def test_an_expiry_is_bounded(tenant: Tenant, seconds: Any) -> None:
    refused = tenant.post(LINK.format(tenant.account()["id"]), {"expires_in": seconds})
    assert (refused.status, refused.code) == (400, "invalid_request")
    assert refused.problem("expires_in")


@pytest.mark.parametrize("password", ["short", "passwordpassword", "my own billing account", "x" * 257])
def test_the_policy_is_the_same(tenant: Tenant, password: str) -> None:
    """A weak password is refused, and the link still works."""
    token = link(tenant, tenant.account("billing")["id"])
    refused = accept(tenant, token, password)
    assert (refused.status, refused.code) == (400, "invalid_request")
    assert refused.problem("password")
    assert accept(tenant, token).status == 200


def test_the_token_is_kept_as_a_hash(tenant: Tenant, log_lines: list[str]) -> None:
    line = len(log_lines)
    token = link(tenant, tenant.account()["id"])
    look(tenant, token)
    accept(tenant, token, "short")
    table = tenant.api.database.write_sync(lambda tx: _table(tx))
    assert token not in repr(table) + repr(rows(tenant)) + "".join(log_lines[line:])
    assert token not in tenant.get("/v2/events", limit=500).text
    accept(tenant, token)
    assert token not in "".join(log_lines[line:])


def _table(tx: Tx) -> Any:
    found = tx.all("SELECT * FROM setup_links")
    assert found
    return found


def test_the_purge_erases_it(tenant: Tenant) -> None:
    id_ = tenant.account()["id"]
    link(tenant, id_)
    tenant.post("/v2/email-accounts/delete", {"id": id_, "purge": True})
    assert len(rows(tenant, "setup_links")) == 1
    tenant.api.database.write_sync(lambda tx: purges.begin_purge(tx, id_))
    assert rows(tenant, "setup_links") == []


def test_expired_links_go_with_the_next(tenant: Tenant) -> None:
    old, new = (tenant.account(name)["id"] for name in ("old", "new"))
    link(tenant, old)
    DEADLY["time"](tenant, old)
    link(tenant, new)
    assert [row[0] for row in rows(tenant, "setup_links")] == [new]


def test_a_suspended_account_gets_a_link_for_later(tenant: Tenant) -> None:
    id_ = tenant.account()["id"]
    tenant.put(f"/v2/email-accounts/{id_}", {"status": "suspended"})
    token = link(tenant, id_)
    assert (look(tenant, token).status, accept(tenant, token).status) == (404, 404)
    tenant.put(f"/v2/email-accounts/{id_}", {"status": "active"})
    assert accept(tenant, token).status == 200


def test_dovecot_is_away(tenant: Tenant) -> None:
    """The password is set; the worker ends the sessions later."""
    id_ = tenant.account()["id"]
    token, tenant.api.ends = link(tenant, id_), False
    try:
        assert accept(tenant, token).status == 200
    finally:
        tenant.api.ends = True
    assert opens(tenant, id_, GOOD)
    assert [event["type"] for event in tenant.events()][-2:] == ["account.password_set", "account.sessions_pending"]
    assert any(id_ in row for row in rows(tenant, "session_endings"))


def test_the_event_names_the_owners_request(tenant: Tenant) -> None:
    """No key has set the password, so the event has none."""
    made = tenant.create("new", credential="setup_link")
    created = tenant.events()[-1]
    assert (created["type"], created["key_id"]) == ("account.setup_link_created", tenant.key_id(tenant.key))
    done = accept(tenant, token_of(made))
    event = tenant.events()[-1]
    assert (event["type"], event["key_id"], event["client_address"]) == ("account.password_set", None, "127.0.0.1")
    assert event["request_id"] == done.headers["x-request-id"]


def test_wrong_ones_are_counted_by_address(database_url: str, clock: Clock) -> None:
    """As wrong keys are, and together with them. What is no wrong token does not count."""
    with limited(database_url, clock, rate_limit="1000/minute") as tenant:
        token = link(tenant, tenant.account("billing")["id"])
        for _ in range(WRONG_KEYS.calls):
            assert accept(tenant, token, "short").status == 400
        asked = [look, accept] * (WRONG_KEYS.calls // 2 + 1)
        assert {ask(tenant, WRONG).status for ask in asked[: WRONG_KEYS.calls]} == {404}
        for refused in (look(tenant, token), accept(tenant, token), tenant.get("/v2/events", key="pr_" + WRONG)):
            assert (refused.status, refused.code) == (429, "too_many_requests")
            assert int(refused.headers["retry-after"]) > 0
        assert tenant.get("/v2/events").status == 200  # a known key is let in
        clock.now += WRONG_KEYS.seconds
        assert accept(tenant, token).status == 200


@pytest.mark.parametrize("header", ["host", "x-forwarded-host"])
def test_a_link_begins_with_the_setting(database_url: str, clock: Clock, header: str) -> None:
    settings = {"rate_limit": "off", "public_url": "https://api.example.com/", "trusted_proxies": "127.0.0.1"}
    with limited(database_url, clock, **settings) as tenant:
        made = tenant.post(LINK.format(tenant.account()["id"]), {}, headers={header: "evil.example"})
        assert made.json["setup_url"].startswith("https://api.example.com/setup#")


def test_a_stranger_sees_nothing(tenant: Tenant, stranger: Tenant) -> None:
    id_ = tenant.account()["id"]
    assert stranger.post(LINK.format(id_), {}).status == 404
    assert tenant.post(LINK.format(id_), {"user_id": "somebody"}).status == 404
