"""The world of the tests of deliveries."""

from collections.abc import Iterator

import pytest

from postroom.cluster import digest_keys
from postroom.instance import digest_key
from tests.harness.dns_server import DnsServer
from tests.harness.kept import KeptDatabase
from tests.harness.server import KEY
from tests.webhooks.endpoint import Endpoint
from tests.webhooks.world import World


@pytest.fixture(scope="module")
def opened(database_url: str) -> Iterator[tuple[KeptDatabase, DnsServer]]:
    database = KeptDatabase(database_url)
    database.write_sync(lambda tx: digest_keys.claim(tx, digest_key.fingerprint(KEY)))
    with DnsServer.start() as dns:
        yield database, dns
    database.close()


@pytest.fixture
def world(opened: tuple[KeptDatabase, DnsServer], database_url: str) -> World:
    """Nothing is due except what the test creates."""
    database, dns = opened

    def clear(tx: object) -> None:
        for table in ("webhook_deliveries", "webhook_lanes", "webhooks"):
            tx.run(f"DELETE FROM {table}")  # type: ignore[attr-defined]

    database.write_sync(clear)
    return World(database, dns, database_url.partition(":")[0])


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    with Endpoint.start() as found:
        yield found
