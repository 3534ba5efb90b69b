"""GET /docs: the API reference, vendored. Its policy forbids the browser to load anything from
other hosts."""

import re

from postroom.api.routes import ROUTES
from tests.harness.server import ApiServer


def test_it_works(api: ApiServer) -> None:
    page = api.request("GET", "/docs/")
    assert page.status == 200
    assert page.headers["content-type"].startswith("text/html")
    assert page.headers["x-request-id"]
    paths = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert "/docs/page.js" in paths
    for path in paths:
        assert path.startswith("/"), path
        assert api.request("GET", path).status == 200
    assert 'url: "/openapi.json"' in api.request("GET", "/docs/page.js").text


def test_it_is_found_without_the_slash(api: ApiServer) -> None:
    answer = api.request("GET", "/docs")
    assert (answer.status, answer.headers["location"]) == (307, "/docs/")


def test_the_browser_may_ask_this_server_only(api: ApiServer) -> None:
    policy = api.request("GET", "/docs/").headers["content-security-policy"]
    rules = {name: sources for name, *sources in (rule.split() for rule in policy.split(";"))}
    assert rules.pop("default-src") == ["'none'"]
    allowed = {source for sources in rules.values() for source in sources}
    assert allowed <= {"'self'", "'none'", "data:", "'unsafe-inline'"}
    assert rules["script-src"] == rules["connect-src"] == ["'self'"]


def test_nothing_outside_its_folder_is_served(api: ApiServer) -> None:
    for path in ("/docs/../app.py", "/docs/%2e%2e/app.py", "/docs/..%2fapp.py", "/docs//etc/passwd"):
        assert api.request("GET", path).status == 404


def test_a_missing_file_is_a_problem_like_any_other(api: ApiServer) -> None:
    console = api.request("GET", "/").text.partition('"/console/')[2].partition("/")[0]
    for folder in ("/docs", f"/console/{console}"):
        missing, refused = api.request("GET", f"{folder}/nope"), api.request("POST", f"{folder}/nope")
        assert (missing.status, missing.code) == (404, "not_found")
        assert (refused.status, refused.code, refused.headers["allow"]) == (405, "method_not_allowed", "GET, HEAD")
        for answer in (missing, refused):
            assert answer.json["request_id"] == answer.headers["x-request-id"]
            assert "immutable" not in answer.headers.get("cache-control", "")


def test_it_documents_every_route(api: ApiServer) -> None:
    shown = api.request("GET", "/openapi.json").json["paths"]
    expected = {(route.method.lower(), re.sub(r":(\w+)", r"{\1}", route.path)) for route in ROUTES}
    assert {(method, path) for path, methods in shown.items() for method in methods} == expected
