"""The locks pin every package with its hashes, and the bill of materials equals the lock. An audit
that could not run is never reported as an audit without findings."""

import http.server
import importlib.metadata
import json
import os
import re
import subprocess
import sys
import threading
import tomllib
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

HERE = Path(__file__).parent.parent
LOCKS = ("requirements.lock", "requirements-test.lock")
# One requirement: name, exact version, optional marker, hashes.
PINNED = re.compile(
    r"(?P<name>[a-z0-9][a-z0-9-]*)==(?P<version>[0-9][\w.!+]*)(?P<marker> ; [^\\]+?)?(?P<hashes>( --hash=\S+)+)"
)
HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")


def requirements(name: str) -> dict[str, tuple[str, frozenset[str]]]:
    """The version and the hashes of each requirement. Fails on a line of any other form."""
    found: dict[str, tuple[str, frozenset[str]]] = {}
    text = re.sub(r"^\s*#.*\n", "", (HERE / name).read_text(), flags=re.M)
    for line in re.sub(r"\s*\\\n\s*", " ", text).splitlines():
        matched = PINNED.fullmatch(line)
        assert matched, f"{name}: must be a pinned version with hashes: {line}"
        hashes = matched["hashes"].split()
        assert all(map(HASH.fullmatch, hashes)), line
        assert len(set(hashes)) == len(hashes), line
        assert matched["name"] not in found, f"{name}: {matched['name']} is listed twice"
        found[matched["name"]] = matched["version"], frozenset(HASH.findall(line))
    return found


@pytest.mark.parametrize("name", LOCKS)
def test_everything_is_pinned_with_hashes(name: str) -> None:
    """A lock contains no option, URL, range or file, and every dependency of pyproject.toml."""
    project = tomllib.loads((HERE / "pyproject.toml").read_text())["project"]
    extras = ["install", "server", "client", *(["mcp", "test"] if "test" in name else [])]
    wanted = [one for extra in extras for one in project["optional-dependencies"][extra] if "postroom[" not in one]
    names = {re.split(r"[\[<>=~! ]", one)[0].lower().replace("_", "-").replace(".", "-") for one in wanted}
    assert len(names) > 15
    assert names <= requirements(name).keys()


def test_what_is_tested_is_what_runs() -> None:
    """The lock of the tests has every runtime requirement, with the same version and hashes."""
    runtime, tests = (requirements(name) for name in LOCKS)
    assert len(runtime) > 30
    assert {name: tests.get(name) for name in runtime} == runtime


def test_locks_are_installed_with_their_hashes_and_never_built() -> None:
    """pip compares the hashes and installs wheels only, because a source package runs its own
    code."""
    installer = (HERE / "scripts" / "install.sh").read_text()
    uses = re.findall(r"pip_install (.*-r .*)", installer)
    assert uses == ['--require-hashes --only-binary :all: -r "$here/$lock" || return']


@pytest.fixture(scope="module")
def bill() -> str:
    done = subprocess.run([HERE / "scripts" / "sbom"], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout


def test_the_bill_of_materials_is_valid(bill: str) -> None:
    # Slow to import, and every worker imports this file.
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(bill) is None
    assert json.loads(bill)["metadata"]["component"]["name"] == "postroom"


def test_the_bill_of_materials_is_the_lock(bill: str) -> None:
    """The bill lists the name, version, package URL and hashes of each requirement, and nothing
    else."""
    runtime = requirements("requirements.lock")

    def described(component: dict[str, Any]) -> tuple[str, str, frozenset[str]]:
        hashes = [one["content"] for place in component["externalReferences"] for one in place["hashes"]]
        return component["version"], component["purl"], frozenset(hashes)

    found = {one["name"]: described(one) for one in json.loads(bill)["components"]}
    assert found == {
        name: (version, f"pkg:pypi/{name}@{version}", hashes) for name, (version, hashes) in runtime.items()
    }


def test_the_bill_of_materials_is_the_same_each_time(bill: str, tmp_path: Path) -> None:
    subprocess.run([HERE / "scripts" / "sbom", tmp_path / "bill.json"], check=True)
    assert (tmp_path / "bill.json").read_text().strip() == bill.strip()


@contextmanager
def database_of_holes(known: dict[str, Any]) -> Iterator[str]:
    """A server that answers as OSV does, with the known vulnerabilities of each package."""

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
            content = json.dumps(known.get(asked["package"]["name"], {})).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/v1/query"
        finally:
            server.shutdown()
            thread.join()


def audit(url: str) -> subprocess.CompletedProcess[str]:
    command = ["env", "-u", "HTTP_PROXY", "-u", "http_proxy", f"OSV_URL={url}", str(HERE / "scripts" / "audit")]
    return subprocess.run([*command, "--no-index"], capture_output=True, text=True)


def test_an_audit_that_finds_nothing() -> None:
    with database_of_holes({}) as url:
        done = audit(url)
    assert (done.returncode, done.stdout.count("no known hole")) == (0, 2), done.stderr


def test_an_audit_that_finds_a_hole() -> None:
    hole = {
        "id": "GHSA-xxxx-xxxx-xxxx",
        "modified": "2026-01-01T00:00:00Z",
        "summary": "A hole.",
        "affected": [
            {"package": {"name": "idna", "ecosystem": "PyPI"}, "ranges": [], "versions": [], "ecosystem_specific": {}}
        ],
    }
    with database_of_holes({"idna": {"vulns": [hole]}}) as url:
        done = audit(url)
    assert done.returncode == 1, done.stderr
    assert "GHSA-xxxx-xxxx-xxxx" in done.stdout
    assert "no known hole" not in done.stdout


def test_an_audit_without_a_network() -> None:
    """An audit without a network fails and says that nothing was checked."""
    done = audit("http://127.0.0.1:1/v1/query")
    assert (done.returncode, done.stdout) == (3, "")
    assert "NOTHING WAS CHECKED" in done.stderr


# Imports the modules of the arguments where only the distributions in ALLOWED are installed.
ALONE = """
import importlib.metadata, os, sys
allowed = set(os.environ["ALLOWED"].split())
of = {}
for top, names in importlib.metadata.packages_distributions().items():
    of[top] = {name.lower().replace("_", "-").replace(".", "-") for name in names}
class Finder:
    def find_spec(self, name, path=None, target=None):
        if path is None and name in of and not of[name] & allowed:
            raise ModuleNotFoundError(f"{name} is not installed", name=name)
sys.meta_path.insert(0, Finder())
for name in sys.argv[1:]:
    __import__(name)
"""


def needs(extra: str) -> set[str]:
    """The distributions that `pip install postroom[extra]` brings."""
    found: set[str] = set()
    todo = [("postroom", extra)]
    seen = set()
    while todo:
        name, wanted = todo.pop()
        if (name, wanted) in seen:
            continue
        seen.add((name, wanted))
        found.add(name)
        for line in importlib.metadata.requires(name) or ():
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"extra": wanted}):
                inner = requirement.name.lower().replace("_", "-").replace(".", "-")
                todo += [(inner, each) for each in ("", *requirement.extras)]
    return found


@pytest.mark.parametrize(
    ("extra", "modules", "most"),
    [
        ("client", ["postroom.client", "postroom.client.catalog"], 12),
        ("cli", ["postroom.cli.main", "postroom.cli.api_commands", "postroom.cli.batch", "postroom.cli.tables"], 25),
    ],
)
def test_an_extra_brings_what_it_needs_and_no_more(extra: str, modules: list[str], most: int) -> None:
    """A program with the client installs neither a database driver nor a web server."""
    allowed = needs(extra)
    assert len(allowed) <= most, allowed
    assert not allowed & {"psycopg", "uvicorn", "starlette", "cryptography", "argon2-cffi"}
    environment = os.environ | {"ALLOWED": " ".join(allowed)}
    done = subprocess.run(
        [sys.executable, "-c", ALONE, *modules], env=environment, capture_output=True, text=True, cwd="/"
    )
    assert done.returncode == 0, done.stderr
    # The same, where one of them is missing: the check can fail.
    less = environment | {"ALLOWED": " ".join(allowed - {"msgspec"})}
    assert subprocess.run([sys.executable, "-c", ALONE, *modules], env=less, capture_output=True, cwd="/").returncode


def test_the_commands_say_which_extra_they_need() -> None:
    environment = os.environ | {"ALLOWED": " ".join(needs("client"))}
    code = f"{ALONE}\nfrom postroom.cli import start\nstart()"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, cwd="/")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "pip install '.[server]' or '.[cli]'" in done.stderr


def test_an_installation_brings_one_package(tmp_path: Path) -> None:
    """The wheel contains neither `bench` nor `tests`."""
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=HERE, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        tops = {name.partition("/")[0] for name in archive.namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"postroom"}
