"""A worker that is stopped where it holds no lock of the database. A worker that is stopped at any
moment may be in a transaction or a checkpoint, and nothing else could write then."""

import os
import signal
from contextlib import suppress
from pathlib import Path

import psycopg

from postroom.db.sqlite import exclusive
from postroom.errors import Busy
from tests.harness.service import Service, wait_for

SECONDS_OF_A_TRANSACTION = 1.0
WRITES = "SELECT 1 FROM pg_stat_activity WHERE backend_xid IS NOT NULL AND datname = current_database()"


def stop_the_worker(service: Service) -> int:
    """Stops the worker, and returns its process id. The worker goes on after SIGCONT."""
    return wait_for("a worker that holds no lock", lambda: _stopped(service))


def _stopped(service: Service) -> int:
    if pid := service.pid("worker"):
        try:
            os.kill(pid, signal.SIGSTOP)
        except ProcessLookupError:  # killed just now: the supervisor starts another
            return 0
        if not _is_writable(service.database_url):
            os.kill(pid, signal.SIGCONT)
            return 0
    return pid


def _is_writable(url: str) -> bool:
    """Returns whether the transactions that write end by themselves."""
    if url.startswith("sqlite:///"):
        with suppress(Busy), exclusive(Path(url.removeprefix("sqlite:///"))):
            return True
        return False
    with psycopg.connect(url, autocommit=True) as connection:
        try:
            wait_for("the last write", lambda: not connection.execute(WRITES).fetchall(), SECONDS_OF_A_TRANSACTION)
        except AssertionError:
            return False
    return True
