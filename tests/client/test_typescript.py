"""The TypeScript client, made from the OpenAPI document as it is now: the document passes two
linters, a program that uses every route compiles, and Node talks to a real server.

`./test` installs the npm packages of clients/typescript. Where it cannot, these tests fail.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from postroom.api.routes import ROUTES
from postroom.db import migrate
from tests.client.breaking_proxy import BreakingProxy
from tests.client.conftest import url_of
from tests.harness.server import ApiServer, Tenant, serve

ROOT = Path(__file__).parent.parent.parent
FOLDER = ROOT / "clients" / "typescript"
PROGRAM = FOLDER / "test" / "every_route.ts"


@pytest.fixture(scope="module")
def package() -> Path:
    """The built package."""
    assert (FOLDER / "node_modules" / ".bin" / "tsc").exists(), "the npm packages are not installed: see ./test"
    run([str(ROOT / "scripts" / "typescript-client")])
    return FOLDER


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """A server for these tests, on one engine only: one worker then runs them, and builds the
    package once."""
    url = f"sqlite:///{tmp_path_factory.mktemp('db') / 'postroom.db'}"
    migrate(url)
    with serve(url) as server:
        yield server


def run(command: list[str], environment: Mapping[str, str] | None = None) -> str:
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=FOLDER, env=os.environ | (environment or {}), timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_two_linters_find_nothing_in_the_document(package: Path, tmp_path: Path) -> None:
    """redocly's recommended rules, and spectral's: no error and no warning."""
    assert run(["node", "test/lint.js"]) == ""
    broken = json.loads((package / "openapi.json").read_text())
    del broken["info"]["license"], broken["paths"]["/healthz"]["get"]["tags"]
    (tmp_path / "broken.json").write_text(json.dumps(broken))
    found = run(["node", "test/lint.js", str(tmp_path / "broken.json")]).splitlines()
    assert [line.split()[:2] for line in found] == [["redocly", "info-license"], ["spectral", "operation-tags"]]


def test_a_program_that_uses_every_route_compiles(package: Path) -> None:
    run(["node_modules/.bin/tsc", "-p", "test"])
    text = PROGRAM.read_text(encoding="utf-8")
    ours = [route.name for route in ROUTES if not route.path.startswith("/v2/me")]  # decision 0270
    assert [name for name in ours if f'"{name}"' not in text] == []


def test_node_talks_to_a_real_server(package: Path, tenant: Tenant) -> None:
    with BreakingProxy.start(tenant.api.port, [0, 40]) as proxy:
        environment = {
            "POSTROOM_URL": url_of(tenant),
            "POSTROOM_API_KEY": tenant.key,
            "DOMAIN": tenant.domain,
            "PROXY": proxy.url,
        }
        assert json.loads(run(["node", "test/live.js"], environment))["accounts"] == 5
        assert proxy.connections == 3
        assert len(proxy.idempotency_keys) == 3
        assert len(set(proxy.idempotency_keys)) == 1
    created = [event for event in tenant.events() if event["type"] == "account.created"]
    assert len(created) == 7


def test_what_is_published(package: Path) -> None:
    """The client and its types, and nothing that a program would have to install beside it."""
    listed = json.loads(run(["npm", "pack", "--dry-run", "--json", "--ignore-scripts"]))
    (packed,) = listed if isinstance(listed, list) else listed.values()
    names = {file["path"] for file in packed["files"]}
    assert names >= {"package.json", "README.md", "dist/index.js", "dist/index.d.ts", "dist/schema.d.ts"}
    assert all(name.startswith("dist/") or "/" not in name for name in names)
    assert "dependencies" not in json.loads((package / "package.json").read_text())


def test_every_npm_package_is_pinned_with_its_hash() -> None:
    lock = json.loads((FOLDER / "package-lock.json").read_text())
    packages = {name: row for name, row in lock["packages"].items() if name}
    assert len(packages) > 50
    for name, row in packages.items():
        assert row["integrity"].startswith("sha512-"), name
        assert "resolved" not in row, "no registry stands in the lock"
    wanted = json.loads((FOLDER / "package.json").read_text())["devDependencies"]
    assert all(version[0].isdigit() for version in wanted.values())
    assert shutil.which("npm")
