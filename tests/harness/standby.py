"""Two PostgreSQL servers for the tests: a primary, and a synchronous standby that can take its
place.

The setting that makes commits wait for a standby is in the server's own postgresql.auto.conf, which
a base backup copies. So it is set after the backup, and a promoted standby does not wait.
"""

import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from os import kill
from pathlib import Path
from typing import Any

import psycopg

from tests.harness.ports import free_port
from tests.harness.postgres import find_binaries, unprivileged
from tests.harness.service import wait_for

OPTIONS = (
    "-c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off"
    " -c dynamic_shared_memory_type=mmap -c wal_retrieve_retry_interval=100ms"
)
# Commits that wait for the standby still have their locks.
WAITING = """
SELECT pid, EXISTS (SELECT 1 FROM pg_locks l WHERE l.pid = a.pid AND l.relation = '{table}'::regclass)
FROM pg_stat_activity a WHERE wait_event = 'SyncRep'"""


@dataclass
class Server:
    """One of the two servers, in its own folder."""

    data: Path
    user: str | None
    port: int

    def run(self, program: str, *arguments: Any) -> None:
        command = [find_binaries() / program, "-D", self.data, *arguments]
        subprocess.run(command, check=True, capture_output=True, user=self.user, cwd=self.data.parent)

    def start(self) -> None:
        self.run("pg_ctl", "-w", "-l", self.data.parent / "log", "-o", f"{OPTIONS} -p {self.port}", "start")

    def stop(self) -> None:
        self.run("pg_ctl", "-m", "immediate", "-w", "stop")

    def kill(self) -> None:
        """Kills all processes of the server at once, and removes its shared memory."""
        lines = (self.data / "postmaster.pid").read_text().splitlines()
        main = int(lines[0])
        children = Path(f"/proc/{main}/task/{main}/children").read_text().split()
        for pid in [main, *map(int, children)]:
            with suppress(ProcessLookupError):  # the child has ended meanwhile
                kill(pid, signal.SIGKILL)
        (self.data / "postmaster.pid").unlink()
        subprocess.run(["ipcrm", "-m", lines[6].split()[1]], check=True)

    def execute(self, sql: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Runs a statement as superuser and returns its rows."""
        address = f"host=127.0.0.1 port={self.port} user=postgres dbname={database}"
        with psycopg.connect(address, autocommit=True) as connection:
            cursor = connection.execute(sql.encode())
            return cursor.fetchall() if cursor.description else []


@dataclass
class Pair:
    primary: Server
    standby: Server
    ports: str

    @classmethod
    @contextmanager
    def start(cls) -> "Iterator[Pair]":
        """Starts both servers. The standby is synchronous."""
        folder = Path(tempfile.mkdtemp(prefix="pg-"))
        user = unprivileged(folder)
        one, other = (Server(folder / name, user, free_port()) for name in ("one", "other"))
        pair = cls(one, other, f"127.0.0.1:{one.port},127.0.0.1:{other.port}")
        one.run("initdb", "-U", "postgres", "--auth=trust", "-E", "UTF8", "--no-sync")
        try:
            one.start()
            one.execute("CREATE DATABASE postroom")
            pair.add_standby()
            yield pair
        finally:
            for server in (pair.primary, pair.standby):
                if (server.data / "postmaster.pid").exists():
                    server.stop()
            shutil.rmtree(folder)

    @property
    def url(self) -> str:
        return f"postgresql://postgres@{self.ports}/postroom?target_session_attrs=read-write"

    def add_standby(self) -> None:
        """Creates a standby from the primary, in place of the old one."""
        shutil.rmtree(self.standby.data, ignore_errors=True)
        source = f"host=127.0.0.1 port={self.primary.port} user=postgres application_name=standby"
        self.standby.run("pg_basebackup", "-R", "-X", "stream", "-c", "fast", "--no-sync", "-d", source)
        self.standby.start()
        self.primary.execute("ALTER SYSTEM SET synchronous_standby_names = 'standby'")
        self.primary.execute("SELECT pg_reload_conf()")
        wait_for("the standby", self._is_synchronous)

    def _is_synchronous(self) -> bool:
        return self.primary.execute("SELECT sync_state FROM pg_stat_replication") == [("sync",)]

    def promote(self) -> None:
        """Makes the standby the primary and returns when it can be written."""
        self.standby.run("pg_ctl", "-w", "promote")
        self.primary, self.standby = self.standby, self.primary

    def holds_back(self, table: str) -> bool:
        """Returns whether a commit that wrote to this table waits for the standby. Cancels other
        waiting commits."""
        waiting = dict(self.primary.execute(WAITING.format(table=table), "postroom"))
        for pid, wanted in waiting.items():
            if not wanted:
                self.primary.execute(f"SELECT pg_cancel_backend({pid})")
        return any(waiting.values())

    def break_off(self) -> None:
        """Cancels every wait for the standby."""
        self.primary.execute("SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'")
