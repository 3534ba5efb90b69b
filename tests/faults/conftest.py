"""Each test of this folder has its own service, because the test breaks it."""

import os
from collections.abc import Iterator

import pytest

from tests.faults.ledger import Ledger
from tests.harness.service import Service

MAILBOX = "inbox"


@pytest.fixture
def service() -> Iterator[Service]:
    """A service that has not started yet. However the test ends, nothing of the service remains."""
    assert os.geteuid() == 0, "Postfix needs root: run the tests as root"
    with Service.new(rate_limit="off") as new:
        yield new


@pytest.fixture
def ledger(service: Service) -> Ledger:
    """The ledger of a running service, with a mailbox that no client changes."""
    service.start()
    return new_ledger(service)


@pytest.fixture
def mailbox(ledger: Ledger) -> str:
    """An address that accepts mail and that no client changes."""
    client = ledger.client()
    ledger.create(client, MAILBOX)
    client.close()
    return f"{MAILBOX}@demo.test"


def new_ledger(service: Service) -> Ledger:
    return Ledger(service, service.key())
