"""A server for the commands, on SQLite only, because the commands send the same requests for both
engines."""

from collections.abc import Iterator

import pytest

from postroom.db import migrate
from tests.harness.server import ApiServer, Tenant, serve


@pytest.fixture(scope="session")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    url = f"sqlite:///{tmp_path_factory.mktemp('db') / 'postroom.db'}"
    migrate(url)
    with serve(url) as server:
        yield server


@pytest.fixture
def tenant(api: ApiServer) -> Tenant:
    return api.new_tenant()
