"""/console/session: signing in with a key or a link, what the cookie permits, and what ends the
session."""

import http.cookies
import threading
from typing import Any

import pytest

from postroom.auth import console_sessions
from postroom.auth.tokens import digest
from postroom.service import bootstrap
from postroom.settings import Settings
from tests.api.rows import rows
from tests.harness.server import ApiServer, Response, Tenant

SESSION = "/console/session"
PATH = "/v2/email-accounts"


class Browser:
    """What a browser keeps after signing in: the cookie and the answer."""

    def __init__(self, tenant: Tenant, answer: Response) -> None:
        assert answer.status == 201, answer.text
        self.tenant = tenant
        self.told = answer.json
        self.set_cookie = answer.headers["set-cookie"]
        ((self.name, morsel),) = http.cookies.SimpleCookie(self.set_cookie).items()
        self.token = morsel.value

    def request(self, method: str, path: str, body: Any = None, **headers: str) -> Response:
        sent = {"cookie": f"{self.name}={self.token}", "x-csrf-token": self.told["csrf_token"]}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        return self.tenant.api.request(method, path, body, headers={k: v for k, v in sent.items() if v})


def signed_in(tenant: Tenant, key: str | None = None, **headers: str) -> Browser:
    return Browser(tenant, tenant.post(SESSION, {}, key=key or tenant.key, headers=headers))


def create(browser: Browser, local_part: str = "new", **headers: str) -> Response:
    body = {"domain": browser.tenant.domain, "local_part": local_part, "user_id": "u"}
    return browser.request("POST", f"{PATH}/create", body, **headers)


def test_it_works(tenant: Tenant) -> None:
    browser = signed_in(tenant)
    assert browser.told["organization"] == tenant.organization
    assert browser.told["key"]["id"] == tenant.key_id(tenant.key)
    assert "HttpOnly" in browser.set_cookie
    assert "SameSite=Strict" in browser.set_cookie
    assert tenant.key not in browser.set_cookie + str(browser.told)
    assert browser.request("GET", SESSION).json == browser.told
    assert browser.request("GET", PATH).status == 200
    assert create(browser).status == 201
    assert tenant.events()[-1]["key_id"] == tenant.key_id(tenant.key)
    assert [e["type"] for e in tenant.events()].count("console.signed_in") == 1


def test_only_hashes_are_stored(tenant: Tenant) -> None:
    browser = signed_in(tenant)
    link = tenant.api.database.write_sync(lambda tx: bootstrap.create_link(tx, tenant.organization))
    stored = str(rows(tenant))
    assert digest(browser.token) in stored
    assert digest(link) in stored
    for secret in (browser.token, link, tenant.key, browser.told["csrf_token"]):
        assert secret not in stored


def test_over_https_the_cookie_is_for_this_host_alone(tenant: Tenant) -> None:
    browser = signed_in(tenant, origin="https://mail.example", host="mail.example")
    assert browser.name == "__Host-postroom"
    assert "; Secure" in browser.set_cookie
    assert "Path=/" in browser.set_cookie
    assert browser.request("GET", PATH).status == 200


FROM_ANOTHER_SITE = [
    {"sec_fetch_site": "cross-site"},
    {"sec_fetch_site": "same-site"},
    {"origin": "https://evil.example"},
    {"origin": "null"},
]


@pytest.mark.parametrize(
    "headers",
    [{"x_csrf_token": ""}, {"x_csrf_token": "0" * 64}, {"x_csrf_token": "\xe9"}, *FROM_ANOTHER_SITE],
    ids=str,
)
def test_it_refuses_what_another_site_sends(tenant: Tenant, headers: dict[str, str]) -> None:
    browser = signed_in(tenant)
    before = rows(tenant)
    refused = create(browser, **headers)
    assert (refused.status, refused.code) == (403, "csrf_refused")
    out = browser.request("DELETE", SESSION, **headers)
    assert (out.status, out.code) == (403, "csrf_refused")
    assert rows(tenant) == before
    assert create(browser).status == 201


@pytest.mark.parametrize(("method", "path"), [("GET", SESSION), ("GET", PATH), ("HEAD", PATH)])
@pytest.mark.parametrize("headers", FROM_ANOTHER_SITE, ids=str)
def test_another_site_reads_nothing(tenant: Tenant, method: str, path: str, headers: dict[str, str]) -> None:
    """The browser would send the cookie along, and a read needs no CSRF token."""
    browser = signed_in(tenant)
    refused = browser.request(method, path, **headers)
    assert refused.status == 403
    assert "set-cookie" not in refused.headers
    assert tenant.organization not in refused.text
    for allowed in ({}, {"sec_fetch_site": "same-origin"}, {"sec_fetch_site": "none"}):
        assert browser.request(method, path, **allowed).status == 200


def test_another_site_cannot_sign_in(tenant: Tenant) -> None:
    refused = tenant.post(SESSION, {}, headers={"origin": "https://evil.example"})
    assert (refused.status, refused.code) == (403, "csrf_refused")


def test_the_token_of_another_session_is_refused(tenant: Tenant) -> None:
    one, other = signed_in(tenant), signed_in(tenant)
    assert create(one, x_csrf_token=other.told["csrf_token"]).status == 403


def test_a_key_in_a_header_wins(tenant: Tenant, stranger: Tenant) -> None:
    browser = signed_in(tenant)
    assert browser.request("GET", PATH, x_api_key="pr_wrong").status == 401
    account = stranger.account()
    assert browser.request("GET", f"{PATH}/{account['id']}", x_api_key=stranger.key).status == 200
    assert browser.request("GET", f"{PATH}/{account['id']}").status == 404


def test_a_wrong_key_cannot_sign_in(tenant: Tenant) -> None:
    for key in ("pr_wrong", "", tenant.key[:-1]):
        refused = tenant.post(SESSION, {}, key=key)
        assert (refused.status, refused.code) == (401, "unauthorized")
        assert "set-cookie" not in refused.headers


def test_a_session_is_no_wider_than_its_key(tenant: Tenant) -> None:
    browser = signed_in(tenant, tenant.new_key(["accounts:read"], user_id="u"))
    assert browser.told["key"]["scopes"] == ["accounts:read"]
    assert browser.request("GET", PATH).status == 200
    assert create(browser).status == 403
    assert browser.request("GET", PATH + "?user_id=other").status == 404


def test_signing_out_ends_the_session(tenant: Tenant) -> None:
    browser, other = signed_in(tenant), signed_in(tenant)
    assert browser.request("DELETE", SESSION).status == 200
    assert browser.request("GET", PATH).status == 401
    assert browser.request("GET", SESSION).status == 401
    assert other.request("GET", PATH).status == 200


def test_it_ends_with_its_key(tenant: Tenant) -> None:
    key = tenant.new_key()
    browser = signed_in(tenant, key)
    tenant.post("/v2/keys/delete", {"id": tenant.key_id(key)})
    assert browser.request("GET", PATH).status == 401


@pytest.mark.parametrize(
    ("column", "value"), [("revoked_at", 1), ("expires_at", 1), ("networks", "192.0.2.0/24 2001:db8::/32")]
)
def test_it_is_as_good_as_its_key_is_now(tenant: Tenant, column: str, value: str | int) -> None:
    """Once its key would be refused, so are its session and an unused link. The row of the session
    does not change."""
    key_id = tenant.key_id(key := tenant.new_key())
    browser = signed_in(tenant, key)
    link = tenant.api.database.write_sync(lambda tx: bootstrap.create_link(tx, tenant.organization, key_id))
    assert browser.request("GET", SESSION).status == 200
    sql = f"UPDATE api_keys SET {column} = :value WHERE id = :id"
    tenant.api.database.write_sync(lambda tx: tx.run(sql, value=value, id=key_id))
    before = rows(tenant, "console_sessions")
    asked = [browser.request("GET", SESSION), browser.request("GET", PATH), create(browser)]
    asked += [browser.request("DELETE", SESSION), tenant.post(SESSION, {"link": link}, key=None)]
    assert {(answer.status, answer.code) for answer in asked} == {(401, "unauthorized")}
    assert rows(tenant, "console_sessions") == before
    assert rows(tenant, "accounts") == []


def test_it_ends_with_its_time(tenant: Tenant) -> None:
    browser = signed_in(tenant)
    sql = "UPDATE console_sessions SET expires_at = 1 WHERE organization_id = :o"
    tenant.api.database.write_sync(lambda tx: tx.run(sql, o=tenant.organization_id))
    assert browser.request("GET", PATH).status == 401
    signed_in(tenant)
    assert len(rows(tenant, "console_sessions")) == 1


def test_a_link_works_once(tenant: Tenant, api: ApiServer) -> None:
    link = api.database.write_sync(lambda tx: bootstrap.create_link(tx, tenant.organization))
    browser = Browser(tenant, tenant.post(SESSION, {"link": link}, key=None))
    assert browser.told["key"]["id"] == tenant.key_id(tenant.key)
    assert create(browser).status == 201
    again = tenant.post(SESSION, {"link": link}, key=None)
    assert (again.status, again.code) == (401, "unauthorized")


def test_a_link_that_is_too_old_or_made_up(tenant: Tenant) -> None:
    link = tenant.api.database.write_sync(lambda tx: bootstrap.create_link(tx, tenant.organization))
    sql = "UPDATE console_links SET expires_at = 1 WHERE organization_id = :o"
    tenant.api.database.write_sync(lambda tx: tx.run(sql, o=tenant.organization_id))
    for token in (link, "0" * 64, "x"):
        assert tenant.post(SESSION, {"link": token}, key=None).status == 401


def test_a_link_ends_with_its_key(tenant: Tenant) -> None:
    key_id = tenant.key_id(tenant.new_key())
    link = tenant.api.database.write_sync(lambda tx: bootstrap.create_link(tx, tenant.organization, key_id))
    tenant.post("/v2/keys/delete", {"id": key_id})
    assert tenant.post(SESSION, {"link": link}, key=None).status == 401


def test_two_cookies_are_refused(tenant: Tenant) -> None:
    browser = signed_in(tenant)
    assert browser.request("GET", PATH, cookie=f"postroom={browser.token}; postroom=other").status == 401


def test_other_methods(tenant: Tenant) -> None:
    refused = tenant.request("PUT", SESSION, {})
    assert (refused.status, refused.headers["allow"]) == (405, "GET, POST, DELETE")


def test_the_page(api: ApiServer) -> None:
    for path in ("/", "/accounts", "/accounts/7", "/domains/x.test", "/keys", "/events", "/sign-in"):
        page = api.request("GET", path)
        assert page.status == 200
        policy = page.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
        assert "unsafe" not in policy
        assert page.headers["x-content-type-options"] == "nosniff"
    for path in ("/nothing", "/accounts/7/x", "/accounts/", "/console/", "/console/index.html", "//"):
        assert api.request("GET", path).code == "not_found"
    assert api.request("POST", "/", {}).status == 405


def test_a_path_without_a_page_is_a_page_in_a_browser(api: ApiServer) -> None:
    """The console says there what is not there. Any other client gets a problem, as under /v2."""
    browser = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
    page = api.request("GET", "/")
    for path in ("/nothing", "/accounts/7/x", "/console/", "//"):
        missing = api.request("GET", path, headers=browser)
        assert (missing.status, missing.headers["content-type"]) == (404, "text/html; charset=utf-8")
        assert missing.headers["content-security-policy"] == page.headers["content-security-policy"]
        assert missing.headers["vary"] == "accept"
        assert missing.text == page.text
        assert api.request("HEAD", path, headers=browser).status == 404
        assert api.request("POST", path, {}, headers=browser).code == "not_found"
        assert api.request("GET", path, headers={"accept": "*/*"}).code == "not_found"
    assert api.request("GET", "/v2/nothing", headers=browser).code == "unauthorized"
    assert api.request("GET", "/healthz", headers=browser).json == api.request("GET", "/healthz").json
    assert api.request("POST", "/healthz", {}, headers=browser).code == "method_not_allowed"


def test_its_files_are_kept_for_ever(api: ApiServer) -> None:
    text = api.request("GET", "/").text
    for path in [part.split('"')[0] for part in text.split('"/console/')[1:]]:
        found = api.request("GET", f"/console/{path}")
        assert found.status == 200
        assert "immutable" in found.headers["cache-control"]
    (version,) = {part.split("/")[0] for part in text.split('"/console/')[1:]}
    for path in (f"/console/{version}/nothing.js", f"/console/{version}/../../keys.py", "/console/0/main.js"):
        missing = api.request("GET", path)
        assert missing.status == 404
        assert "immutable" not in missing.headers.get("cache-control", "")


def test_two_names_of_the_cookie(tenant: Tenant) -> None:
    """A cookie of a plain HTTP session, or one set by a neighboring host, does not lock out a
    session over TLS."""
    plain = signed_in(tenant)
    host = f"127.0.0.1:{tenant.api.port}"
    secure = signed_in(tenant, origin=f"https://{host}", host=host)
    assert (plain.name, secure.name) == ("postroom", "__Host-postroom")
    both = f"{plain.name}={plain.token}; {secure.name}={secure.token}"
    headers = {"cookie": both, "x-csrf-token": secure.told["csrf_token"]}
    assert tenant.api.request("GET", SESSION, headers=headers).json["csrf_token"] == secure.told["csrf_token"]
    assert tenant.api.request("DELETE", SESSION, headers=headers).status == 200


def test_signing_in_is_counted_like_any_call(database_url: str) -> None:
    with ApiServer.start(database_url, Settings(rate_limit="3/hour")) as server:
        tenant = server.new_tenant()
        answers = [tenant.post(SESSION, {}) for _ in range(4)]
        assert [answer.status for answer in answers] == [201, 201, 201, 429]
        assert int(answers[-1].headers["retry-after"]) > 0


def test_signing_in_counts_for_the_whole_family_of_a_key(database_url: str) -> None:
    """Otherwise a key could sign in without a limit, with keys that it creates."""
    with ApiServer.start(database_url, Settings(rate_limit="6/hour")) as server:
        tenant = server.new_tenant()
        child = tenant.post("/v2/keys", {}).json["api_key"]
        grandchild = tenant.post("/v2/keys", {}, key=child).json["api_key"]
        answers = [tenant.post(SESSION, {}, key=key) for key in (child, grandchild, child, grandchild)]
        assert [answer.status for answer in answers] == [201] * 4
        for key in (tenant.key, child, grandchild):
            assert tenant.post(SESSION, {}, key=key).status == 429
        browser = Browser(tenant, answers[0])
        assert browser.request("GET", PATH).status == 429
        assert tenant.post(SESSION, {}, key=tenant.new_key()).status == 201


def test_removing_expired_sessions_does_not_block_the_loop(tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sign-in removes expired sessions in the writer thread, so it does not block the event
    loop."""
    threads: list[str] = []

    def noted(real: Any) -> Any:
        def note(*arguments: Any) -> Any:
            threads.append(threading.current_thread().name)
            return real(*arguments)

        return note

    for name in ("start", "follow_link"):
        monkeypatch.setattr(console_sessions, name, noted(getattr(console_sessions, name)))
    signed_in(tenant)
    link = tenant.api.database.write_sync(lambda tx: bootstrap.create_link(tx, tenant.organization))
    assert tenant.post(SESSION, {"link": link}, key=None).status == 201
    assert set(threads) == {"writer"}
    assert len(threads) >= 2
