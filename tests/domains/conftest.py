"""The world of the tests of scheduled checks."""

from collections.abc import Iterator

import pytest

from postroom.db import open_database
from tests.domains.world import World
from tests.harness.dns_server import DnsServer


@pytest.fixture
def world(database_url: str) -> Iterator[World]:
    database = open_database(database_url)
    database.write_sync(lambda tx: tx.run("DELETE FROM domain_checks"))
    with DnsServer.start() as server:
        yield World(database, server)
    database.close()
