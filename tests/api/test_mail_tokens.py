"""Mail tokens: what they open, for whom, and what ends them. tests/mail/test_mail_tokens.py asks a
real Dovecot."""

from collections.abc import Callable
from typing import Any

import pytest

from postroom.accounts import mail_tokens, purges
from postroom.actor import ALL_SCOPES
from postroom.api.rate_limits import WRONG_KEYS
from postroom.api.route import PUBLIC, Route
from postroom.api.routes import ROUTES
from tests.api import test_rate_limits
from tests.api.alike import alike
from tests.api.raw import plain
from tests.api.rows import rows
from tests.api.test_rate_limits import Clock, limited, state
from tests.harness.server import Response, Tenant

clock = test_rate_limits.clock
TOKENS = "/v2/mail-tokens"
USER = "user_123"
WRONG = "mt_" + "x" * 43
OPENED = [route for route in ROUTES if route.takes_mail_token]
CLOSED = [route for route in ROUTES if route.path.startswith("/v2/") and not route.takes_mail_token]
OF_MAIL = [route for route in ROUTES if route.needs_mail_token]
QUERIES = {"/mail/message": {"uid": 1}, "/mail/attachment": {"uid": 1, "part": "2"}}
BODIES: dict[str, dict[str, Any]] = {
    "message_edits.update": {"flags": {"seen": True}},
    "message_edits.delete": {"ids": ["1.1"]},
    "message_sends.send": {"to": ["ann@else.example"], "text": "hi"},
}


def name(route: Route) -> str:
    return route.name


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def make(tenant: Tenant, user_id: str = USER, **fields: Any) -> str:
    options = {"key": fields.pop("key")} if "key" in fields else {}
    made = tenant.post(TOKENS, {"user_id": user_id, **fields}, **options)
    assert made.status == 201, made.text
    token: str = made.json["token"]
    return token


def whole(tenant: Tenant, **fields: Any) -> str:
    """A token with every scope that a token may have."""
    return make(tenant, scopes=list(mail_tokens.SCOPES), **fields)


def ask(tenant: Tenant, token: str, path: str, method: str = "GET", body: Any = None, **query: Any) -> Response:
    """A request with the token and no key."""
    return tenant.api.request(method, path, body, headers=bearer(token), **query)


def call(tenant: Tenant, token: str, route: Route, id_: int) -> Response:
    """A request to the route of a message of the account."""
    path = route.path.replace(":message_id", "1.1").replace(":id", str(id_)).replace(":part", "2")
    body = BODIES.get(route.name, {}) if route.body else None
    return ask(tenant, token, path, route.method, body, **QUERIES.get(path, {}))


def account(tenant: Tenant, local_part: str = "billing", **fields: Any) -> int:
    id_: int = tenant.account(local_part, **fields)["id"]
    return id_


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


def _run(tenant: Tenant, sql: str) -> None:
    tenant.api.database.write_sync(lambda tx: tx.run(f"{sql} WHERE organization_id = :o", o=tenant.organization_id))


# What ends the token of an account, at once and for good.
DEADLY: dict[str, Callable[[Tenant, int, int], Any]] = {
    "time": lambda t, id_, key: _run(t, "UPDATE mail_tokens SET expires_at = 1"),
    "its key's time": lambda t, id_, key: _run(t, f"UPDATE api_keys SET expires_at = CASE id WHEN {key} THEN 1 END"),
    "its key's end": lambda t, id_, key: t.post("/v2/keys/delete", {"id": key}),
    "a suspension": lambda t, id_, key: t.put(f"/v2/email-accounts/{id_}", {"status": "suspended"}),
    "a disabling": lambda t, id_, key: t.put(f"/v2/email-accounts/{id_}", {"status": "disabled"}),
    "the user's suspension": lambda t, id_, key: t.post("/v2/users/suspend", {"user_id": USER}),
    "a reset": lambda t, id_, key: t.post(f"/v2/email-accounts/{id_}/password/reset", {}),
    "a sign-out": lambda t, id_, key: t.post(f"/v2/email-accounts/{id_}/sessions/end", {}),
    "a deletion": lambda t, id_, key: t.post("/v2/email-accounts/delete", {"id": id_}),
    "the user's deletion": lambda t, id_, key: t.post("/v2/users/delete", {"user_id": USER}),
    "a lost domain": lambda t, id_, key: t.set_domain_status(t.domain, "pending"),
}


@pytest.mark.parametrize("of_account", [False, True], ids=["of the user", "of an account"])
@pytest.mark.parametrize("deadly", DEADLY)
def test_what_ends_a_token(tenant: Tenant, deadly: str, of_account: bool) -> None:
    id_ = account(tenant)
    child = tenant.post("/v2/keys", {"scopes": list(ALL_SCOPES)}).json
    fields = {"account_id": id_} if of_account else {}
    token, path = make(tenant, key=child["api_key"], **fields), f"/v2/email-accounts/{id_}/mailboxes"
    assert ask(tenant, token, path).status == 200
    done = DEADLY[deadly](tenant, id_, child["key"]["id"])
    assert done is None or done.status == 200, done.text
    refused = [ask(tenant, token, path), ask(tenant, token, "/mail/sync", "POST", {}), ask(tenant, WRONG, path)]
    assert {(one.status, one.code) for one in refused} == {(401, "unauthorized")}
    if deadly.startswith(("a ", "the user's")) and deadly != "a lost domain":
        tenant.post(f"/v2/email-accounts/{id_}/restore", {})
        tenant.put(f"/v2/email-accounts/{id_}", {"status": "active"})
        assert ask(tenant, make(tenant), path).status == 200
        assert ask(tenant, token, path).status == 401


def test_what_ends_one_account_leaves_the_others(tenant: Tenant) -> None:
    first, second = account(tenant), account(tenant, "second")
    token = make(tenant)
    tenant.put(f"/v2/email-accounts/{second}", {"status": "suspended"})
    assert ask(tenant, token, f"/v2/email-accounts/{second}/mailboxes").code == "not_found"
    assert ask(tenant, token, f"/v2/email-accounts/{first}/mailboxes").status == 200
    later = account(tenant, "later")
    assert ask(tenant, token, f"/v2/email-accounts/{later}/mailboxes").code == "not_found"


def test_the_token_is_kept_as_a_hash(tenant: Tenant, log_lines: list[str]) -> None:
    line, once = len(log_lines), {"Idempotency-Key": "once"}
    path = f"/v2/email-accounts/{account(tenant)}/messages"
    made, again = (tenant.post(TOKENS, {"user_id": USER}, headers=once) for _ in range(2))
    token = made.json["token"]
    assert (again.text, again.headers["idempotent-replayed"]) == (made.text, "true")
    assert len(rows(tenant, "mail_tokens")) == len(rows(tenant, "mail_token_accounts")) == 1
    ask(tenant, token, path)
    ask(tenant, token, f"{path}/delete", "POST", {"ids": ["1.1"]})
    assert token not in repr(rows(tenant)) + "".join(log_lines[line:]) + tenant.get("/v2/events", limit=500).text
    assert made.headers["cache-control"] == "no-store"


def test_the_events(tenant: Tenant) -> None:
    id_ = account(tenant)
    make(tenant, scopes=["messages:read"], expires_in=60)
    token = make(tenant, account_id=id_)
    ask(tenant, token, f"/v2/email-accounts/{id_}/messages")
    of_user, of_account, read = tenant.events()[-3:]
    assert (of_user["type"], of_user["user_id"], of_user["account_id"]) == ("mail_token.created", USER, None)
    assert of_user["data"] == {"scopes": ["messages:read"], "expires_in": 60}
    assert (of_account["type"], of_account["account_id"]) == ("mail_token.created", id_)
    assert (read["type"], read["key_id"]) == ("message.read", tenant.key_id(tenant.key))


def test_its_retries_are_its_own(tenant: Tenant) -> None:
    """An Idempotency-Key of a token is that of no other token, and not of the API key."""
    path, once = f"/v2/email-accounts/{account(tenant)}/messages/delete", {"Idempotency-Key": "once"}
    tokens, body = [make(tenant), make(tenant)], {"ids": ["1.1"]}
    for credential in (*map(bearer, tokens), {"x-api-key": tenant.key}):
        answers = [tenant.api.request("POST", path, body, headers=credential | once) for _ in range(2)]
        assert [one.headers.get("idempotent-replayed") for one in answers] == [None, "true"]


def test_a_user_has_a_bounded_number(tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mail_tokens, "MOST", 2)
    path = f"/v2/email-accounts/{account(tenant)}/mailboxes"
    account(tenant, "other", user_id="other")
    other = make(tenant, "other")
    tokens = [make(tenant) for _ in range(4)]
    assert [ask(tenant, token, path).status for token in tokens] == [401, 401, 200, 200]
    assert ask(tenant, other, "/mail/sync", "POST", {}).status == 200
    assert len(rows(tenant, "mail_tokens")) == len(rows(tenant, "mail_token_accounts")) == 3


def test_a_user_with_many_accounts_names_one(tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mail_tokens, "MOST_ACCOUNTS", 1)
    ids = [account(tenant), account(tenant, "second")]
    assert tenant.post(TOKENS, {"user_id": USER}).problem("account_id") == "required"
    for id_ in ids:
        assert ask(tenant, make(tenant, account_id=id_), f"/v2/email-accounts/{id_}/mailboxes").status == 200


def test_the_purge_closes_the_account(tenant: Tenant) -> None:
    id_ = account(tenant)
    make(tenant)
    tenant.post("/v2/email-accounts/delete", {"id": id_, "purge": True})
    assert len(rows(tenant, "mail_token_accounts")) == 1
    tenant.api.database.write_sync(lambda tx: purges.begin_purge(tx, id_))
    assert rows(tenant, "mail_token_accounts") == []


def test_its_calls_count_for_its_key(database_url: str, clock: Clock) -> None:
    with limited(database_url, clock, rate_limit="5/minute") as tenant:
        path = f"/v2/email-accounts/{tenant.create().json['account']['id']}/mailboxes"
        token = make(tenant)
        assert [state(ask(tenant, token, path)) for _ in range(3)] == [(2, 60), (1, 60), (0, 60)]
        assert tenant.get(path).code == ask(tenant, token, path).code == "too_many_requests"


def test_wrong_ones_are_counted_by_address(database_url: str, clock: Clock) -> None:
    """As wrong keys are, and together with them."""
    with limited(database_url, clock, rate_limit="1000/minute") as tenant:
        path = f"/v2/email-accounts/{tenant.account()['id']}/mailboxes"
        token, unused = make(tenant), make(tenant)
        assert ask(tenant, token, path).status == 200
        for number in range(WRONG_KEYS.calls // 2):
            assert ask(tenant, f"{WRONG[:40]}{number:06}", path).status == 401
            assert ask(tenant, f"{WRONG[:40]}{number:06}", "/mail/sync", "POST", {}).status == 401
        for refused in (ask(tenant, WRONG, path), ask(tenant, unused, path), tenant.get(path, key="pr_wrong")):
            assert (refused.status, refused.code) == (429, "too_many_requests")
        assert ask(tenant, token, path).status == 200  # a known token is let in
        clock.now += WRONG_KEYS.seconds
        assert ask(tenant, unused, path).status == 200


def test_two_different_bearers_are_none(tenant: Tenant) -> None:
    account(tenant)
    sent = [f"authorization: Bearer {make(tenant)}" for _ in range(2)]
    head = ("content-type: application/json", "content-length: 2")
    assert plain(tenant, "POST", "/mail/sync", *sent, *head)[0] == 401
