"""Many clients ask two API processes for the same thing at once: one wins, and each gets a true
answer."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest

from tests.faults.client import Client
from tests.faults.conftest import new_ledger
from tests.faults.ledger import ABSENT, ACCOUNTS, DELETE, Entry, Ledger, State, logs_in
from tests.harness.service import Service


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with Service.new(rate_limit="off", workers="2") as new:
        yield new.start()


@pytest.fixture(scope="module")
def ledger(service: Service) -> Ledger:
    return new_ledger(service)


def at_once(ledger: Ledger, count: int, ask: Callable[[Client, int], Any]) -> list[Any]:
    """Returns the answers of this number of clients. All connections are open before the first
    request."""
    barrier = Barrier(count)

    def run(number: int) -> Any:
        client = ledger.client()
        client.get("/healthz")
        barrier.wait()
        try:
            return ask(client, number)
        finally:
            client.close()

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(run, range(count)))


def test_40_creates_of_one_address(ledger: Ledger) -> None:
    for round_ in range(3):
        name = f"wanted{round_}"
        body = {"domain": "demo.test", "local_part": name, "user_id": "user_1", "display_name": "new"}
        answers = at_once(ledger, 40, lambda client, _, body=body: client.call("POST", f"{ACCOUNTS}/create", body))
        won = [answer for answer in answers if answer[0] == 201]
        assert [(answer[0], answer[2]["code"]) for answer in answers if answer not in won] == [
            (409, "address_exists")
        ] * 39
        made = State(True, won[0][2]["password"], display_name="new")
        ledger.entries[f"{name}@demo.test"] = Entry(name, "user_1", [made], won[0][2]["account"]["id"], existed=True)
        ledger.compare()


def test_resets_at_once(ledger: Ledger) -> None:
    """Each answer has a password, and exactly one of the passwords is valid: the last one."""
    entry = new_entry(ledger)
    answers = at_once(ledger, 20, lambda client, _: client.call("POST", f"{ACCOUNTS}/{entry.id}/password/reset", {}))
    passwords = [answer[2]["password"] for answer in answers]
    assert len({*passwords, entry.state.password}) == 21
    with ThreadPoolExecutor(21) as pool:
        address = f"{entry.local_part}@demo.test"
        works = list(pool.map(lambda word: logs_in(ledger.service, address, word), [*passwords, entry.state.password]))
    assert works.count(True) == 1
    entry.possible = [State(True, passwords[works.index(True)], display_name="new")]
    ledger.compare()


def test_updates_at_once(ledger: Ledger) -> None:
    """Two fields of one request are changed together."""
    entry = new_entry(ledger)

    def update(client: Client, number: int) -> Any:
        status = ("active", "suspended")[number % 2]
        return client.call("PUT", f"{ACCOUNTS}/{entry.id}", {"status": status, "display_name": f"{status} {number}"})

    assert [answer[0] for answer in at_once(ledger, 20, update)] == [200] * 20
    states = [("active", "suspended")[number % 2] for number in range(20)]
    entry.possible = [
        State(True, entry.state.password, status, f"{status} {number}") for number, status in enumerate(states)
    ]
    ledger.compare()


def test_a_delete_among_resets_and_updates(ledger: Ledger) -> None:
    """Only one delete succeeds. Requests before it are carried out, requests after it get a 404,
    and no password is valid afterwards."""
    for _ in range(3):
        entry = new_entry(ledger)
        path = f"{ACCOUNTS}/{entry.id}"
        requests: list[tuple[str, str, dict[str, Any]]] = [
            ("POST", f"{path}/password/reset", {}),
            ("PUT", path, {"status": "suspended"}),
            ("PUT", path, {"status": "active"}),
            DELETE.ask(entry),
        ]
        answers = at_once(ledger, 24, lambda client, number, r=requests: client.call(*r[number % 4]))
        assert {answer[0] for answer in answers} <= {200, 404}
        assert sorted(answer[0] for answer in answers[3::4]) == [200] + [404] * 5
        entry.possible = [ABSENT]
        ledger.compare()
        told = [answer[2]["password"] for answer in answers[::4] if answer[0] == 200]
        with ThreadPoolExecutor(8) as pool:
            address = f"{entry.local_part}@demo.test"
            assert not any(pool.map(lambda word, a=address: logs_in(ledger.service, a, word), told))


def new_entry(ledger: Ledger) -> Entry:
    client = ledger.client()
    entry = ledger.create(client)
    client.close()
    return entry
