"""The client's methods match the table of routes: every route has a method, which sends exactly the
route's parameters."""

import inspect
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from postroom.api.endpoints.client_settings import XML
from postroom.api.openapi import document
from postroom.api.route import Route
from postroom.api.routes import ROUTES
from postroom.client import NewAttachment
from postroom.client.catalog import Method, catalog, operations

METHODS: Mapping[str, Method] = operations()
# Without the documents that mail clients request by themselves, without the owner's page, which is
# for browsers (decision 0270), and without what the routes of an account say better.
OURS = [
    route
    for route in ROUTES
    if route.media != XML and not route.path.startswith("/v2/me") and not route.needs_mail_token
]
# The parameter of this route is the Host header, which is not in the table.
HOST = {"get_mta_sts_policy": {"domain"}}
FLAGS = ("deleted", "every_user", "unseen")
# What these arguments are called in a body, where the query has the same name.
SENT_NAMES = {"move_to": "mailbox"}
VALUES: dict[str, Any] = {
    "attachments": [NewAttachment("a.pdf", b"content")],
    "headers": {"X-A": "b"},
    "id": 7,
    "limit": 3,
    "offset": 4,
    "after": 5,
    "account_id": 6,
    "key_id": 8,
    "expires_at": datetime.now(UTC),
}


def method_of(route: Route) -> tuple[str, Method]:
    found = [(name, m) for name, m in METHODS.items() if (m.method, m.path) == (route.method, route.path)]
    assert len(found) == 1, f"{route.method} {route.path} has {len(found)} methods in postroom/client/operations.py"
    return found[0]


def names(kind: type[msgspec.Struct] | None) -> set[str]:
    return {field.name for field in msgspec.structs.fields(kind)} if kind else set()


def path_names(route: Route) -> set[str]:
    return {part[1:] for part in route.path.split("/") if part.startswith(":")}


def sample(name: str) -> Any:
    return VALUES.get(name, f"a {name}")


def test_each_method_is_a_route() -> None:
    assert {(m.method, m.path) for m in METHODS.values()} == {(route.method, route.path) for route in OURS}


@pytest.mark.parametrize("route", OURS, ids=lambda route: route.name)
def test_a_method_takes_what_its_route_takes(route: Route) -> None:
    name, method = method_of(route)
    parameters = set(inspect.signature(method.describe).parameters) - {"self"}
    wanted = path_names(route) | names(route.query) | names(route.body) | HOST.get(name, set())
    assert parameters == wanted - {"fields"} | ({"idempotency_key"} if route.writes else set())
    assert method.__doc__


@pytest.mark.parametrize("route", OURS, ids=lambda route: route.name)
def test_a_parameter_has_the_words_of_its_field(route: Route) -> None:
    """OpenAPI, the command line and the MCP tools describe a parameter with the same sentence."""
    operation = document([route], "")["paths"].popitem()[1][route.method.lower()]
    schemas = document([route], "")["components"]["schemas"]
    said = {one["name"].replace("-", "_").lower(): one for one in operation["parameters"]}
    in_body = schemas[route.body.__name__]["properties"] if route.body else {}
    said = in_body | said | {of: in_body[name] for of, name in SENT_NAMES.items() if name in in_body}
    entry = catalog()[method_of(route)[0]]
    for parameter in entry.parameters:
        if parameter.name not in HOST.get(entry.name, ()):
            schema = said[parameter.sent_name]
            assert f'"description": "{parameter.words}"' in json.dumps(schema), parameter.name


@pytest.mark.parametrize("route", OURS, ids=lambda route: route.name)
def test_a_method_sends_what_it_is_given(route: Route) -> None:
    _, method = method_of(route)
    parameters = set(inspect.signature(method.describe).parameters) - {"self"}
    request = method.describe(None, **{name: sample(name) for name in parameters})
    in_query = names(route.query) - (names(route.body) & {"user_id"})
    assert request.path == {name: sample(name) for name in path_names(route)}
    body = {SENT_NAMES.get(name, name.rstrip("_")): sample(name) for name in names(route.body)} if route.body else None
    if body and "attachments" in body:
        body["attachments"] = [one.body() for one in body["attachments"]]
    assert request.body == body
    sent = {name: request.query[name] for name in request.query if name not in ("fields", *FLAGS)}
    sent |= {"from_": sent.pop("from")} if "from" in sent else {}
    assert sent == {name: sample(name) for name in in_query - {"fields", *FLAGS}}
    assert set(request.query) == {name.rstrip("_") for name in in_query}
    assert request.query.get("fields") == ("*" if "fields" in in_query else None)
    assert request.idempotency_key == (sample("idempotency_key") if route.writes else None)


@pytest.mark.parametrize("route", OURS, ids=lambda route: route.name)
def test_a_method_sends_nothing_that_it_is_not_given(route: Route) -> None:
    _, method = method_of(route)
    required = [
        p.name
        for p in inspect.signature(method.describe).parameters.values()
        if p.default is inspect.Parameter.empty and p.name != "self"
    ]
    request = method.describe(None, **{name: sample(name) for name in required})
    assert set(request.query) <= {"fields", *required}
    assert set(request.body or {}) == set(required) - set(request.path) - set(request.query) - HOST.get(_, set())
