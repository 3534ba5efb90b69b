"""The database cannot be written, or not even read: HTTP answers 503 with Retry-After, mail gets
4xx, and the service recovers by itself."""

import fcntl
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from io import RawIOBase
from pathlib import Path

import pytest

from tests.faults.ledger import Ledger, logs_in
from tests.faults.load import Load
from tests.harness.service import Service, wait_for
from tests.mail.clients import Imap, imap_login, refusal

LOCK = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
sys.stdin.read()
"""
# Byte range of the five read locks in the -shm file (SQLite's os_unix.c, UNIX_SHM_BASE + 3).
READ_LOCKS = (5, 123)
OVERFLOW = "abs(-9223372036854775807 - 1) > 0"
# A mount that only the service sees, and that disappears with its last process.
SMALL_DISK = 'mount -t tmpfs -o size=24m,mode=0700 tmpfs "$0" && exec "$@"'


def pids(service: Service) -> list[int]:
    return [service.pid(name) for name in ("api", "worker", "dovecot", "postfix")]


def check_that_reads_go_on(ledger: Ledger, mailbox: str) -> None:
    """HTTP, a login, RCPT and a delivery succeed."""
    client = ledger.client()
    assert client.get("/v2/email-accounts", q=mailbox)["items"][0]["address"] == mailbox
    client.close()
    assert logs_in(ledger.service, mailbox, str(ledger.entries[mailbox].state.password))
    assert refusal(ledger.service, mailbox)[0] == 250
    assert refusal(ledger.service, "nobody@demo.test")[0] == 550
    ledger.mail(mailbox, "while nothing can be written")


def wait_for_refusals(ledger: Ledger, count: int) -> None:
    """Waits until this number of writes was answered 503. Any other failure is an error."""
    wait_for("writes to be refused", lambda: ledger.busy >= count or ledger.surprises, 120)
    assert ledger.surprises == []


@contextmanager
def full(disk: Path) -> Iterator[None]:
    """Fills the disk to the last byte."""
    filler = disk / "filler"
    for size in (65536, 512):
        with pytest.raises(OSError, match="No space left"), filler.open("ab", buffering=0) as file:
            _write_for_ever(file, size)
    yield
    filler.unlink()


def _write_for_ever(file: RawIOBase, size: int) -> None:
    while True:
        file.write(bytes(size))


def test_a_full_disk(service: Service) -> None:
    """24 MB for the database alone. Mail is on another disk."""
    service.start()
    service.stop()  # now the directories exist, each with its owner
    database = str(service.data / "db")
    service.prefix = ("unshare", "--mount", "sh", "-c", SMALL_DISK, database)
    service.start()
    assert service.process
    ledger, before = Ledger(service, service.key()), pids(service)  # the database is out of the tests' reach
    client = ledger.client()
    ledger.create(client, "inbox")
    with Load(ledger, "inbox@demo.test") as load:
        load.wait_for(30)
        for _ in range(2):
            with full(Path(f"/proc/{service.process.pid}/root{database}")):
                wait_for_refusals(ledger, ledger.busy + 8)
                check_that_reads_go_on(ledger, "inbox@demo.test")
            load.wait_for(30)
    assert pids(service) == before
    ledger.compare()


@contextmanager
def locked(service: Service) -> Iterator[None]:
    """Another process has an open transaction."""
    path = service.data / "db" / "postroom.db"
    with subprocess.Popen(
        [sys.executable, "-c", LOCK, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout
        assert other.stdout.readline() == "locked\n"
        yield
        other.communicate("")


def under_a_lock(ledger: Ledger, mailbox: str, refusals: int) -> None:
    before = pids(ledger.service)
    with Load(ledger, mailbox) as load:
        load.wait_for(30)
        with locked(ledger.service):
            wait_for_refusals(ledger, refusals)
            check_that_reads_go_on(ledger, mailbox)
        load.wait_for(30)
    assert pids(ledger.service) == before
    ledger.compare()


def test_locked_by_another_process(ledger: Ledger, mailbox: str) -> None:
    """It lasts as long as SQLite waits, and until each client was refused."""
    under_a_lock(ledger, mailbox, 4)


@pytest.mark.long
def test_locked_by_another_process_for_long(ledger: Ledger, mailbox: str) -> None:
    """It lasts 35 s or more, because each client waits 5 s for each refusal."""
    under_a_lock(ledger, mailbox, 4 * 7)


@contextmanager
def unreadable(service: Service) -> Iterator[None]:
    """No process can begin to read, because another process has every lock that a reader needs."""
    descriptor = os.open(service.data / "db" / "postroom.db-shm", os.O_RDWR)
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX, *READ_LOCKS)
        yield
    finally:
        os.close(descriptor)


def test_nobody_can_read(ledger: Ledger, mailbox: str) -> None:
    service, before = ledger.service, pids(ledger.service)
    password = str(ledger.entries[mailbox].state.password)
    with unreadable(service), ThreadPoolExecutor() as pool:
        answer = pool.submit(lambda: ledger.client().call("GET", "/v2/email-accounts"))
        with pytest.raises(Imap.error, match=r"\[UNAVAILABLE\]"):
            imap_login(service, mailbox, password)
        status, headers, body = answer.result() or (0, {}, {})
        assert (status, body.get("code")) == (503, "busy")
        assert int(headers["Retry-After"]) > 0
        waiting = pool.submit(lambda: ledger.client().call("GET", "/v2/email-accounts"))
        for _ in range(20):  # requests without the database are not delayed by those that wait for it
            assert service.get("/healthz")[0] == 200
        assert not waiting.done()
    check_that_reads_go_on(ledger, mailbox)
    assert pids(service) == before
    ledger.compare()


@contextmanager
def failing_views(service: Service) -> Iterator[None]:
    """Each query of the daemons is valid and then fails while rows are read, as on a failing
    disk."""
    with closing(sqlite3.connect(service.data / "db" / "postroom.db", isolation_level=None)) as connection:
        views = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'view'").fetchall()
        for name, sql in views:
            connection.execute(f"DROP VIEW {name}")
            select = sql.partition(" AS\n")[2]
            connection.execute(f"CREATE VIEW {name} AS SELECT * FROM ({select}) WHERE {OVERFLOW}")
        yield
        for name, sql in views:
            connection.execute(f"DROP VIEW {name}")
            connection.execute(sql)


def test_the_daemons_questions_fail(ledger: Ledger, mailbox: str) -> None:
    """No answer is wrong: IMAP reports a server error. Postfix loses a process at each such error
    and keeps the client waiting (RFC 5321 4.5.3.2 allows 5 minutes) until the database answers
    again."""
    service, before = ledger.service, pids(ledger.service)
    password = str(ledger.entries[mailbox].state.password)
    with ThreadPoolExecutor() as pool:
        with failing_views(service):
            codes = [pool.submit(refusal, service, address) for address in (mailbox, "nobody@demo.test")]
            with pytest.raises(Imap.error, match=r"\[UNAVAILABLE\]"):
                imap_login(service, mailbox, password)
            wait_for("Postfix to fail", lambda: "SQL step failed" in (service.data / "log" / "postfix.log").read_text())
        assert logs_in(service, mailbox, password)
        assert {code.result()[0] for code in codes} <= {250, 451, 550}
    check_that_reads_go_on(ledger, mailbox)
    assert pids(service) == before
    ledger.compare()
