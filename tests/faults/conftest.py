"""A service of its own for each test of this folder: it will be broken."""

import os
from collections.abc import Iterator

import pytest

from tests.faults.ledger import Ledger
from tests.harness.service import Service

MAILBOX = "inbox"


@pytest.fixture
def service() -> Iterator[Service]:
    """Not started yet; what is left of it goes with the test, however that ends."""
    assert os.geteuid() == 0, "Postfix needs root: run the tests as root"
    with Service.new(rate_limit="off") as new:
        yield new


@pytest.fixture
def ledger(service: Service) -> Ledger:
    """Of a service that runs, with a mailbox that nobody changes."""
    service.start()
    return new_ledger(service)


@pytest.fixture
def mailbox(ledger: Ledger) -> str:
    """An address that mail may be sent to; no client changes it."""
    client = ledger.client()
    ledger.create(client, MAILBOX)
    client.close()
    return f"{MAILBOX}@demo.test"


def new_ledger(service: Service) -> Ledger:
    return Ledger(service, service.key())
