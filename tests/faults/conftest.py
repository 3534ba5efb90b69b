"""Each test of this folder has its own service, because the test breaks it."""

import os
from collections.abc import Iterator

import pytest

from postroom.actor import ALL_SCOPES
from postroom.auth.keys import CreateKey
from postroom.db import open_database
from postroom.service import bootstrap
from tests.faults.ledger import APP, OPERATIONS, Ledger
from tests.faults.passing import Passing
from tests.faults.receiver import Receiver
from tests.faults.sends import Sends
from tests.harness.service import Service
from tests.webhooks.endpoint import Endpoint

MAILBOX = "inbox"


@pytest.fixture
def service() -> Iterator[Service]:
    """A service that has not started yet. However the test ends, nothing of the service remains."""
    assert os.geteuid() == 0, "Postfix needs root: run the tests as root"
    with Service.new(rate_limit="off", webhook_allow="private") as new:
        yield new


@pytest.fixture
def ledger(service: Service) -> Iterator[Ledger]:
    """The ledger of a running service, with a receiver of every event."""
    service.start()
    found = new_ledger(service)
    with Endpoint.start() as endpoint:
        found.checks.append(Receiver.of(found, endpoint).check)
        yield found


@pytest.fixture
def mailbox(ledger: Ledger) -> str:
    """An address that accepts mail and that no client changes. Another account sends mail to it
    over HTTP."""
    limits = [f"--{total}recipients-per-{time}" for total in ("", "total-") for time in ("hour", "day")]
    ledger.service.run("limits", "set", "--organization", "demo", *(word for one in limits for word in (one, "-1")))
    client = ledger.client()
    sends = Sends(ledger, ledger.create(client, "sender"), ledger.create(client, MAILBOX))
    client.close()
    ledger.works.append(sends.work)
    ledger.checks.append(sends.check)
    return f"{MAILBOX}@demo.test"


@pytest.fixture
def passing(ledger: Ledger) -> Iterator[None]:
    """Another organization has a domain whose route keeps no mail."""
    with Endpoint.start() as endpoint:
        found = Passing.of(ledger.service, endpoint)
        ledger.works.append(found.work)
        ledger.checks.append(found.check)
        yield
        found.check_left()


def new_ledger(service: Service) -> Ledger:
    """The ledger of a key with every scope: the first key cannot make app passwords."""
    database = open_database(service.database_url)
    try:
        made = CreateKey(scopes=ALL_SCOPES)
        key = database.write_sync(lambda tx: bootstrap.create_key(tx, "demo", made))
        return Ledger(service, key, (*OPERATIONS, APP))
    finally:
        database.close()
