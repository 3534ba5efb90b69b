"""A worker that is stopped where it holds no lock of the database. A worker that is stopped at any
moment may be in a transaction, and nothing else could write then."""

import os
import signal
import sqlite3
from contextlib import closing

import psycopg

from tests.harness.service import Service, wait_for

SECONDS_OF_A_TRANSACTION = 1.0
WRITES = "SELECT 1 FROM pg_stat_activity WHERE backend_xid IS NOT NULL AND datname = current_database()"


def stop_the_worker(service: Service) -> int:
    """Stops the worker, and returns its process id. The worker goes on after SIGCONT."""
    return wait_for("a worker between two transactions", lambda: _stopped(service))


def _stopped(service: Service) -> int:
    if pid := service.pid("worker"):
        os.kill(pid, signal.SIGSTOP)
        if not _is_writable(service.database_url):
            os.kill(pid, signal.SIGCONT)
            return 0
    return pid


def _is_writable(url: str) -> bool:
    """Returns whether the transactions that write end by themselves."""
    if url.startswith("sqlite:///"):
        path = url.removeprefix("sqlite:///")
        with closing(sqlite3.connect(path, timeout=SECONDS_OF_A_TRANSACTION, isolation_level=None)) as database:
            try:
                database.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                return False
        return True
    with psycopg.connect(url, autocommit=True) as connection:
        try:
            wait_for("the last write", lambda: not connection.execute(WRITES).fetchall(), SECONDS_OF_A_TRANSACTION)
        except AssertionError:
            return False
    return True
