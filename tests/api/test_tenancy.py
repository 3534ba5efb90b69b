"""Every route of the table, with every kind of caller that must be refused: no key; a wrong,
revoked or expired key; another organization; another user; a missing scope. What is foreign gets
the same answer as what is missing, byte for byte."""

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import msgspec
import pytest

from postroom.actor import ALL_SCOPES, OWNER_SCOPE, Actor
from postroom.api.route import PUBLIC, Route
from postroom.api.routes import ROUTES
from postroom.auth import keys
from tests.api.alike import alike
from tests.api.rows import rows
from tests.api.things import FIELDS, FILTERS, IDS, MISSING_ID, NAMES_NOTHING, NOTHING, SAYS_HOW, Thing
from tests.harness.server import Response, Tenant

Ask = tuple[str, Any]
# tests/api/test_owner_page.py and test_mail_tokens.py ask the other routes in the same way.
GUARDED = [route for route in ROUTES if route.scope not in (PUBLIC, OWNER_SCOPE) and not route.needs_mail_token]


def name(route: Route) -> str:
    return f"{route.method} {route.path}"


# Routes that create something with any name: the answer must not show whether others have the name.
MAKES = {"POST /v2/domain"}
# Routes about the whole instance. tests/api/test_metrics.py checks that the answer contains no
# names.
WHOLE = {"GET /metrics"}
# Routes about one thing, which is named in the path or in a required field (POST /v2/keys: in an
# optional field).
ABOUT = {"POST /v2/keys", "POST /v2/mail-tokens"} | {
    name(route)
    for route in GUARDED
    if ":" in route.path
    or any(field.required for kind in (route.query, route.body) if kind for field in msgspec.structs.fields(kind))
} - MAKES
# Routes that change everything that a user has, as far as the caller sees the user.
USERS = {"POST /v2/users/suspend", "POST /v2/users/resume", "POST /v2/users/delete"}
# The other routes list everything that the caller has.
LISTS = {name(route) for route in GUARDED} - ABOUT - MAKES - WHOLE - USERS

# Values that are added or replaced: a change to make, and a domain that can be deleted.
SENT: dict[str, Callable[[Thing], dict[str, Any]]] = {
    "POST /v2/email-accounts/create": lambda t: {"user_id": "owner"},
    "POST /v2/email-aliases/create": lambda t: {"user_id": "owner"},
    "PUT /v2/email-aliases/:id": lambda t: {"account_ids": [t.id], "name": "hidden"},
    "POST /v2/email-accounts/:account_id/app-passwords/delete": lambda t: {"id": t.credential_id},
    "POST /v2/webhooks/create": lambda t: {"user_id": "owner", "domain": t.domain, "account_id": t.id},
    "POST /v2/webhooks/:id/replay": lambda t: {"failed": True},
    "PUT /v2/webhooks/:id": lambda t: {"url": "https://private.example/2", "events": ["*"], "description": "hidden"},
    "PUT /v2/email-accounts/:id/messages/:message_id": lambda t: {"flags": {"seen": True}},
    "POST /v2/email-accounts/:id/messages/delete": lambda t: {"ids": ["1.1"]},
    "PUT /v2/email-accounts/:id/forwarding": lambda t: {"enabled": True, "to": ["ann@else.example"]},
    "PUT /v2/email-accounts/:id/vacation": lambda t: {"enabled": True, "text": "away"},
    "PUT /v2/email-accounts/:id": lambda t: {"status": "disabled", "local_part": "new", "domain": t.domain},
    "POST /v2/email-accounts/:id/messages/send": lambda t: {"to": ["ann@else.example"], "text": "hidden"},
    "POST /v2/domains/delete": lambda t: {"domain": t.empty},
    "POST /v2/keys": lambda t: {"domains": [t.domain]},
    "POST /v2/mail-tokens": lambda t: {"user_id": "owner", "account_id": t.id},
    **dict.fromkeys(USERS, lambda t: {"user_id": "owner"}),
    "PUT /v2/limits": lambda t: {"user_id": "owner", "accounts": 1000, "domains": 1000},
}


def claim(route: Route, domain: str, user: str = "owner") -> Ask:
    """The request to a route of MAKES for a name."""
    return route.path, {"domain": domain, "user_id": user}


def asks(route: Route, thing: Thing) -> list[Ask]:
    """The requests to a route about one thing, as path and body; for a list, one a filter."""
    if name(route) in MAKES:
        return [claim(route, f"new.{thing.domain}")]
    noun = route.path.split("/")[2] if route.path.startswith("/v2/") else ""
    path = route.path.replace(":domain", thing.domain).replace(":account_id", str(thing.id))
    path = path.replace(":id", str(IDS[noun](thing))) if ":id" in path else path
    path = path.replace(":message_id", "1.1").replace(":part", "2")
    # Routes about domains require user_id.
    user = {"user_id": "owner"} if route.scope.startswith("domains:") else {}
    if route.body:
        values: dict[str, Any] = {field: value(thing) for field, value in FIELDS.items()}
        values["id"] = IDS[noun](thing) if noun in IDS else None
        sent = SENT.get(name(route), lambda t: {})(thing)
        required = {f.name for f in msgspec.structs.fields(route.body) if f.required} - sent.keys()
        return [(path, {field: values[field] for field in required} | user | sent)]
    required = {
        field.name: FIELDS[field.name](thing) for field in msgspec.structs.fields(route.query) if field.required
    }
    queries = _queries(route, thing, noun, user) if name(route) in LISTS else [user | required]
    return [(path + "?" * bool(query) + urlencode(query, safe="@"), None) for query in queries]


def _queries(route: Route, thing: Thing, noun: str, user: dict[str, str]) -> list[dict[str, Any]]:
    names = route.query.__struct_fields__
    local_part = "private.alias" if noun == "email-aliases" else "private"
    about: list[tuple[int, str, dict[str, Any]]] = [(IDS[noun](thing) if noun in IDS else thing.id, local_part, {})]
    if "deleted" in names:
        about.append((thing.deleted_id, "private.too", {"deleted": "true"}))
    asked = []
    for id_, local_part, base in about:
        given = [{field: FILTERS[field](thing, id_, local_part)} for field in names if field not in NAMES_NOTHING]
        for filters in ({}, *given):
            asked.append(base | ({} if "every_user" in filters else user) | filters)
    return asked


def honestly(about: Ask, user_id: str) -> Ask:
    """The same request with the caller's own user_id, so that only the statements can tell the
    caller from the owner."""
    path, body = about
    named = {**body, "user_id": user_id} if body and "user_id" in body else body
    return path.replace("user_id=owner", f"user_id={user_id}"), named


def ask(tenant: Tenant, route: Route, about: Ask, key: str | None) -> Response:
    return tenant.api.request(route.method, about[0], about[1], key=key)


@pytest.fixture
def secret(tenant: Tenant) -> Thing:
    """An account that only its owner may see, on a domain of the owner, and the owner's key for
    it."""
    domain, empty = tenant.new_domain(user_id="owner"), tenant.new_domain(user_id="owner")
    account = tenant.account("private", domain=domain, user_id="owner", display_name="hidden")
    key = tenant.new_key(name="hidden key", user_id="owner", domains=[domain, empty])
    deleted = tenant.account("private.too", domain=domain, user_id="owner", display_name="hidden")["id"]
    assert tenant.post("/v2/email-accounts/delete", {"id": deleted}).status == 200
    body = {"domain": domain, "local_part": "private.alias", "user_id": "owner"} | {"account_ids": [account["id"]]}
    alias = tenant.post("/v2/email-aliases/create", body).json["alias"]["id"]
    body = {"name": "hidden", "scopes": ["imap"]}
    made = tenant.post(f"/v2/email-accounts/{account['id']}/app-passwords/create", body).json["app_password"]["id"]
    body = {"url": "https://private.example/hook", "events": ["*"], "user_id": "owner", "domain": domain}
    hook = tenant.post("/v2/webhooks/create", body).json["webhook"]["id"]
    maker = tenant.key_id(tenant.key)
    return Thing(account["id"], domain, empty, tenant.key_id(key), alias, made, hook, deleted, maker)


def test_every_route_of_the_table_is_covered() -> None:
    """The tests below cover every route. A new route about an unknown kind of thing fails here."""
    assert MAKES | WHOLE | SENT.keys() <= {name(route) for route in GUARDED}
    for route in GUARDED:
        about = asks(route, NOTHING)
        if route.body:
            assert set(route.body.__struct_fields__) - about[0][1].keys() <= SAYS_HOW, name(route)
    assert {route.path for route in ROUTES if route.scope == PUBLIC} == {
        "/healthz",
        "/readyz",
        "/.well-known/mta-sts.txt",
        "/mail/config-v1.1.xml",
        "/.well-known/autoconfig/mail/config-v1.1.xml",
        "/autodiscover/autodiscover.xml",
        "/setup/look",
        "/setup/accept",
        "/v2/me/session",
    }
    assert all(route.path.startswith("/v2/") or name(route) in WHOLE for route in GUARDED)
    assert {route.scope for route in GUARDED} <= set(ALL_SCOPES)
    reads = {
        name(route) for route in GUARDED if route.method != "GET" and not route.scope.endswith((":write", ":send"))
    }
    assert reads == {"POST /v2/email-accounts/:id/messages/sync", "POST /v2/mail-tokens"}


INSIDERS: dict[str, Callable[[Tenant, Route, Thing], str]] = {
    "the organization": lambda tenant, route, thing: tenant.key,
    "its user": lambda tenant, route, thing: tenant.new_key(user_id="owner"),
    "its domain": lambda tenant, route, thing: tenant.new_key(domains=[tenant.domain, thing.domain, thing.empty]),
    "its user on its domain": lambda tenant, route, thing: tenant.new_key(
        user_id="owner", domains=[thing.domain, thing.empty]
    ),
    "its network": lambda tenant, route, thing: tenant.new_key(networks=("192.0.2.0/24", "127.0.0.0/8")),
    "the one scope": lambda tenant, route, thing: tenant.new_key(scopes=[route.scope]),
}


# A user must not raise the user's own limits, a key bound to domains must not claim another domain,
# and neither sees the whole instance.
FORBIDDEN = {("PUT /v2/limits", insider) for insider in ("its user", "its domain", "its user on its domain")}
FORBIDDEN |= {("GET /metrics", insider) for insider in ("its user", "its domain", "its user on its domain")}
FORBIDDEN |= {("POST /v2/domain", insider) for insider in ("its domain", "its user on its domain")}
# The domains of a user need their scope too.
FORBIDDEN |= {("POST /v2/users/delete", "the one scope")}
# A webhook sends the events, which have a scope of their own.
FORBIDDEN |= {(name, "the one scope") for name in ("POST /v2/webhooks/create", "PUT /v2/webhooks/:id")}
# A key must not revoke a key with more rights.
FORBIDDEN |= {("POST /v2/keys/delete", insider) for insider in ("its network", "the one scope")}


@pytest.mark.parametrize("insider", INSIDERS)
@pytest.mark.parametrize("route", GUARDED, ids=name)
def test_its_owner_gets_it(tenant: Tenant, secret: Thing, route: Route, insider: str) -> None:
    answer = ask(tenant, route, asks(route, secret)[0], INSIDERS[insider](tenant, route, secret))
    assert answer.status == (403 if (name(route), insider) in FORBIDDEN else route.status), answer.text


@pytest.mark.parametrize("route", GUARDED, ids=name)
def test_without_a_valid_key(tenant: Tenant, secret: Thing, route: Route) -> None:
    revoked, expired, elsewhere = tenant.new_key(), tenant.new_key(expires_at=1), tenant.new_key(networks=("::1/128",))
    id_ = tenant.key_id(revoked)
    tenant.api.database.write_sync(lambda tx: keys.revoke(tx, Actor(tenant.organization_id), id_))
    before = rows(tenant)
    refused = []
    for key in (None, "pr_" + "x" * 43, revoked, expired, elsewhere):
        for thing in (secret, NOTHING):
            refused += [ask(tenant, route, about, key) for about in asks(route, thing)]
    assert {answer.status for answer in refused} == {401}
    assert len({str(alike(answer)) for answer in refused}) == 1
    assert rows(tenant) == before


@pytest.mark.parametrize("route", GUARDED, ids=name)
def test_a_missing_scope(tenant: Tenant, secret: Thing, route: Route) -> None:
    key = tenant.new_key(scopes=[scope for scope in ALL_SCOPES if scope != route.scope])
    before = rows(tenant)
    refused = [ask(tenant, route, about, key) for thing in (secret, NOTHING) for about in asks(route, thing)]
    assert {(answer.status, answer.code) for answer in refused} == {(403, "forbidden")}
    assert len({str(alike(answer)) for answer in refused}) == 1
    assert rows(tenant) == before


OUTSIDERS: dict[str, Callable[[Tenant, Tenant], str]] = {
    "another organization": lambda tenant, stranger: stranger.key,
    "another organization's owner": lambda tenant, stranger: stranger.new_key(user_id="owner"),
    "another user": lambda tenant, stranger: tenant.new_key(user_id="other"),
    "another user in capitals": lambda tenant, stranger: tenant.new_key(user_id="Owner"),
    "another domain": lambda tenant, stranger: tenant.new_key(domains=[tenant.domain]),
    "its user on another domain": lambda tenant, stranger: tenant.new_key(user_id="owner", domains=[tenant.domain]),
}


@pytest.mark.parametrize("outsider", OUTSIDERS)
@pytest.mark.parametrize("route", [r for r in GUARDED if name(r) in ABOUT], ids=name)
def test_foreign_is_missing(tenant: Tenant, stranger: Tenant, secret: Thing, route: Route, outsider: str) -> None:
    key = OUTSIDERS[outsider](tenant, stranger)
    before = rows(tenant), rows(stranger), len(tenant.api.ended), len(tenant.api.mailboxes.asked)
    foreign = ask(tenant, route, asks(route, secret)[0], key)
    missing = ask(tenant, route, asks(route, NOTHING)[0], key)
    assert (foreign.status, foreign.code) == (404, "not_found")
    assert alike(foreign) == alike(missing)
    for user_id in ("other", "Owner"):
        honest = ask(tenant, route, honestly(asks(route, secret)[0], user_id), key)
        assert alike(honest) == alike(missing)
    assert (rows(tenant), rows(stranger), len(tenant.api.ended), len(tenant.api.mailboxes.asked)) == before


# Requests about a deleted account, for callers that must be refused.
OF_DELETED: dict[str, Callable[[int], Ask]] = {
    "restore": lambda id_: (f"/v2/email-accounts/{id_}/restore", {}),
    "purge": lambda id_: ("/v2/email-accounts/delete", {"id": id_, "purge": True}),
    "delete": lambda id_: ("/v2/email-accounts/delete", {"id": id_}),
    "reset": lambda id_: (f"/v2/email-accounts/{id_}/password/reset", {}),
}


@pytest.mark.parametrize("outsider", OUTSIDERS)
@pytest.mark.parametrize("wanted", OF_DELETED)
def test_a_foreign_deleted_account_is_missing(
    tenant: Tenant, stranger: Tenant, secret: Thing, wanted: str, outsider: str
) -> None:
    key = OUTSIDERS[outsider](tenant, stranger)
    before = rows(tenant), rows(stranger)
    foreign, missing = (
        tenant.api.request("POST", *OF_DELETED[wanted](id_), key=key) for id_ in (secret.deleted_id, MISSING_ID)
    )
    assert (foreign.status, foreign.code) == (404, "not_found")
    assert alike(foreign) == alike(missing)
    assert (rows(tenant), rows(stranger)) == before
    if wanted in ("restore", "purge"):
        assert tenant.post(*OF_DELETED[wanted](secret.deleted_id)).status == 200


@pytest.mark.parametrize("outsider", OUTSIDERS)
@pytest.mark.parametrize("route", [r for r in GUARDED if name(r) in USERS], ids=name)
def test_a_foreign_user_is_one_without_accounts(
    tenant: Tenant, stranger: Tenant, secret: Thing, route: Route, outsider: str
) -> None:
    key = OUTSIDERS[outsider](tenant, stranger)
    before = rows(tenant), rows(stranger), len(tenant.api.ended)
    foreign = ask(tenant, route, (route.path, {"user_id": "owner"}), key)
    missing = ask(tenant, route, (route.path, {"user_id": "nobox"}), key)
    assert foreign.status in (200, 404)
    if "its user" not in outsider and "'s owner" not in outsider:
        assert alike(foreign)[::2] == (alike(missing)[0], alike(missing)[2].replace("nobox", "owner"))
    if foreign.status == 200:
        assert [foreign.json[name] for name in ("accounts", "accounts_left", "domains", "domains_left")] == [0] * 4
    assert (rows(tenant), rows(stranger), len(tenant.api.ended)) == before


SECRET = "private|hidden|{domain}"


@pytest.mark.parametrize("route", [r for r in GUARDED if name(r) in LISTS and "limits" not in r.path], ids=name)
def test_lists_show_their_owner_what_others_do_not_see(tenant: Tenant, secret: Thing, route: Route) -> None:
    """Otherwise test_lists_hold_nothing_foreign would search for text that no answer contains."""
    for about in asks(route, secret):
        answer = ask(tenant, route, about, tenant.key)
        assert re.search(SECRET.format(domain=re.escape(secret.domain)), answer.text), about
        if "deleted=true" in about[0]:
            assert [item["id"] for item in answer.json["items"]] == [secret.deleted_id]


@pytest.mark.parametrize("outsider", OUTSIDERS)
@pytest.mark.parametrize("route", [r for r in GUARDED if name(r) in LISTS], ids=name)
def test_lists_hold_nothing_foreign(
    tenant: Tenant, stranger: Tenant, secret: Thing, route: Route, outsider: str
) -> None:
    key = OUTSIDERS[outsider](tenant, stranger)
    for foreign, missing in zip(asks(route, secret), asks(route, NOTHING), strict=True):
        answer = ask(tenant, route, foreign, key)
        assert answer.status in (200, 403, 404)
        assert not re.search(SECRET.format(domain=re.escape(secret.domain)), answer.text)
        if answer.status == 200 and "total" in answer.json.get("accounts", ()):
            assert answer.json["accounts"]["total"] == 0
        if "after" not in foreign[0]:
            assert alike(answer) == alike(ask(tenant, route, missing, key))


@pytest.mark.parametrize("outsider", OUTSIDERS)
@pytest.mark.parametrize("route", [r for r in GUARDED if name(r) in MAKES], ids=name)
def test_a_claim_tells_nothing_of_others(
    tenant: Tenant, stranger: Tenant, secret: Thing, route: Route, outsider: str
) -> None:
    """A domain that others own, a domain that others have claimed, a free domain, and names below
    others' domains all get the same answer."""
    key = OUTSIDERS[outsider](tenant, stranger)
    user = "Owner" if "capitals" in outsider else "other" if "another user" in outsider else "owner"
    claimed = tenant.new_domain(user_id="owner", status="pending")
    names = [secret.domain, claimed, f"free.{claimed}", f"a.{secret.domain}", f"b.{secret.domain}"]
    before = rows(tenant, "accounts"), rows(tenant, "addresses")
    answers = []
    for domain in names:
        status, headers, text = alike(ask(tenant, route, claim(route, domain, user), key))
        headers = {k: v for k, v in headers.items() if k not in ("content-length", "location")}
        text = re.sub('(_postroom-challenge","expected_value":")[0-9a-f]{32}', r"\1T", text).replace(domain, "NAME")
        text = re.sub('"[a-z0-9]+._domainkey","expected_value":"[^"]*"', "KEY", text)
        answers.append((status, headers, text))
    assert answers == [answers[0]] * len(names)
    assert answers[0][0] == (403 if "domain" in outsider else 201)
    assert (rows(tenant, "accounts"), rows(tenant, "addresses")) == before
    shown = tenant.get(f"/v2/domains/{secret.domain}/info", user_id="owner").json["domain"]
    assert shown == {"domain": secret.domain, "status": "active"}


@pytest.mark.parametrize("user_id", ["other", "Owner", "owner "])
@pytest.mark.parametrize(
    "route",
    [r for r in GUARDED if re.search(":(account_)?id|delete$", r.path) and name(r) not in USERS],
    ids=name,
)
def test_the_users_must_agree(tenant: Tenant, secret: Thing, route: Route, user_id: str) -> None:
    path, body = asks(route, secret)[0]
    before = rows(tenant)
    answers = [tenant.request(route.method, path, body, user_id=user_id)]
    if body is not None:
        answers += [tenant.request(route.method, path, {**body, "user_id": user_id})]
        answers += [tenant.request(route.method, path, {**body, "user_id": "owner"}, user_id=user_id)]
        answers += [tenant.request(route.method, path, {**body, "user_id": user_id}, user_id="owner")]
    missing = ask(tenant, route, asks(route, NOTHING)[0], tenant.key)
    assert {str(alike(answer)) for answer in answers} == {str(alike(missing))}
    assert rows(tenant) == before
