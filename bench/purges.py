"""How many deleted accounts without mail the worker purges a second, with nothing else to do.

python -m bench.purges [--accounts N] [--database-url URL]   (without a URL: a new SQLite file)
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from bench.fill import fill
from bench.report import Row
from postroom.db import migrate, open_database
from postroom.service import worker
from tests.harness.postgres import PostgresServer

DELETE_ALL = "UPDATE accounts SET deleted_at = 1, purge_at = 1 WHERE id >= :first"
LEFT = "SELECT COUNT(*) FROM accounts WHERE purge_at IS NOT NULL"


def measure(url: str, accounts: int) -> float:
    """Purges a second."""
    migrate(url)
    _, _, first = fill(url, accounts, 1)
    database = open_database(url)
    try:
        database.write_sync(lambda tx: tx.run(DELETE_ALL, first=first))
        with tempfile.TemporaryDirectory() as mail:
            began = time.perf_counter()
            asyncio.run(worker.purge_all_due(database, Path(mail)))
            spent = time.perf_counter() - began
        assert database.write_sync(lambda tx: tx.all(LEFT))[0][0] == 0
    finally:
        database.close()
    return accounts / spent


def rows() -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as folder, PostgresServer.start() as server:
        for engine, url in (("SQLite", f"sqlite:///{folder}/postroom.db"), ("PostgreSQL", server.new_database())):
            yield Row(f"purges, {engine}", measure(url, 10_000), "/s", 0.0, at_least=1_000)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--accounts", type=int, default=10_000)
    parser.add_argument("--database-url")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        url = options.database_url or f"sqlite:///{folder}/postroom.db"
        print(f"{measure(url, options.accounts):,.0f} purges/s of {options.accounts:,} accounts")


if __name__ == "__main__":
    main()
