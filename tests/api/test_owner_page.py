"""The owner's page: /v2/me/… (tests/mail/test_owner_page.py asks a real Dovecot)."""

import re
from collections.abc import Callable
from typing import Any

import pytest

from postroom.accounts import commands, login_networks, owner_sessions, purges
from postroom.actor import OWNER_SCOPE, Actor
from postroom.api.rate_limits import WRONG_KEYS
from postroom.api.route import Route
from postroom.api.routes import ROUTES
from postroom.db import Tx
from postroom.errors import MailUnavailable, Refused
from postroom.mailboxes.interface import OpenSession, SignIn
from tests.api import test_rate_limits
from tests.api.alike import alike
from tests.api.owner import PASSWORD, Owner, knows, sign_in
from tests.api.rows import last_event, new_events, opens, rows, stored_password
from tests.api.test_rate_limits import Clock, limited
from tests.harness.server import Tenant

clock = test_rate_limits.clock
NEW = "lantern over quiet water"
OWNED = [route for route in ROUTES if route.scope == OWNER_SCOPE]
BODIES: dict[str, Any] = {
    "POST /v2/me/password": {"old": PASSWORD, "new": NEW},
    "POST /v2/me/app-passwords": {"name": "phone", "scopes": ["imap"]},
    "POST /v2/me/app-passwords/delete": {"id": 1},
    "PUT /v2/me/vacation": {"enabled": True, "text": "away"},
}


@pytest.fixture
def owner(tenant: Tenant) -> Owner:
    return Owner.of(tenant, tenant.account()["id"])


def name(route: Route) -> str:
    return f"{route.method} {route.path}"


def ask(tenant: Tenant, route: Route, **options: Any) -> Any:
    return tenant.api.request(route.method, route.path, BODIES.get(name(route)), **options)


def test_it_works(tenant: Tenant, owner: Owner) -> None:
    id_, address = owner.id, f"billing@{tenant.domain}"
    told = owner.get()
    assert told.json == owner.told
    assert told.headers["cache-control"] == "no-store"
    assert told.json["account"] == {"address": address, "display_name": None}
    assert told.json["imap"][0]["username"] == address
    assert "plist" in told.json["profile"]
    made = owner.post("/v2/me/app-passwords", {"name": "phone", "scopes": ["smtp", "imap"]})
    assert (made.status, made.json["app_password"]["scopes"]) == (201, ["imap", "smtp"])
    listed = owner.get("/v2/me/app-passwords").json
    assert listed == tenant.get(f"/v2/email-accounts/{id_}/app-passwords").json
    gone = owner.post("/v2/me/app-passwords/delete", {"id": made.json["app_password"]["id"]})
    assert gone.json["deleted"]["sessions_ended"] is True
    tenant.api.mailboxes.open = [OpenSession("imap", "192.0.2.7")]
    assert owner.get("/v2/me/sessions").json["sessions"] == [{"protocol": "imap", "client_address": "192.0.2.7"}]
    put = owner.request("PUT", "/v2/me/vacation", {"enabled": True, "text": "away"})
    assert put.json["vacation"]["active_now"] is True
    assert owner.get("/v2/me/vacation").json == put.json == tenant.get(f"/v2/email-accounts/{id_}/vacation").json
    out = owner.request("DELETE", "/v2/me/session")
    assert (out.status, out.headers["set-cookie"].count("Max-Age=0")) == (200, 1)
    assert owner.get().status == 401


def test_the_account_knows_the_network_of_the_owner(tenant: Tenant, owner: Owner) -> None:
    """Which then stays open during an attack, as after a login over IMAP."""
    known = tenant.api.database.write_sync(lambda tx: login_networks.is_known(tx, (owner.id, "127.0.0.1")))
    other = tenant.api.database.write_sync(lambda tx: login_networks.is_known(tx, (owner.id, "127.0.0.2")))
    assert (known, other) == (True, False)


def test_a_changed_password(tenant: Tenant, owner: Owner) -> None:
    """The old one is asked for; every other session ends, and this one goes on with new tokens."""
    other, before, old = Owner.of(tenant, owner.id), last_event(tenant), owner.told["csrf_token"]
    assert owner.post("/v2/me/password", {"old": "wrong", "new": NEW}).problem("old") == "wrong"
    assert owner.post("/v2/me/password", {"old": PASSWORD, "new": "short"}).problem("new") == "too_short"
    assert owner.post("/v2/me/password", {"old": PASSWORD, "new": "my own billing account"}).problem("new")
    cookie = owner.cookie
    done = owner.post("/v2/me/password", {"old": PASSWORD, "new": NEW})
    assert (done.status, done.json["sessions_ended"], done.json["csrf_token"] != old) == (200, True, True)
    assert NEW not in done.text
    assert opens(tenant, owner.id, NEW)
    assert tenant.full(owner.id)["password_scheme"] == "chosen"
    assert [pair for pair in tenant.api.ended if pair[0] == owner.id] == [(owner.id, 1)]
    assert (other.get().status, owner.get().status, owner.cookie != cookie) == (401, 200, True)
    assert tenant.api.request("GET", "/v2/me", headers={"cookie": cookie}).status == 401
    assert new_events(tenant, before) == ["account.password_set"]


class Meanwhile(dict[tuple[str, str], SignIn]):
    """Right passwords. While Dovecot judges one, something else happens, once."""

    def __init__(self, right: dict[tuple[str, str], SignIn], act: Callable[[], Any]) -> None:
        super().__init__(right)
        self.act = act

    def get(self, pair: Any, default: Any = None) -> Any:
        self.act()
        return super().get(pair, default)


def test_a_reset_while_dovecot_judges(tenant: Tenant, owner: Owner) -> None:
    """The password that was right is another one by now: nobody signs in with it or changes it."""
    right = tenant.api.mailboxes.right

    def reset() -> None:
        def work(tx: Tx) -> Any:
            return commands.reset(tx, Actor(tenant.organization_id), owner.id, None, "{SSHA512}x")

        tenant.api.database.write_sync(work)

    tenant.api.mailboxes.right = Meanwhile(right, reset)
    refused = owner.post("/v2/me/password", BODIES["POST /v2/me/password"])
    assert (refused.status, refused.code) == (401, "unauthorized")
    knows(tenant, owner.id)
    tenant.api.mailboxes.right = Meanwhile(tenant.api.mailboxes.right, reset)
    assert sign_in(tenant, f"billing@{tenant.domain}").status == 401
    assert stored_password(tenant, owner.id) == "{SSHA512}x"
    assert len(rows(tenant, "owner_sessions")) == 1


def test_every_session_ends(tenant: Tenant, owner: Owner) -> None:
    other, before = Owner.of(tenant, owner.id), last_event(tenant)
    tenant.api.ends = False
    try:
        assert owner.post("/v2/me/sessions/end").json["sessions_ended"] is False
    finally:
        tenant.api.ends = True
    assert (other.get().status, owner.get().status) == (401, 200)
    assert new_events(tenant, before) == ["account.signed_out", "account.sessions_pending"]


ENDS: dict[str, Callable[[Tenant, int], Any]] = {
    "a reset": lambda t, id_: t.post(f"/v2/email-accounts/{id_}/password/reset", {}),
    "the end of the sessions": lambda t, id_: t.post(f"/v2/email-accounts/{id_}/sessions/end", {}),
    "a suspension": lambda t, id_: t.put(f"/v2/email-accounts/{id_}", {"status": "suspended"}),
    "no main password": lambda t, id_: t.put(f"/v2/email-accounts/{id_}", {"main_password": False}),
    "a deletion": lambda t, id_: t.post("/v2/email-accounts/delete", {"id": id_}),
    "a lost domain": lambda t, id_: t.set_domain_status(t.domain, "pending"),
    "half an hour": lambda t, id_: age(t, owner_sessions.IDLE_MS),
}


def age(tenant: Tenant, milliseconds: int, column: str = "expires_at") -> None:
    sql = f"UPDATE owner_sessions SET {column} = {column} - :by"
    tenant.api.database.write_sync(lambda tx: tx.run(sql, by=milliseconds))


@pytest.mark.parametrize("what", ENDS)
def test_what_ends_a_session(tenant: Tenant, owner: Owner, what: str) -> None:
    ENDS[what](tenant, owner.id)
    answers = [owner.request(route.method, route.path, BODIES.get(name(route))) for route in OWNED]
    assert {(answer.status, answer.code) for answer in answers} == {(401, "unauthorized")}
    if what == "a suspension":
        tenant.put(f"/v2/email-accounts/{owner.id}", {"status": "active"})
        assert owner.get().status == 401


def test_use_extends_a_session(tenant: Tenant, owner: Owner) -> None:
    """To half an hour from now, once a minute, and to twelve hours in all."""

    def until() -> int:
        found: int = rows(tenant, "owner_sessions")[0][5]
        return found

    first = until()
    assert (owner.get().status, until()) == (200, first)
    age(tenant, owner_sessions.EXTEND_MS)
    owner.get()
    assert until() >= first
    age(tenant, owner_sessions.LONGEST_MS - 1000 * 60, "created_at")
    owner.get()
    assert until() <= first + owner_sessions.EXTEND_MS
    age(tenant, owner_sessions.LONGEST_MS, "expires_at")
    assert owner.get().status == 401


@pytest.mark.parametrize("route", OWNED, ids=name)
def test_who_is_refused(tenant: Tenant, owner: Owner, route: Route) -> None:
    """No session, a wrong one, a key, and the console's session get one answer; a key beside the
    session is refused too."""
    told = tenant.post("/console/session", {})
    console = {"cookie": told.headers["set-cookie"].partition(";")[0], "x-csrf-token": told.json["csrf_token"]}
    own = {"cookie": owner.cookie, "x-csrf-token": owner.told["csrf_token"]}
    before = rows(tenant)
    refused = [
        ask(tenant, route, headers=headers, key=key)
        for headers, key in (
            ({}, None),
            ({"cookie": "postroom-me=" + "x" * 43}, None),
            ({"cookie": owner.cookie.replace("-me", "")}, None),
            ({"cookie": owner.cookie + "; postroom-me=other"}, None),
            ({}, tenant.key),
            (console, None),
            (own, tenant.key),
            ({**own, "authorization": "Bearer x"}, None),
        )
    ]
    assert {(answer.status, answer.code) for answer in refused} == {(401, "unauthorized")}
    assert len({str(alike(answer)) for answer in refused}) == 1
    assert rows(tenant) == before


@pytest.mark.parametrize("route", [one for one in OWNED if one.method != "GET"], ids=name)
def test_a_write_proves_its_page(tenant: Tenant, owner: Owner, route: Route) -> None:
    before = rows(tenant)
    for headers in (
        {"x_csrf_token": ""},
        {"x_csrf_token": "0" * 64},
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site"},
        {"origin": "http://evil.example"},
    ):
        refused = owner.request(route.method, route.path, BODIES.get(name(route)), **headers)
        assert (refused.status, refused.code) == (403, "csrf_refused")
    assert rows(tenant) == before
    assert owner.get(sec_fetch_site="cross-site").status == 403


def test_a_session_does_nothing_else(tenant: Tenant, owner: Owner) -> None:
    """Every other route is closed to it, under its own name and under the console's."""
    before = rows(tenant)
    for route in ROUTES:
        if route.path.startswith("/v2/") and not route.path.startswith("/v2/me"):
            path = re.sub(":[a-z_]*id", str(owner.id), route.path).replace(":domain", tenant.domain)
            for cookie in (owner.cookie, owner.cookie.replace("-me", "")):
                assert owner.request(route.method, path, {}, cookie=cookie).status == 401, path
    assert owner.get("/console/session").status == 401
    assert rows(tenant) == before


def test_another_owner_sees_nothing(tenant: Tenant, owner: Owner) -> None:
    other = Owner.of(tenant, tenant.account("other")["id"])
    made = owner.post("/v2/me/app-passwords", BODIES["POST /v2/me/app-passwords"]).json["app_password"]["id"]
    foreign, missing = (other.post("/v2/me/app-passwords/delete", {"id": id_}) for id_ in (made, 9**18))
    assert foreign.status == 404
    assert alike(foreign) == alike(missing)
    assert other.get("/v2/me/app-passwords").json["app_passwords"] == []
    assert other.get().json["account"]["address"] == f"other@{tenant.domain}"
    for body in ({"id": made, "account_id": owner.id}, {"id": made, "user_id": "user_123"}):
        assert other.post("/v2/me/app-passwords/delete", body).status == 400


def test_wrong_and_refused(tenant: Tenant) -> None:
    id_ = tenant.account()["id"]
    address, before = knows(tenant, id_), rows(tenant)
    wrong = [sign_in(tenant, address, "wrong"), sign_in(tenant, f"nobody@{tenant.domain}")]
    assert [(one.status, one.code) for one in wrong] == [(401, "unauthorized")] * 2
    assert alike(wrong[0]) == alike(wrong[1])
    tried = len(tenant.api.mailboxes.tried_from)
    for typed in (PASSWORD, "lantern", "", "@", f" {address}", "a b@c.test", f"{address}@x.test"):
        assert alike(sign_in(tenant, typed)) == alike(wrong[0])  # no name that Dovecot would log
    assert len(tenant.api.mailboxes.tried_from) == tried
    knows(tenant, id_, refusal="This account is suspended.")
    refused = sign_in(tenant, address)
    assert (refused.status, refused.code, refused.json["detail"]) == (
        403,
        "account_not_active",
        "This account is suspended.",
    )
    assert sign_in(tenant, address, **{"sec-fetch-site": "cross-site"}).code == "csrf_refused"
    assert rows(tenant) == before


@pytest.mark.parametrize(
    ("problem", "status", "code"),
    [
        (Refused("mail_off", "This instance runs without mail: POSTROOM_MAIL is off."), 409, "mail_off"),
        (MailUnavailable("Dovecot does not answer now. Try again.", 5), 503, "mail_unavailable"),
    ],
)
def test_dovecot_is_away(tenant: Tenant, owner: Owner, problem: Exception, status: int, code: str) -> None:
    """What needs no Dovecot goes on."""
    before = rows(tenant)
    tenant.api.mailboxes.problem = problem
    try:
        asked = [
            sign_in(tenant, f"billing@{tenant.domain}"),
            owner.get("/v2/me/sessions"),
            owner.post("/v2/me/password", BODIES["POST /v2/me/password"]),
        ]
        assert {(one.status, one.code) for one in asked} == {(status, code)}
        assert owner.get().status == 200
    finally:
        tenant.api.mailboxes.problem = None
    assert rows(tenant) == before


def test_the_events_name_the_owner(tenant: Tenant, owner: Owner) -> None:
    done = owner.request("PUT", "/v2/me/vacation", BODIES["PUT /v2/me/vacation"])
    signed_in, changed = tenant.events()[-2:]
    assert (signed_in["type"], changed["type"]) == ("account.owner_signed_in", "account.vacation_changed")
    for event in (signed_in, changed):
        assert (event["key_id"], event["data"]["by"], event["client_address"]) == (None, "owner", "127.0.0.1")
    assert changed["request_id"] == done.headers["x-request-id"]
    tenant.put(f"/v2/email-accounts/{owner.id}/vacation", {"enabled": False})
    assert "by" not in tenant.events()[-1]["data"]


def test_nothing_secret_is_kept(tenant: Tenant, log_lines: list[str]) -> None:
    line = len(log_lines)
    owner = Owner.of(tenant, tenant.account()["id"])
    token = owner.cookie.partition("=")[2]
    owner.post("/v2/me/password", {"old": PASSWORD, "new": NEW})
    assert len(rows(tenant, "owner_sessions")) == 1
    found = repr(rows(tenant)) + "".join(log_lines[line:]) + tenant.get("/v2/events", limit=500).text
    for secret in (token, owner.cookie.partition("=")[2], owner.told["csrf_token"], PASSWORD, NEW):
        assert secret not in found


def test_the_cookie(tenant: Tenant) -> None:
    address = knows(tenant, tenant.account()["id"])
    plain = sign_in(tenant, address).headers["set-cookie"]
    assert re.fullmatch(r"postroom-me=[\w-]{43}; Path=/; HttpOnly; SameSite=Strict", plain)
    host = f"127.0.0.1:{tenant.api.port}"
    secure = sign_in(tenant, address, origin=f"https://{host}", host=host).headers["set-cookie"]
    assert re.fullmatch(r"__Host-postroom-me=[\w-]{43}; Path=/; HttpOnly; SameSite=Strict; Secure", secure)
    owner = Owner(tenant, 0, secure.partition(";")[0])
    assert owner.get().status == 200
    assert owner.get(cookie=f"{owner.cookie}; postroom-me=planted").status == 200
    assert owner.get(cookie=f"{plain.partition(';')[0]}; __Host-postroom-me=planted").status == 401


def test_at_most_twenty_sessions(tenant: Tenant, owner: Owner) -> None:
    others = [Owner.of(tenant, owner.id) for _ in range(owner_sessions.MOST)]
    assert (owner.get().status, others[0].get().status, others[-1].get().status) == (401, 200, 200)
    assert len(rows(tenant, "owner_sessions")) == owner_sessions.MOST


def test_the_purge_erases_them(tenant: Tenant, owner: Owner) -> None:
    tenant.post("/v2/email-accounts/delete", {"id": owner.id, "purge": True})
    assert len(rows(tenant, "owner_sessions")) == 1
    tenant.api.database.write_sync(lambda tx: purges.begin_purge(tx, owner.id))
    assert rows(tenant, "owner_sessions") == []


def test_the_limits(database_url: str, clock: Clock) -> None:
    """Wrong passwords count by address, as wrong keys do; an owner's calls count by account."""
    with limited(database_url, clock, rate_limit="20/minute", trusted_proxies="127.0.0.1") as tenant:
        id_ = tenant.account()["id"]
        owner, address = Owner.of(tenant, id_), f"billing@{tenant.domain}"
        assert [owner.get().status for _ in range(21)] == [200] * 20 + [429]
        assert tenant.get("/v2/events").status == 200
        asked = {"x-forwarded-for": "192.0.2.7"}
        assert {sign_in(tenant, address, "wrong", **asked).status for _ in range(WRONG_KEYS.calls)} == {401}
        assert sign_in(tenant, address, **asked).status == 429
        assert sign_in(tenant, address).status == 201
        assert tenant.api.mailboxes.tried_from[-2:] == ["192.0.2.7", "127.0.0.1"]


def test_switched_off(database_url: str, clock: Clock) -> None:
    """As if there were no such page and no such routes."""
    with limited(database_url, clock, rate_limit="off", owner_page="off") as tenant:
        address = knows(tenant, tenant.account()["id"])
        assert tenant.get("/me", key=None).status == 404
        assert sign_in(tenant, address).status == 401
        assert tenant.api.mailboxes.tried_from == []
        for route in OWNED:
            assert (ask(tenant, route).status, ask(tenant, route, key=tenant.key).status) == (401, 404)
        assert not [path for path in tenant.get("/openapi.json").json["paths"] if path.startswith("/v2/me")]


def test_the_page(tenant: Tenant) -> None:
    answer = tenant.get("/me", key=None)
    assert (answer.status, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert (answer.headers["referrer-policy"], answer.headers["cache-control"]) == ("no-referrer", "no-store")
    assert "script-src 'self';" in answer.headers["content-security-policy"]
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
    assert tenant.post("/me", {}, key=None).status == 405
