"""One running Postroom for the mail tests, with its real Dovecot and Postfix; a new domain for each test."""

import os
from collections.abc import Iterator

import pytest

from tests.mail.platform import Platform
from tests.service import Service


@pytest.fixture(scope="session")
def service() -> Iterator[Service]:
    assert os.geteuid() == 0, "Postfix needs root: run the tests as root"
    with Service.new() as new:
        new.start()
        yield new
        assert new.stop() == 0


@pytest.fixture
def platform(service: Service) -> Platform:
    """An organization with an active platform domain of its own."""
    return Platform.new(service)
