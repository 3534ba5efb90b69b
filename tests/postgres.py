"""A PostgreSQL server for the tests, from Debian's binaries, in a folder of its own."""

import itertools
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import psycopg


def free_port(address: str = "127.0.0.1") -> int:
    """A port that nobody listens on just now."""
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as probe:
        probe.bind((address, 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass
class PostgresServer:
    port: int
    restart: Callable[[], None]
    """Stops it as a crash does, and starts it again."""
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def url(self, name: str) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/{name}"

    def new_database(self) -> str:
        name = f"postroom_{next(self._numbers)}"
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")  # type: ignore[arg-type]
        return self.url(name)

    @classmethod
    @contextmanager
    def start(cls, *, durable: bool = False) -> "Iterator[PostgresServer]":
        """A new server; it syncs to disk only where it is told to."""
        binaries = find_binaries()
        folder = Path(tempfile.mkdtemp(prefix="pg-"))
        data, user = folder / "data", unprivileged(folder)
        run = [binaries / "initdb", "-D", data, "-U", "postgres", "--auth=trust", "-E", "UTF8", "--no-sync"]
        subprocess.run(run, check=True, capture_output=True, user=user, cwd=folder)
        port = free_port()
        options = (
            f"-c listen_addresses=127.0.0.1 -p {port} -c unix_socket_directories= -c fsync={'on' if durable else 'off'}"
        )
        control = [binaries / "pg_ctl", "-D", data, "-w", "-l", folder / "log"]
        run = partial(subprocess.run, check=True, capture_output=True, user=user, cwd=folder)
        start, stop = [*control, "-o", options, "start"], [*control, "-m", "immediate", "stop"]
        run(start)
        try:
            yield cls(port, lambda: _each(run, stop, start))
        finally:
            run(stop)
            shutil.rmtree(folder)


def _each(run: Callable[[list[Any]], Any], *commands: list[Any]) -> None:
    for command in commands:
        run(command)


def find_binaries() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        raise RuntimeError("PostgreSQL's binaries are missing: apt-get install postgresql")
    return found[-1].parent


def unprivileged(folder: Path) -> str | None:
    """initdb refuses root, so as root it runs as Debian's user postgres."""
    if os.geteuid() != 0:
        return None
    shutil.chown(folder, "postgres")
    return pwd.getpwnam("postgres").pw_name
