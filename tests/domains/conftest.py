"""The world of the tests of scheduled checks."""

from collections.abc import Iterator

import pytest

from tests.domains.world import World
from tests.harness.dns_server import DnsServer
from tests.harness.kept import KeptDatabase


@pytest.fixture
def world(database_url: str) -> Iterator[World]:
    database = KeptDatabase(database_url)
    database.write_sync(lambda tx: tx.run("DELETE FROM domain_checks"))
    with DnsServer.start() as server:
        yield World(database, server)
    database.close()
