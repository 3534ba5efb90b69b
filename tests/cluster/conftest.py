"""One cluster for all tests of several nodes. Each test creates its own accounts."""

import itertools
from collections.abc import Iterator

import pytest

from tests.cluster.cluster import Cluster
from tests.harness.postgres import PostgresServer
from tests.mail.platform import Mailbox, Platform

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def cluster(postgres: PostgresServer) -> Iterator[Cluster]:
    with Cluster.start(postgres) as found:
        yield found


@pytest.fixture(scope="session")
def platform(cluster: Cluster) -> Platform:
    return cluster.platform()


@pytest.fixture
def box(platform: Platform) -> Mailbox:
    return platform.create(f"box{next(_numbers)}")
