"""GET /openapi.json: OpenAPI 3.1, generated from the table of routes."""

import re
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from postroom.api.problems import PROBLEMS
from postroom.api.route import PUBLIC, Route
from postroom.api.routes import ROUTES
from postroom.events import TYPES
from tests.api.mail_tokens import make
from tests.harness.server import ApiServer, Tenant

PATH = "/openapi.json"


@pytest.fixture
def document(api: ApiServer) -> Any:
    return api.request("GET", PATH).json


def operation(document: Any, route: Route) -> Any:
    return document["paths"][re.sub(r":(\w+)", r"{\1}", route.path)][route.method.lower()]


def resolve(document: Any, schema: Any) -> Any:
    while "$ref" in schema:
        _, _, kind, name = schema["$ref"].split("/")
        schema = document["components"][kind][name]
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
    assert in_query == list(route.query.__struct_encode_fields__)


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
    assert list(schema["properties"]) == ["account", "password", "note", "setup_url", "setup_expires_at"]
    assert schema["required"] == ["account", "password", "note"]
    account = resolve(document, schema["properties"]["account"])
    assert {"userId", "isDefault", "user_id", "is_default", "created_at"} <= set(account["properties"])
    assert "required" not in account, "?fields= chooses the fields"
    assert "`userId`" in schema["properties"]["account"]["description"]


def leaves(document: Any) -> Iterator[tuple[str, Any]]:
    """Each field of each schema, and each parameter and header, with its name."""
    for name, schema in document["components"]["schemas"].items():
        for field, described in schema["properties"].items():
            yield f"{name}.{field}", described
    for header, described in document["components"]["headers"].items():
        yield header, described
    for path, item in document["paths"].items():
        for operation in item.values():
            for parameter in operation["parameters"]:
                yield f"{path}?{parameter['name']}", parameter
            for response in operation["responses"].values():
                for field, described in (
                    next(iter(response["content"].values()))["schema"].get("properties", {}).items()
                ):
                    yield f"{path}: {field}", described


def test_every_field_and_parameter_has_a_description_and_an_example(document: Any) -> None:
    found = dict(leaves(document))
    assert len(found) > 300
    for name, described in found.items():
        assert described.get("description"), name
        inner = described.get("items", described)
        is_of_others = "$ref" in inner or "account" in name  # the fields of the other schema have examples
        assert is_of_others or "example" in described or described.get("examples"), name


def test_examples_are_accepted(tenant: Tenant, document: Any) -> None:
    """The example of a parameter is a value that the route takes."""
    for route in ROUTES:
        if route.method == "GET" and route.scope != PUBLIC:
            shown = operation(document, route)["parameters"]
            path = route.path
            for parameter in shown:
                path = path.replace(f":{parameter['name']}", str(parameter["example"]))
            for parameter in shown:
                if parameter["in"] == "query":
                    answer = tenant.get(path, **{"user_id": "user_123"} | {parameter["name"]: parameter["example"]})
                    refused = answer.json.get("errors", []) if answer.status == 400 else []
                    assert parameter["name"] not in {error["field"] for error in refused} - {"every_user"}, route.name


def test_a_request_s_field_with_a_default_is_not_required(document: Any) -> None:
    """openapi-typescript takes a field with a default for one that is there."""
    for route in ROUTES:
        if route.body:
            schema = document["components"]["schemas"][route.body.__name__]
            required = {field.name for field in msgspec.structs.fields(route.body) if field.required}
            assert set(schema.get("required", ())) == required
            assert all("default" not in field for field in schema["properties"].values())


def test_what_is_chosen_from_a_list_is_an_enumeration(document: Any) -> None:
    schemas = document["components"]["schemas"]
    assert schemas["Problem"]["properties"]["code"]["enum"] == sorted(PROBLEMS)
    assert schemas["ShownEvent"]["properties"]["type"]["enum"] == sorted(TYPES)
    assert schemas["Account"]["properties"]["status"]["enum"] == ["active", "disabled", "suspended"]
    for route in ROUTES:
        for parameter in operation(document, route)["parameters"]:
            if parameter["name"] in ("status", "order", "deleted", "every_user"):
                assert len(parameter["schema"]["enum"]) >= 2, route.name


def test_the_headers_of_answers_are_described(document: Any, tenant: Tenant) -> None:
    made = tenant.create("first")
    tenant.create("second")
    listed = tenant.get("/v2/email-accounts?limit=1&users_id=x")
    sent = {"GET /v2/email-accounts": listed, "POST /v2/email-accounts/create": made}
    for route in ROUTES:
        if answer := sent.get(f"{route.method} {route.path}"):
            described = {name.lower() for name in operation(document, route)["responses"][str(route.status)]["headers"]}
            ours = {"link", "location", "x-request-id", "x-ignored-parameters"} & set(answer.headers)
            assert ours <= described
            assert len(ours) >= 2


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
            always = [name for name in schema["properties"] if name != "total"]  # with ?fields= alone
            assert list(asked[route.name].json) == always
            assert "total" not in schema.get("required", ())
            assert set(schema.get("required", ())) <= set(asked[route.name].json)


def test_what_no_pattern_allows_is_refused(document: Any, tenant: Tenant) -> None:
    tried, id_ = 0, str(tenant.account()["id"])
    bearer = {"authorization": f"Bearer {make(tenant)}"}
    for path, operations in document["paths"].items():
        known = path.replace("{domain}", tenant.domain).replace("{id}", id_)
        needed: dict[str, Any] = {"key": None, "headers": bearer} if known.startswith("/mail/") else {}
        for given in operations.get("get", {}).get("parameters", ()):
            parameter = resolve(document, given)
            pattern = resolve(document, parameter["schema"]).get("pattern", "")
            for text in ("a\0", "a\x17"):
                if parameter["in"] == "query" and not re.search(pattern, text):
                    tried += 1
                    answer = tenant.get(known, **needed, **{parameter["name"]: text})
                    assert answer.status in (400, 404), (path, parameter["name"])
    assert tried > 10
