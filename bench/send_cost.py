"""What the count of a submitted message costs: counts a second for as many accounts as bench.mail
has clients, beside transactions that only read.

    python -m bench.send_cost [--postgres]
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from bench.fill import fill
from bench.mail import CLIENTS
from bench.report import Row as Line
from bench.report import show, side_by_side
from postroom.accounts import known_recipients, sent_counts
from postroom.actor import Actor
from postroom.db import Database, Tx, migrate, open_database
from postroom.tenants import limits
from postroom.tenants.limits import SetLimits
from tests.harness.postgres import PostgresServer

MESSAGES = 500
KEY = "0" * 64


def count(first: int, place: int, number: int) -> Callable[[Tx], Any]:
    """Counts a message to one recipient, of whom a tenth are new."""
    account = first + place
    hashes = known_recipients.digests(KEY, account, [f"a{number // 10}@x.example"])
    return partial(sent_counts.count, account_id=account, recipients=1, hashes=hashes)


def nothing(_first: int, place: int, _number: int) -> Callable[[Tx], Any]:
    """A transaction that reads one row."""
    return partial(limits.change, actor=Actor(place + 1), user_id=None, command=SetLimits())


async def rate(database: Database, work: Callable[[int, int, int], Callable[[Tx], Any]], first: int) -> float:
    """Transactions a second of all clients."""

    async def client(place: int) -> None:
        for number in range(MESSAGES):
            await database.write(work(first, place, number))

    began = time.perf_counter()
    await asyncio.gather(*(client(place) for place in range(CLIENTS)))
    return CLIENTS * MESSAGES / (time.perf_counter() - began)


def measure(url: str) -> Line:
    migrate(url)
    _, _, first = fill(url, 100, 1)
    database = open_database(url)
    try:
        counted, read = side_by_side(
            *(lambda _, one=one: asyncio.run(rate(database, one, first)) for one in (count, nothing))
        )
    finally:
        database.close()
    return Line("messages counted", counted.value, "/s", counted.spread, "transactions that only read", read.value)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--postgres", action="store_true")
    if parser.parse_args().postgres:
        with PostgresServer.start(durable=True) as server:
            print(show(measure(server.new_database())))
        return
    with tempfile.TemporaryDirectory() as folder:
        print(show(measure(f"sqlite:///{Path(folder) / 'postroom.db'}")))


if __name__ == "__main__":
    main()
