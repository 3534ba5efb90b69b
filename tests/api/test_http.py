"""Promises for every request: the key is checked first, then the path and the method."""

import pytest

from tests.api.raw import CREATE, PATH, plain
from tests.api.rows import rows
from tests.harness.server import ApiServer, Tenant

LIMIT = 64 * 1024


@pytest.mark.parametrize(
    ("method", "path", "with_key"),
    [
        ("GET", "/v2", 404),
        ("GET", "/v2/", 404),
        ("GET", "/v2/nothing", 404),
        ("POST", "/v2/nothing/../email-accounts", 404),
        ("GET", CREATE, 405),
        ("DELETE", f"{PATH}/1", 405),
        ("TRACE", PATH, 405),
        ("OPTIONS", PATH, 405),
        ("PATCH", f"{PATH}/1", 405),
        ("GET", f"{PATH}/x", 404),
        ("GET", f"{PATH}?limit=x", 400),
        ("GET", f"{PATH}/%00", 400),
        ("GET", f"{PATH}/%ff", 400),
        ("GET", "/%76%32/email-accounts", 200),
    ],
)
def test_401_is_decided_first(tenant: Tenant, method: str, path: str, with_key: int) -> None:
    refused = tenant.api.request(method, path)
    assert (refused.status, refused.code) == (401, "unauthorized")
    assert tenant.request(method, path).status == with_key


def test_401_comes_before_413_and_415(tenant: Tenant) -> None:
    for body, content_type, with_key in [(b"x" * (LIMIT + 1), "application/json", 413), (b"x", "text/plain", 415)]:
        headers = {"content-type": content_type}
        assert tenant.api.request("POST", CREATE, raw=body, headers=headers).status == 401
        assert tenant.post(CREATE, raw=body, headers=headers).status == with_key


def test_outside_v2_nothing_is_secret(api: ApiServer) -> None:
    for path in ("/nothing", "/V2/email-accounts", "//v2/email-accounts", "/healthz/"):
        refused = api.request("GET", path)
        assert (refused.status, refused.code) == (404, "not_found"), path


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("GET", CREATE, "POST"),
        ("HEAD", CREATE, "POST"),
        ("GET", f"{PATH}/delete", "POST"),
        ("PUT", f"{PATH}/create", "POST"),
        ("POST", PATH, "GET, HEAD"),
        ("DELETE", f"{PATH}/1", "GET, HEAD, PUT"),
        ("PATCH", f"{PATH}/1", "GET, HEAD, PUT"),
        ("TRACE", f"{PATH}/1", "GET, HEAD, PUT"),
        ("GET", f"{PATH}/1/password/reset", "POST"),
        ("POST", "/v2/domains/x.test/email-accounts", "GET, HEAD"),
        ("POST", "/openapi.json", "GET, HEAD"),
        ("DELETE", "/healthz", "GET, HEAD"),
    ],
)
def test_405_says_what_is_allowed(tenant: Tenant, method: str, path: str, allow: str) -> None:
    refused = tenant.request(method, path)
    assert (refused.status, refused.headers["allow"]) == (405, allow)
    if method != "HEAD":
        assert refused.code == "method_not_allowed"


def test_trace_echoes_nothing(tenant: Tenant) -> None:
    status, answer = plain(tenant, "TRACE", f"{PATH}", "X-Secret: mirror")
    assert status == 405
    assert b"mirror" not in answer
    assert tenant.key.encode() not in answer


@pytest.mark.parametrize("header", ["X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"])
def test_method_overrides_do_nothing(tenant: Tenant, header: str) -> None:
    account = tenant.account()
    before = rows(tenant)
    overridden = tenant.get(f"{PATH}/{account['id']}", headers={header: "PUT"})
    assert overridden.json["account"]["id"] == account["id"]
    assert tenant.get(f"{PATH}?_method=POST").status == 200
    assert tenant.post(f"{PATH}/{account['id']}", {"status": "disabled"}, headers={header: "PUT"}).status == 405
    assert rows(tenant) == before


def test_head_works_wherever_get_does(tenant: Tenant) -> None:
    account = tenant.account()
    paths = [PATH, f"{PATH}/{account['id']}", f"/v2/domains/{tenant.domain}/email-accounts", "/v2/events", "/v2/stats"]
    for path in (*paths, "/openapi.json", "/healthz", f"{PATH}/999999999", f"{PATH}?limit=0"):
        got, head = tenant.get(path), tenant.request("HEAD", path)
        assert (head.status, head.text) == (got.status, ""), path
        assert head.headers["content-length"] == got.headers["content-length"] == str(len(got.text.encode()))
        assert head.headers["content-type"] == got.headers["content-type"]


def test_paths_are_exact(tenant: Tenant) -> None:
    id_ = tenant.account()["id"]
    for path in (f"{PATH}/", f"{PATH}//{id_}", f"{PATH}/{id_}/", f"/v2//email-accounts/{id_}", "/v2/Email-Accounts"):
        refused = tenant.get(path)
        assert (refused.status, refused.code) == (404, "not_found"), path
    assert tenant.get(f"/%76%32/%65mail-accounts/{id_}").status == 200


def test_an_encoded_slash_stays_inside_its_segment(tenant: Tenant) -> None:
    id_ = tenant.account()["id"]
    for path in (f"/v2%2Femail-accounts/{id_}", f"{PATH}%2F{id_}", f"{PATH}/{id_}%2Fpassword%2Freset"):
        assert tenant.get(path).status == 404
    assert tenant.get(f"/v2/domains/{tenant.domain}%2Femail-accounts").status == 404
    assert tenant.get(f"/v2/domains/a%2F{tenant.domain}/email-accounts").status == 404
    assert tenant.post(f"{PATH}/{id_}%2Fpassword/reset", {}).status == 404


@pytest.mark.parametrize("path", [f"{PATH}/1%00", "/v2/domains/a%00.test/email-accounts", f"{PATH}/%C3", "/%ff"])
def test_nul_and_broken_utf_8_in_the_path(tenant: Tenant, path: str) -> None:
    refused = tenant.get(path)
    assert (refused.status, refused.code) == (400, "invalid_request")


@pytest.mark.parametrize("query", ["q=%00", "user_id=%ff", "x=%C3", "%00=1", "q=a%00b", "a=%ed%a0%80"])
def test_nul_and_broken_utf_8_in_the_query(tenant: Tenant, query: str) -> None:
    refused = tenant.get(f"{PATH}?{query}")
    assert (refused.status, refused.problem("query")) == (400, "invalid_encoding")


def test_bytes_that_are_not_ascii_in_the_request_line(tenant: Tenant) -> None:
    assert plain(tenant, "GET", f"{PATH}?limit=1&user_id=ü".encode())[0] == 400
    assert plain(tenant, "GET", "/v2/domains/bü.test/email-accounts".encode())[0] == 400
    assert plain(tenant, "GET", b"/v2/domains/b\xfc.test/email-accounts")[0] == 400


def test_odd_request_lines(tenant: Tenant) -> None:
    id_ = tenant.account()["id"]
    assert plain(tenant, "GET", f"http://elsewhere.test{PATH}/{id_}")[0] == 200
    assert plain(tenant, "OPTIONS", "*")[0] in (400, 404)
    assert plain(tenant, "GET", f"{PATH}/{id_}?")[0] == 200
    assert plain(tenant, "GET", f"{PATH}?&&=&a&=b&limit=1&")[0] == 200
    assert plain(tenant, "GET", f"{PATH}/{id_}?user_id=user_123%26x=1")[0] == 404
    assert plain(tenant, "GET", f"{PATH}?user_id=a+b")[0] == 200
