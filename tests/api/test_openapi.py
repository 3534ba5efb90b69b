"""GET /openapi.json: OpenAPI 3.1, generated from the table of routes."""

import re
from typing import Any

import pytest

from postroom.api.problems import PROBLEMS
from postroom.api.route import PUBLIC, Route
from postroom.api.routes import ROUTES
from tests.harness.server import ApiServer, Tenant

PATH = "/openapi.json"


@pytest.fixture
def document(api: ApiServer) -> Any:
    return api.request("GET", PATH).json


def operation(document: Any, route: Route) -> Any:
    return document["paths"][re.sub(r":(\w+)", r"{\1}", route.path)][route.method.lower()]


def resolve(document: Any, schema: Any) -> Any:
    while "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].removeprefix("#/components/schemas/")]
    return schema


def test_it_works(api: ApiServer) -> None:
    answer = api.request("GET", PATH)
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    assert answer.json["openapi"].startswith("3.1.")
    assert answer.json["info"]["title"] == "Postroom"


def test_it_has_the_table_and_nothing_else(document: Any) -> None:
    found = {(method.upper(), path) for path, item in document["paths"].items() for method in item}
    assert found == {(route.method, re.sub(r":(\w+)", r"{\1}", route.path)) for route in ROUTES}
    names = [item["operationId"] for path in document["paths"].values() for item in path.values()]
    assert len(names) == len(set(names))


def test_every_reference_leads_somewhere(document: Any) -> None:
    def walk(node: Any) -> None:
        if isinstance(node, dict):
            if "$ref" in node:
                assert resolve(document, node)
            for value in node.values():
                walk(value)
        elif isinstance(node, list):
            for value in node:
                walk(value)

    walk(document)


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
def test_each_operation(document: Any, route: Route) -> None:
    shown = operation(document, route)
    assert shown["summary"]
    assert shown["description"]
    assert str(route.status) in shown["responses"]
    assert (shown.get("security") == []) == (route.scope == PUBLIC)
    if route.scope != PUBLIC:
        assert f"`{route.scope}`" in shown["description"]
        assert {"400", "401", "403", "429", "503"} <= set(shown["responses"])
    for code in route.refuses:
        assert str(PROBLEMS[code][0]) in shown["responses"]
    in_path = {p["name"] for p in shown["parameters"] if p["in"] == "path"}
    assert in_path == set(re.findall(r":(\w+)", route.path))
    in_query = [p["name"] for p in shown["parameters"] if p["in"] == "query"]
    assert in_query == list(route.query.__struct_fields__)


def test_request_types_refuse_the_unknown_and_type_everything(document: Any) -> None:
    """An untyped value in a request type would permit deep nesting."""
    for route in ROUTES:
        if route.body:
            schema = resolve(
                document, operation(document, route)["requestBody"]["content"]["application/json"]["schema"]
            )
            assert schema["additionalProperties"] is False
            for name, field in schema["properties"].items():
                kinds = [field, *field.get("anyOf", ())]
                assert any("type" in kind or "enum" in kind for kind in kinds), (route.name, name)


def test_the_shape_of_create(document: Any) -> None:
    create = next(route for route in ROUTES if route.name == "accounts.create")
    schema = resolve(document, operation(document, create)["responses"]["201"]["content"]["application/json"]["schema"])
    assert list(schema["properties"]) == ["account", "password", "note"]
    default, full = (resolve(document, kind) for kind in schema["properties"]["account"]["anyOf"])
    assert {"userId", "isDefault"} <= set(default["properties"])
    assert {"user_id", "is_default", "created_at"} <= set(full["properties"])


def test_answers_are_as_described(document: Any, tenant: Tenant) -> None:
    account = tenant.account()
    asked = {
        "accounts.get": tenant.get(f"/v2/email-accounts/{account['id']}"),
        "accounts.get_page": tenant.get("/v2/email-accounts"),
        "accounts.get_domain_page": tenant.get(f"/v2/domains/{tenant.domain}/email-accounts"),
        "keys.get_page": tenant.get("/v2/keys"),
        "events.get_page": tenant.get("/v2/events"),
        "stats.get": tenant.get("/v2/stats"),
    }
    for route in ROUTES:
        if route.name in asked:
            success = operation(document, route)["responses"]["200"]["content"]["application/json"]["schema"]
            schema = resolve(document, success)
            assert list(asked[route.name].json) == list(schema["properties"])
            assert set(schema.get("required", ())) <= set(asked[route.name].json)
