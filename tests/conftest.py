"""Fixtures that all tests share: SQLite in a file, a PostgreSQL server, and the API over HTTP."""

import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from xdist.scheduler import LoadFileScheduling

from postroom.db import migrate
from tests.harness.daemons import sees_daemons
from tests.harness.debian13 import Debian13
from tests.harness.postgres import PostgresServer
from tests.harness.server import ApiServer, Tenant, serve
from tests.harness.service import Service, wait_for

TOGETHER = "tests/cluster/"
FUZZ = Path(__file__).parent / "fuzz"
FUZZ_SECONDS = 60.0
# `./test --quick` leaves these out, and PostgreSQL: they start daemons, browsers or whole services,
# or take seconds.
SLOW = (
    "backup", "cli", "client", "cluster", "console", "doctor", "faults", "fuzz", "mail", "service", "upgrade",
    "api/test_proxies.py", "api/test_schemathesis.py", "api/test_state_machine.py", "api/test_waiting.py",
    "test_bench.py", "test_canary.py", "test_deploy.py", "test_pictures.py", "test_planted.py", "test_progress.py",
    "test_start.py", "test_supply_chain.py", "webhooks/test_listen.py",
)  # fmt: skip
# The tests of a file and an engine run on one xdist worker, so the longest files begin first: else
# the run ends with one of them, alone. The tests of an engine follow each other, so that a worker
# starts what they share (a database, the service of tests/mail) once, not once a file.
LONG_FIRST = (
    "cluster/", "api/test_schemathesis.py", "backup/", "service/", "faults/", "test_document_examples.py",
    "test_plans.py", "doctor/", "upgrade/", "test_planted.py", "test_canary.py", "db/test_transfer.py",
    "test_supply_chain.py", "mail/", "console/", "cli/", "client/",
)  # fmt: skip

# The same examples in each run, and no bound on the time of an example: the machine may be busy.
hypothesis.settings.register_profile(
    "postroom",
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=list(hypothesis.HealthCheck),
)
hypothesis.settings.load_profile("postroom")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--faults", action="store_true", help="only the long fault tests")
    parser.addoption("--fuzz", action="store_true", help="only the fuzz targets, each for --fuzz-seconds")
    parser.addoption("--quick", action="store_true", help="only quick tests, under a minute: SQLite, no daemons")
    parser.addoption("--daemons", action="store_true", help="only the tests that see the mail daemons")
    words = "tests of mail that need both engines run on SQLite alone, but for EACH_DEBIAN"
    parser.addoption("--beside-daemons", action="store_true", help=words)
    words = "only the tests that need a Debian 13 beside this Debian 12"
    parser.addoption("--debian13", action="store_true", help=words)
    words = f"seconds for each target of --fuzz; default {FUZZ_SECONDS:.0f}"
    parser.addoption("--fuzz-seconds", type=float, default=FUZZ_SECONDS, help=words)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "long: a fault test that `./test --faults` runs, and nothing else does")
    config.addinivalue_line("markers", "debian13: a test that needs a Debian 13 beside this Debian 12")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leaves out the files of which `--daemons` selects nothing: every worker reads what is
    collected."""
    is_unseen = collection_path.name.startswith("test_") and not sees_daemons(collection_path)
    return True if config.getoption("--daemons") and collection_path.is_file() and is_unseen else None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Shows what the logs of the services say beside the failure of a test."""
    report = yield
    if report.failed:
        values = getattr(item, "funcargs", {}).values()
        services = [value for value in values if isinstance(value, Service)]
        report.sections += [("the last warnings in the logs", service.warnings()) for service in services]
    return report


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Selects the long tests with `--faults` only, the fuzz targets alone with `--fuzz`, the quick
    tests with `--quick`.
    With `--debian13`, the upgrade to it, and the cluster with machines of both."""

    def is_wanted(item: pytest.Item) -> bool:
        if config.getoption("--fuzz"):
            return FUZZ in item.path.parents
        is_two_debians = bool(item.get_closest_marker("debian13"))
        if config.getoption("--debian13"):
            is_two_debians |= item.nodeid.startswith(TOGETHER)
        if is_two_debians != config.getoption("--debian13"):
            return False
        if config.getoption("--quick") and not is_quick(item):
            return False
        return bool(item.get_closest_marker("long")) == bool(config.getoption("--faults"))

    config.hook.pytest_deselected(items=[item for item in items if not is_wanted(item)])
    items[:] = sorted((item for item in items if is_wanted(item)), key=_rank)


def _rank(item: pytest.Item) -> tuple[int, str]:
    """Files with a lower rank run first; within a rank, the tests of one engine after those of the
    other. Otherwise the order stays."""
    place = item.nodeid.removeprefix("tests/")
    rank = next((rank for rank, long in enumerate(LONG_FIRST) if place.startswith(long)), len(LONG_FIRST))
    return rank, _engine(item.nodeid)


def _engine(nodeid: str) -> str:
    """The engine in the name of a test; empty if the name has none."""
    return next((engine for engine in ("sqlite", "postgresql") if f"[{engine}" in nodeid), "")


def is_quick(item: pytest.Item) -> bool:
    """Whether a test is short and needs neither PostgreSQL nor a daemon."""
    place = item.path.relative_to(Path(__file__).parent)
    names = getattr(item, "fixturenames", ())
    return (
        "postgresql" not in item.nodeid
        and not {"postgres", "service"} & set(names)
        and not any(place.is_relative_to(slow) for slow in SLOW)
        and not item.name.startswith("test_commands_do_what_the_document_says")
    )


class ByFile(LoadFileScheduling):
    """Runs the tests of one file and one engine on one xdist worker, and all of tests/cluster/ on
    one worker, because they share three machines."""

    def _split_scope(self, nodeid: str) -> str:
        return TOGETHER if nodeid.startswith(TOGETHER) else super()._split_scope(nodeid) + _engine(nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadFileScheduling:
    return ByFile(config, log)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server from Debian's packages, on a free port of the loopback."""
    with PostgresServer.start() as server:
        yield server


@pytest.fixture(scope="session")
def debian13() -> Iterator[Debian13]:
    """A Debian 13 that services can run in."""
    with Debian13.start() as found:
        yield found


@pytest.fixture
def hour() -> None:
    """At least 50 seconds of this hour is left, so what a test sends counts in one hour."""
    wait_for("the next hour", lambda: time.time() % 3600 < 3550)


@pytest.fixture(scope="session", params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A new database with the schema. Every test that uses it runs on both engines."""
    if request.param == "sqlite":
        folder: Path = tmp_path_factory.mktemp("db")
        url = f"sqlite:///{folder / 'postroom.db'}"
    else:
        url = request.getfixturevalue("postgres").new_database()
    migrate(url)
    return url


@pytest.fixture(scope="session")
def api(database_url: str) -> Iterator[ApiServer]:
    """The API on a free port, shared by all tests. Each test creates its own tenant."""
    with serve(database_url) as server:
        yield server


@pytest.fixture
def tenant(api: ApiServer) -> Tenant:
    """A new organization with a key and an active platform domain."""
    return api.new_tenant()


@pytest.fixture
def stranger(api: ApiServer) -> Tenant:
    """Another organization, which must see nothing of the tenant."""
    return api.new_tenant()
