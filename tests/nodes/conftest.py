"""One cluster for all tests of several machines; each makes accounts of its own."""

from collections.abc import Iterator

import pytest

from tests.mail.platform import Platform
from tests.nodes.cluster import Cluster
from tests.postgres import PostgresServer


@pytest.fixture(scope="session")
def cluster(postgres: PostgresServer) -> Iterator[Cluster]:
    with Cluster.start(postgres) as found:
        yield found


@pytest.fixture(scope="session")
def platform(cluster: Cluster) -> Platform:
    return cluster.platform()
