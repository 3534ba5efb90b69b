"""What checkpoints cost creates, by how many creates lie between two of them: batches of 24,
without HTTP.

python -m bench.checkpoint_cost
"""

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from bench.fill import fill
from bench.report import Row, median, show
from postroom.accounts import passwords
from postroom.accounts.commands import CreateAccount, create
from postroom.actor import Actor
from postroom.db import Tx, migrate
from postroom.db.sqlite import SQLiteWriter

BATCHES, SIZE = 200, 24
EVERY = (2, 5, 20, 100, 200)  # batches


def batch(connection: SQLiteWriter, actor: Actor, password: str, number: int) -> None:
    connection.fetch("BEGIN IMMEDIATE", {})
    for n in range(number * SIZE, (number + 1) * SIZE):
        create(Tx(connection), actor, CreateAccount("d0.test", f"c{n}", f"user_{n * 37 % 1000}", None, password))
    connection.fetch("COMMIT", {})


def measure() -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "postroom.db"
        url = f"sqlite:///{path}"
        migrate(url)
        actor = Actor(fill(url, 20_000, 1)[0])
        connection, password = SQLiteWriter(path), passwords.hash_generated(passwords.generate())
        for round_, every in enumerate(EVERY):
            spent, pages, began = [], 0, time.perf_counter()
            for number in range(1, BATCHES + 1):
                batch(connection, actor, password, round_ * BATCHES + number)
                if number % every == 0:
                    paused = time.perf_counter()
                    pages = connection.fetch("PRAGMA wal_checkpoint(PASSIVE)", {})[0][1]
                    spent.append((time.perf_counter() - paused) * 1000)
            share = sum(spent) / 1000 / (time.perf_counter() - began)
            found = median(spent)
            more = f"{pages:,} pages, {share:.0%} of the time"
            yield Row(f"a checkpoint every {every * SIZE:,} creates", found.value, "ms", found.spread, more=more)
        connection.close()


if __name__ == "__main__":
    for row in measure():
        print(show(row), flush=True)
