"""How many passwords an attacker can try, and whether the owner of the account still gets in
(docs/brute-force.md).

    python -m bench.guesses [--quick] [--postgres]       (as root: Postfix)

A connection tries the next password as soon as it has the answer to the last one. A guess counts
if Dovecot compared the password, which its log says. Without bounds, Dovecot's delay is alone.
"""

import argparse
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle, islice

from bench.instance import Instance, start
from bench.mail import create
from bench.report import Row, show
from postroom.mailplane.dovecot.logins import FailureLog
from tests.harness.service import wait_for
from tests.mail.guesses import Guess, lets_in, try_all

CONNECTIONS = 80
ACCOUNTS = [f"guess{number}" for number in range(50)]
HOME, ABROAD = "203.0.113.1", "203.0.113.200"


def attack(instance: Instance, clients: list[str], names: list[str], seconds: float, most: int) -> tuple[int, int]:
    """Tries passwords over CONNECTIONS connections until the time is over or `most` were tried.
    Returns the numbers of attempts and of guesses."""
    service, end = instance.service, time.monotonic() + seconds
    log = FailureLog(service.data / "log" / "dovecot.log")

    def work(place: int) -> int:
        share, tried = most // CONNECTIONS + (place < most % CONNECTIONS), 0
        pairs = islice(zip(cycle(clients), cycle(names), strict=False), place, None, CONNECTIONS)
        while tried < share and time.monotonic() < end:
            client, name = next(pairs)
            assert not lets_in(service, client, name, "a wrong password")
            tried += 1
        return tried

    with ThreadPoolExecutor(CONNECTIONS) as pool:
        attempts = sum(pool.map(work, range(CONNECTIONS)))
    found = log()
    wait_for("the log", lambda: found.update(log()) or sum(found.values()) >= attempts)
    return attempts, sum(number for failure, number in found.items() if failure.account_id is not None)


def rows(instance: Instance, minutes: float, most: int, bounds: str) -> Iterator[Row]:
    service = instance.service
    mailboxes = [create(instance, f"{bounds.replace(' ', '')}{name}") for name in ACCOUNTS]
    names = [address for address, _ in mailboxes]
    address, password = mailboxes[0]
    assert lets_in(service, HOME, address, password)
    time.sleep(2)  # the worker reads the log each second
    cases = {
        "one address, one account": (["192.0.2.1"], [names[1]]),
        "one address, 50 accounts": (["192.0.2.2"], names),
        "50 addresses, one account": ([f"198.51.100.{number}" for number in range(50)], [address]),
    }
    for case, (clients, whom) in cases.items():
        began = time.monotonic()
        attempts, guesses = attack(instance, clients, whom, minutes * 60, most)
        spent = (time.monotonic() - began) / 60
        yield Row(f"{case}, {bounds}: guesses of {attempts:,}", guesses, "", 0.0)
        yield Row(f"{case}, {bounds}: guesses a minute", guesses / spent, "/min", 0.0)
    known, unknown = try_all(service, [Guess(HOME, address, password), Guess(ABROAD, address, password)])
    yield Row(f"the owner gets in from a known address, {bounds} (1: yes)", known, "", 0.0, at_least=1)
    yield Row(f"the owner gets in from another address, {bounds} (1: yes)", unknown, "", 0.0)


def measure(*, quick: bool = False, postgres: bool = False) -> Iterator[Row]:
    minutes, most = (0.2, 1_000) if quick else (3.0, 1_000)
    for name, (account, address) in {"no bounds": ("0", "0"), "bounds": ("100", "20")}.items():
        started = start(
            100, mail="on", postgres=postgres, login_account_failures=account, login_address_failures=address
        )
        with started as instance:
            yield from rows(instance, minutes, most, name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--postgres", action="store_true")
    options = parser.parse_args()
    for row in measure(quick=options.quick, postgres=options.postgres):
        print(show(row), flush=True)


if __name__ == "__main__":
    main()
