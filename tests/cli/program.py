"""`postroom api` as a process, with a tenant's key in its environment and its own home
directory."""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from postroom.api.route import Route
from postroom.api.routes import ROUTES
from postroom.client.catalog import Entry
from tests.harness.server import Tenant
from tests.harness.service import COMMAND, LONG


def route_of(entry: Entry) -> Route:
    """The route of an operation. tests/client/test_operations.py checks that every route has an
    operation."""
    return next(route for route in ROUTES if (route.method, route.path) == (entry.operation.method, entry.path))


def names_of(route: Route) -> set[str]:
    """The names of a route's parameters and fields in Python, without `fields`."""
    names = {name for kind in (route.query, route.body) if kind for name in kind.__struct_fields__} - {"fields"}
    return names | {part[1:] for part in route.path.split("/") if part.startswith(":")}


def environment(tenant: Tenant | None, home: Path) -> dict[str, str]:
    outer = {name: value for name, value in os.environ.items() if not name.startswith(("POSTROOM_", "XDG_"))}
    ours = {"POSTROOM_URL": url_of(tenant), "POSTROOM_API_KEY": tenant.key} if tenant else {}
    return outer | {"HOME": str(home)} | ours


def url_of(tenant: Tenant) -> str:
    return f"http://127.0.0.1:{tenant.api.port}"


def run(
    tenant: Tenant | None, home: Path, *arguments: str, given: str = "", more: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [COMMAND, "api", *arguments],
        env={**environment(tenant, home), **(more or {})},
        cwd=home,
        input=given,
        capture_output=True,
        text=True,
        timeout=LONG,
    )
