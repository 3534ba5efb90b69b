"""A client for the test's tenant."""

from collections.abc import Iterator

import pytest

from postroom.client import Client
from tests.harness.server import Tenant


@pytest.fixture
def client(tenant: Tenant) -> Iterator[Client]:
    with Client(url_of(tenant), tenant.key, retries=0) as new:
        yield new


def url_of(tenant: Tenant) -> str:
    return f"http://127.0.0.1:{tenant.api.port}"
