"""A PostgreSQL server for the tests, from Debian's binaries, in its own folder."""

import itertools
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import psycopg

from tests.harness.ports import free_port


@dataclass
class PostgresServer:
    port: int
    password: str
    stop: Callable[[], object]
    """As a crash does."""
    resume: Callable[[], object]
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def restart(self) -> None:
        """Stops the server like a crash, and starts it again."""
        self.stop()
        self.resume()

    def url(self, name: str) -> str:
        user = f"postgres:{self.password}" if self.password else "postgres"
        return f"postgresql://{user}@127.0.0.1:{self.port}/{name}"

    def new_database(self) -> str:
        name = f"postroom_{next(self._numbers)}"
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")  # type: ignore[arg-type]
        return self.url(name)

    @classmethod
    @contextmanager
    def start(cls, *, durable: bool = False, password: str = "") -> "Iterator[PostgresServer]":
        """Starts a new server. It syncs to disk only if `durable`. Without a password it trusts
        every client."""
        binaries = find_binaries()
        folder = Path(tempfile.mkdtemp(prefix="pg-"))
        data, user = folder / "data", unprivileged(folder)
        make: list[str | Path] = [binaries / "initdb", "-D", data, "-U", "postgres", "-E", "UTF8", "--no-sync"]
        (folder / "password").write_text(password)
        make += ["--auth=scram-sha-256", f"--pwfile={folder / 'password'}"] if password else ["--auth=trust"]
        run = partial(subprocess.run, check=True, capture_output=True, user=user, cwd=folder)
        run(make)
        port = free_port()
        options = (
            f"-c listen_addresses=127.0.0.1 -p {port} -c unix_socket_directories= -c fsync={'on' if durable else 'off'}"
            " -c max_connections=300"  # several services use it, each as docs/operations.md says
        )
        control: list[str | Path] = [binaries / "pg_ctl", "-D", data, "-w", "-l", folder / "log"]
        start, stop = [*control, "-o", options, "start"], [*control, "-m", "immediate", "stop"]
        run(start)
        try:
            yield cls(port, password, partial(run, stop), partial(run, start))
        finally:
            run(stop)
            shutil.rmtree(folder)


def find_binaries() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        raise RuntimeError("PostgreSQL's binaries are missing: apt-get install postgresql")
    return found[-1].parent


def unprivileged(folder: Path) -> str | None:
    """As root, gives the folder to Debian's user postgres and returns that name, because initdb
    refuses to run as root. Returns None for any other user."""
    if os.geteuid() != 0:
        return None
    shutil.chown(folder, "postgres")
    return pwd.getpwnam("postgres").pw_name
