"""One cluster for all tests of several nodes. Each test creates its own accounts."""

import itertools
from collections.abc import Iterator

import pytest

from tests.cluster.cluster import Cluster
from tests.harness.postgres import PostgresServer
from tests.mail.platform import Mailbox, Platform

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def cluster(request: pytest.FixtureRequest, postgres: PostgresServer) -> Iterator[Cluster]:
    """With `--debian13`, the second and third machine have Debian 13."""
    beside = request.getfixturevalue("debian13") if request.config.getoption("--debian13") else None
    with Cluster.start(postgres, beside) as found:
        yield found


@pytest.fixture(scope="session")
def platform(cluster: Cluster) -> Platform:
    return cluster.platform()


@pytest.fixture
def box(platform: Platform) -> Mailbox:
    return platform.create(f"box{next(_numbers)}")
