"""What is measured: a whole `postroom serve` with data in it, and the limits beside it."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench import load
from bench.fill import fill
from bench.load import Load, Request
from tests.harness.debian13 import Debian13
from tests.harness.ports import free_port
from tests.harness.postgres import PostgresServer
from tests.harness.service import Service, wait_for

# Far more than any run makes, so that the limit is counted and never reached.
RATE = "600000000/minute"


@dataclass(frozen=True)
class Instance:
    """A running service with accounts in it. `first` is the id of the first of them."""

    service: Service
    key: str
    organization: int
    database: str
    first: int
    accounts: int

    @property
    def pids(self) -> list[int]:
        """The processes of the API."""
        names = [path.stem for path in (self.service.data / "run").glob("api*.pid")]
        return [self.service.pid(name) for name in names]

    def run(self, request: Request, **options: int) -> Load:
        """Load on the API with its key."""
        headers = {"x-api-key": self.key, "content-type": "application/json"}
        return load.run(f"http://127.0.0.1:{self.service.ports['port']}", request, headers, self.pids, **options)


@contextmanager
def start(
    accounts: int,
    domains: int = 1,
    *,
    postgres: bool = False,
    workers: int = 1,
    debian13: Debian13 | None = None,
    aliases: bool = False,
    **settings: str,
) -> Iterator[Instance]:
    """A service with `accounts` accounts, spread over `domains` domains of one organization. With
    `aliases`, each account has two, and a delivery script."""
    settings = {"mail": "off", "rate_limit": RATE, "workers": str(workers), **settings}
    with _database(postgres) as url, Service.new(**settings, **url) as service:
        if debian13:
            debian13.take(service)
        service.start()
        database = url.get("database_url") or f"sqlite:///{service.data / 'db' / 'postroom.db'}"
        service.stop()
        organization, key, first = fill(database, accounts, domains, aliases=aliases)
        if database.startswith("sqlite"):
            for path in (service.data / "db").iterdir():
                os.chown(path, (service.data / "db").stat().st_uid, (service.data / "db").stat().st_gid)
        service.start()
        wait_for("readiness", service.ready)
        yield Instance(service, key, organization, database, first, accounts)


@contextmanager
def _database(postgres: bool) -> Iterator[dict[str, str]]:
    if not postgres:
        yield {}
        return
    with PostgresServer.start(durable=True) as server:
        yield {"database_url": server.new_database()}


@contextmanager
def constant(*arguments: str, answer: bytes = b"") -> Iterator[tuple[str, list[int]]]:
    """The bare application of bench/constant.py: its URL and process."""
    port = free_port()
    command = [sys.executable, "-m", "bench.constant", str(port), *arguments]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, cwd=Path(__file__).parent.parent)
    assert process.stdin
    process.stdin.write(answer)
    process.stdin.close()
    try:
        wait_for("the bare application", lambda: _listens(port))
        yield f"http://127.0.0.1:{port}", [process.pid]
    finally:
        process.terminate()
        process.wait()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
