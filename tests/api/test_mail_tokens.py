"""Mail tokens: what they open, and for whom. tests/mail/test_mail_tokens.py asks a real Dovecot."""

from typing import Any

import pytest

from postroom.api.route import PUBLIC, Route
from tests.api.alike import alike
from tests.api.mail_tokens import (
    BODIES,
    CLOSED,
    OF_MAIL,
    OPENED,
    TOKENS,
    USER,
    WRONG,
    account,
    ask,
    bearer,
    call,
    make,
    name,
    whole,
)
from tests.api.rows import rows
from tests.harness.server import Tenant


def test_it_works(tenant: Tenant) -> None:
    path = f"/v2/email-accounts/{account(tenant)}"
    made = tenant.post(TOKENS, {"user_id": USER})
    assert (made.status, made.json["scopes"]) == (201, ["messages:read", "messages:write"])
    assert list(made.json) == ["token", "scopes", "expires_at"]
    token = made.json["token"]
    assert token.startswith("mt_")
    assert [one["mailbox"] for one in ask(tenant, token, f"{path}/mailboxes").json["items"]] == ["INBOX"]
    synced = ask(tenant, token, "/mail/sync", "POST", {"mailbox": "INBOX"})
    assert synced.json == {
        "mailbox": "INBOX",
        "uidvalidity": "1",
        "token": "1.2",
        "changes": {"added": [{"uid": 1}], "updated": [], "removed": []},
    }
    message = ask(tenant, token, "/mail/message", mailbox="INBOX", uid=1).json
    assert (message["uid"], message["flags"], message["rfc822"]) == (1, ["\\Seen"], "Subject: private\r\n\r\nhi\r\n")
    assert message["envelope"]["subject"] == "private"
    assert message["bodyStructure"] == {"type": "text/plain", "part": "1", "encoding": "7bit", "size": 4}
    assert ask(tenant, token, "/mail/attachment", mailbox="INBOX", uid=1, part="2").status == 200
    assert [event["type"] for event in tenant.events()][-2:] == ["mail_token.created", "message.read"]


def test_the_routes_that_a_token_opens() -> None:
    """A new route of messages is opened, every other one is not."""
    assert sorted(map(name, OPENED)) == sorted(
        [
            *("mail.sync", "mail.get_message", "mail.get_attachment", "message_changes.follow", "message_sync.sync"),
            *("messages.get_mailboxes", "messages.get_page", "messages.get", "messages.get_raw"),
            *("messages.get_attachment", "message_edits.update", "message_edits.delete", "message_sends.send"),
        ]
    )


@pytest.mark.parametrize("route", OPENED, ids=name)
def test_a_token_opens_the_accounts_of_its_user(tenant: Tenant, stranger: Tenant, route: Route) -> None:
    mine, second = account(tenant), account(tenant, "second")
    others = [account(tenant, "other", user_id="other"), account(stranger), 9**18]
    token, narrow = whole(tenant), whole(tenant, account_id=second)
    others_token = whole(stranger)
    assert call(tenant, token, route, mine).status == route.status
    if route in OF_MAIL:
        return
    assert call(tenant, narrow, route, second).status == route.status
    before = rows(tenant), rows(stranger), len(tenant.api.messages.asked)
    foreign = [call(tenant, token, route, id_) for id_ in others] + [call(tenant, narrow, route, mine)]
    foreign.append(call(tenant, others_token, route, mine))
    assert {(one.status, one.code) for one in foreign} == {(404, "not_found")}
    assert len({str(alike(one)) for one in foreign}) == 1
    assert (
        call(tenant, token, route, others[0]).text.partition('"request_id"')[0]
        == (
            tenant.request(
                route.method,
                route.path.replace(":message_id", "1.1").replace(":id", str(9**18)).replace(":part", "2"),
                BODIES.get(route.name, {}) if route.body else None,
            ).text.partition('"request_id"')[0]
        )
    )
    assert (rows(tenant), rows(stranger), len(tenant.api.messages.asked)) == before


@pytest.mark.parametrize("route", CLOSED, ids=name)
def test_every_other_route_is_closed(tenant: Tenant, route: Route) -> None:
    """Also the route that makes tokens."""
    id_ = account(tenant)
    token = whole(tenant)
    before = rows(tenant)
    path = route.path.replace(":id", str(id_)).replace(":account_id", str(id_)).replace(":domain", tenant.domain)
    body = {"user_id": USER} if route.body else None
    refused = ask(tenant, token, path, route.method, body)
    is_owners = route.path.startswith("/v2/me")
    assert refused.status == (401 if is_owners and route.scope != PUBLIC else 400 if is_owners else 403), refused.text
    assert rows(tenant) == before


def test_it_is_read_from_one_header(tenant: Tenant) -> None:
    path = f"/v2/email-accounts/{account(tenant)}/mailboxes"
    token = make(tenant)
    request = tenant.api.request
    assert request("GET", path, headers=bearer(token)).status == 200
    assert request("GET", path, headers={"x-api-key": token}).status == 401
    assert request("GET", path, headers={"x-api-key": token, **bearer(token)}).status == 401
    assert request("GET", path, headers={"x-api-key": tenant.key, **bearer(token)}).status == 401
    assert request("GET", path, headers={"cookie": f"postroom_session={token}"}).status == 401
    assert request("GET", f"{path}?token={token}&access_token={token}").status == 401
    assert request("POST", "/console/session", {}, headers=bearer(token)).status == 401
    assert request("GET", "/metrics", headers=bearer(token)).status == 403


@pytest.mark.parametrize("path", ["/mail", "/mail/", "/mail/nothing", *(route.path for route in OF_MAIL)])
@pytest.mark.parametrize("method", ["GET", "POST", "PUT"])
def test_under_mail_nothing_is_said_without_a_token(tenant: Tenant, path: str, method: str) -> None:
    account(tenant)
    asked = [bearer(key) for key in (tenant.key, WRONG)] + [{"x-api-key": tenant.key}, {}]
    refused = [tenant.api.request(method, path, headers=headers) for headers in asked]
    assert {one.status for one in refused} == {401}
    assert len({str(alike(one)) for one in refused}) == 1
    assert refused[0].headers["www-authenticate"].startswith("Bearer")
    told = refused[0].json
    assert (told["error"], told["hint"]) == (told["title"], told["detail"])
    known = [route.method for route in OF_MAIL if route.path == path]
    with_token = ask(tenant, make(tenant), path, method, {} if method == "POST" else None)
    assert with_token.status == (404 if not known else 405 if method not in known else with_token.status)


def test_the_settings_of_mail_programs_need_no_token(tenant: Tenant) -> None:
    host = {"host": f"autoconfig.{tenant.domain}"}
    assert tenant.api.request("GET", "/mail/config-v1.1.xml", headers=host).status == 200


def test_without_an_account_the_default_one_is_meant(tenant: Tenant) -> None:
    first, second = account(tenant), account(tenant, "second")
    token, of_second, asked = make(tenant), make(tenant, account_id=second), tenant.api.messages.asked
    assert ask(tenant, token, "/mail/sync", "POST", {}).status == 200
    assert asked[-1] == first
    assert ask(tenant, of_second, "/mail/message", uid=1).status == 200
    assert asked[-1] == second
    tenant.put(f"/v2/email-accounts/{second}", {"is_default": True})
    assert ask(tenant, token, "/mail/attachment", uid=1, part="2").status == 200
    assert asked[-1] == second
    tenant.post(f"/v2/email-accounts/{second}/sessions/end", {})
    assert ask(tenant, token, "/mail/sync", "POST", {}).code == "not_found"
    assert ask(tenant, token, f"/v2/email-accounts/{first}/mailboxes").status == 200


@pytest.mark.parametrize(
    ("scopes", "route", "status"),
    [
        (["messages:read"], "messages.get", 200),
        (["messages:read"], "message_edits.update", 403),
        (["messages:write"], "message_edits.update", 200),
        (["messages:write"], "mail.sync", 403),
        (["messages:send"], "message_sends.send", 202),
        (["messages:read", "messages:write"], "message_sends.send", 403),
    ],
)
def test_it_may_do_what_it_was_made_for(tenant: Tenant, scopes: list[str], route: str, status: int) -> None:
    id_ = account(tenant)
    answer = call(tenant, make(tenant, scopes=scopes), next(one for one in OPENED if one.name == route), id_)
    assert answer.status == status


def test_it_is_no_wider_than_its_key(tenant: Tenant) -> None:
    account(tenant)
    reader = tenant.new_key(scopes=["messages:read"])
    assert tenant.post(TOKENS, {"user_id": USER}, key=reader).json["scopes"] == ["messages:read"]
    refused = tenant.post(TOKENS, {"user_id": USER, "scopes": ["messages:read", "messages:send"]}, key=reader)
    assert (refused.status, refused.code, refused.problem("scopes")) == (403, "forbidden", "too_wide")
    wider = tenant.post(TOKENS, {"user_id": USER, "scopes": ["messages:read", "accounts:read"]})
    assert (wider.status, wider.problem("scopes")) == (400, "invalid")
    usual = tenant.post("/v2/keys", {}).json["api_key"]
    assert tenant.post(TOKENS, {"user_id": USER}, key=usual).status == 403
    expiring = tenant.post("/v2/keys", {"scopes": ["messages:read"], "expires_at": "2037-01-31T12:00:00Z"})
    first = tenant.post(TOKENS, {"user_id": USER}, key=expiring.json["api_key"]).json["expires_at"]
    sql = "UPDATE api_keys SET expires_at = created_at + 2000000 WHERE id = :id"
    tenant.api.database.write_sync(lambda tx: tx.run(sql, id=expiring.json["key"]["id"]))
    capped = {"user_id": USER, "expires_in": 86400}
    told = tenant.post(TOKENS, capped, key=expiring.json["api_key"]).json["expires_at"]
    assert first < told
    listed = next(one for one in tenant.get("/v2/keys").json["items"] if one["id"] == expiring.json["key"]["id"])
    assert told == listed["expires_at"]


def test_the_bindings_of_its_key_count(tenant: Tenant) -> None:
    domain = tenant.new_domain()
    here, there = account(tenant), account(tenant, "second", domain=domain)
    of_user = tenant.new_key(user_id=USER)
    assert tenant.post(TOKENS, {}, key=of_user).status == 201
    assert tenant.post(TOKENS, {"user_id": "other"}, key=of_user).code == "not_found"
    of_domain = tenant.new_key(domains=[domain])
    token = make(tenant, key=of_domain)
    assert ask(tenant, token, f"/v2/email-accounts/{there}/mailboxes").status == 200
    assert ask(tenant, token, f"/v2/email-accounts/{here}/mailboxes").status == 404
    assert ask(tenant, token, "/mail/sync", "POST", {}).code == "not_found"  # the default account is elsewhere
    assert tenant.post(TOKENS, {"user_id": USER, "account_id": here}, key=of_domain).code == "not_found"
    token = make(tenant, key=tenant.new_key(networks=("127.0.0.0/8",)))
    path = f"/v2/email-accounts/{here}/mailboxes"
    assert ask(tenant, token, path).status == 200
    sql = "UPDATE api_keys SET networks = '192.0.2.0/24' WHERE organization_id = :o AND networks = '127.0.0.0/8'"
    tenant.api.database.write_sync(lambda tx: tx.run(sql, o=tenant.organization_id))
    assert ask(tenant, token, path).status == 401


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "user_id"),
        ({"user_id": ""}, "user_id"),
        ({"user_id": USER, "expires_in": 0}, "expires_in"),
        ({"user_id": USER, "expires_in": 86401}, "expires_in"),
        ({"user_id": USER, "account_id": 0}, "account_id"),
        ({"user_id": USER, "scopes": []}, "scopes"),
        ({"user_id": USER, "networks": []}, "networks"),
    ],
)
def test_it_refuses(tenant: Tenant, body: dict[str, Any], field: str) -> None:
    account(tenant)
    before = rows(tenant)
    refused = tenant.post(TOKENS, body)
    assert (refused.status, refused.code) == (400, "invalid_request")
    assert refused.problem(field)
    assert rows(tenant) == before


def test_of_an_account_that_is_closed(tenant: Tenant) -> None:
    id_, second = account(tenant), account(tenant, "second")
    for status in ("suspended", "disabled"):
        tenant.put(f"/v2/email-accounts/{id_}", {"status": status})
        refused = tenant.post(TOKENS, {"user_id": USER, "account_id": id_})
        assert (refused.status, refused.code) == (409, f"account_{status}")
    token = make(tenant)
    assert ask(tenant, token, f"/v2/email-accounts/{second}/mailboxes").status == 200
    assert ask(tenant, token, f"/v2/email-accounts/{id_}/mailboxes").status == 404
    tenant.put(f"/v2/email-accounts/{second}", {"status": "disabled"})
    assert tenant.post(TOKENS, {"user_id": USER}).code == "account_disabled"
    for one in (id_, second):
        tenant.post("/v2/email-accounts/delete", {"id": one})
    assert tenant.post(TOKENS, {"user_id": USER}).code == "not_found"


@pytest.mark.parametrize("query", ["", "uid=0", "uid=x", "uid=1&mailbox=a%0d%0ab", "uid=1&mailbox="])
def test_a_message_that_nobody_can_mean(tenant: Tenant, query: str) -> None:
    account(tenant)
    token, asked = make(tenant), len(tenant.api.messages.asked)
    for path in ("/mail/message?", "/mail/attachment?part=2&"):
        assert ask(tenant, token, path + query).code == "invalid_request"
        assert ask(tenant, token, f"{path}uid=4294967296").code == "not_found"
    assert ask(tenant, token, "/mail/sync", "POST", {"mailbox": ""}).problem("mailbox") == "invalid"
    assert ask(tenant, token, "/mail/sync", "POST", {"token": "x"}).problem("token") == "invalid"
    assert len(tenant.api.messages.asked) == asked
