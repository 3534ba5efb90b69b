"""Schemathesis generates valid and invalid requests from our OpenAPI document and checks every
answer against the document."""

import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS, load_all_checks

from postroom.actor import OWNER_SCOPE
from postroom.api.event_stream import EventStream
from postroom.api.route import PUBLIC, Route
from postroom.api.routes import ROUTES
from tests.api.owner import Owner
from tests.harness.server import ApiServer, Tenant

load_all_checks()
# A JSON schema cannot describe exactly which domains and addresses are valid.
LEFT_OUT = {"positive_data_acceptance"}
BUDGET = settings(phases=[Phase.generate])
# Requests for each route and mode. What is wrong is refused before a database is asked, so
# PostgreSQL gets only requests about what exists, and a sample of them. A stream has no end.
CALLED = [route for route in ROUTES if route.gives is not EventStream]
REQUESTS = {"sqlite": 8, "postgresql": 3}
on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True, scope="session")


@pytest.fixture(scope="module")
def budget(database_url: str) -> settings:
    return settings(BUDGET, max_examples=REQUESTS[database_url.partition(":")[0]])


@pytest.fixture(scope="module")
def schema(api: ApiServer) -> Iterator[Any]:
    document = api.request("GET", "/openapi.json").json
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loaded = schemathesis.openapi.from_dict(document)
        loaded.config.update(base_url=f"http://127.0.0.1:{api.port}")
        yield loaded


def check(
    schema: Any, budget: settings, tenant: Tenant, route: Route, mode: GenerationMode, known: dict[str, Any]
) -> None:
    """Sends many requests to a route. `known` has values of existing things, by parameter or
    field."""
    checks = [CHECKS.get_one(name) for name in CHECKS.get_all_names() if name not in LEFT_OUT]
    path = "/".join(f"{{{part[1:]}}}" if part.startswith(":") else part for part in route.path.split("/"))
    operation = schema[path][route.method]

    @given(case=operation.as_strategy(generation_mode=mode))
    @budget
    def run(case: Any) -> None:
        for part in (case.path_parameters, case.body):
            if known and isinstance(part, dict):
                part.update({name: value for name, value in known.items() if name in part})
        case.call_and_validate(headers=credential(tenant, route), checks=checks)

    run()


def credential(tenant: Tenant, route: Route) -> dict[str, str]:
    """The key, or a session of the owner's page, new for each request because some end it."""
    if route.needs_mail_token:
        return {"Authorization": f"Bearer {_mail_token(tenant)}"}
    if route.scope != OWNER_SCOPE:
        return {"x-api-key": tenant.key}
    sql = "SELECT id FROM accounts WHERE organization_id = :o LIMIT 1"
    row = tenant.api.database.write_sync(lambda tx: tx.one(sql, o=tenant.organization_id))
    owner = Owner.of(tenant, row[0] if row else tenant.account("owner")["id"])
    return {"cookie": owner.cookie, "x-csrf-token": owner.told["csrf_token"]}


def _mail_token(tenant: Tenant) -> str:
    """A token for an account, which the test may have made."""
    if not tenant.get("/v2/email-accounts", user_id="user_123").json["items"]:
        tenant.account("token")
    token: str = tenant.post("/v2/mail-tokens", {"user_id": "user_123"}).json["token"]
    return token


@on_sqlite
@pytest.mark.parametrize("route", CALLED, ids=lambda route: route.name)
def test_right_requests(schema: Any, budget: settings, tenant: Tenant, route: Route) -> None:
    check(schema, budget, tenant, route, GenerationMode.POSITIVE, {})


@on_sqlite
@pytest.mark.parametrize(
    "route", [r for r in CALLED if r.scope not in (PUBLIC, OWNER_SCOPE)], ids=lambda route: route.name
)
def test_wrong_requests(schema: Any, budget: settings, tenant: Tenant, route: Route) -> None:
    check(schema, budget, tenant, route, GenerationMode.NEGATIVE, {})


@pytest.mark.parametrize("route", [r for r in CALLED if ":" in r.path or r.body], ids=lambda route: route.name)
def test_requests_about_what_exists(schema: Any, budget: settings, tenant: Tenant, route: Route) -> None:
    account = tenant.account()
    known = {"id": account["id"], "domain": tenant.domain, "user_id": account["user_id"]}
    check(schema, budget, tenant, route, GenerationMode.POSITIVE, known)
