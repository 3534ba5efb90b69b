"""`postroom api` as a process, with the key of a tenant in its environment and a home of its own."""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.server import Tenant
from tests.service import COMMAND, LONG


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
        env=environment(tenant, home) | (more or {}),
        cwd=home,
        input=given,
        capture_output=True,
        text=True,
        timeout=LONG,
    )
