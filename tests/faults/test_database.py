"""The database cannot be written, or not even read: 503 and Retry-After, 4xx in mail, and it passes by itself."""

import errno
import fcntl
import os
import smtplib
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.faults.conftest import new_ledger
from tests.faults.ledger import Ledger, logs_in
from tests.faults.load import Load
from tests.mail.clients import Imap, imap_login, refusal
from tests.service import Service, wait_for

LOCK = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
sys.stdin.read()
"""
# Byte range of the five read locks in the -shm file (SQLite's os_unix.c, UNIX_SHM_BASE + 3).
READ_LOCKS = (5, 123)
# A mount of its own that nobody else sees, and that is gone with the last process of the service.
SMALL_DISK = 'mount -t tmpfs -o size=24m,mode=0700 tmpfs "$0" && exec "$@"'


def pids(service: Service) -> list[int]:
    return [service.pid(name) for name in ("api", "worker", "dovecot", "postfix")]


def check_that_reads_go_on(ledger: Ledger, mailbox: str) -> None:
    """HTTP, a login, RCPT and a delivery."""
    client = ledger.client()
    assert client.get("/v2/email-accounts", q=mailbox)["items"][0]["address"] == mailbox
    client.close()
    assert logs_in(ledger.service, mailbox, str(ledger.entries[mailbox].state.password))
    assert refusal(ledger.service, mailbox)[0] == 250
    assert refusal(ledger.service, "nobody@demo.test")[0] == 550
    ledger.mail(mailbox, "while nothing can be written")


@contextmanager
def full(disk: Path) -> Iterator[None]:
    """Not one more byte fits."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (65536, 512):
            try:
                while True:
                    file.write(bytes(size))
            except OSError as error:
                assert error.errno == errno.ENOSPC
    yield
    filler.unlink()


def test_a_full_disk(service: Service) -> None:
    """24 MB for the database alone; mail lies elsewhere."""
    service.start()
    service.stop()  # the directories are there, each with its owner
    database = str(service.data / "db")
    service.prefix = ("unshare", "--mount", "sh", "-c", SMALL_DISK, database)
    service.start()
    assert service.process
    ledger, before = new_ledger(service), pids(service)
    client = ledger.client()
    ledger.create(client, "inbox")
    with Load(ledger, "inbox@demo.test") as load:
        load.wait_for(30)
        for _ in range(2):
            with full(Path(f"/proc/{service.process.pid}/root{database}")):
                wait_for("writes to be refused", lambda seen=ledger.busy: ledger.busy >= seen + 8)
                check_that_reads_go_on(ledger, "inbox@demo.test")
            load.wait_for(30)
    assert pids(service) == before
    ledger.compare()


@contextmanager
def locked(service: Service) -> Iterator[None]:
    """Another process is in a transaction."""
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
            wait_for("writes to be refused", lambda: ledger.busy >= refusals, 120)
            check_that_reads_go_on(ledger, mailbox)
        load.wait_for(30)
    assert pids(ledger.service) == before
    ledger.compare()


def test_locked_by_another_process(ledger: Ledger, mailbox: str) -> None:
    """As long as SQLite waits, and until each client was refused."""
    under_a_lock(ledger, mailbox, 4)


@pytest.mark.long
def test_locked_by_another_process_for_long(ledger: Ledger, mailbox: str) -> None:
    """35 s and more: each client waits 5 s for each refusal."""
    under_a_lock(ledger, mailbox, 4 * 7)


@contextmanager
def unreadable(service: Service) -> Iterator[None]:
    """Nobody can begin to read: another process has every lock that a reader wants."""
    descriptor = os.open(service.data / "db" / "postroom.db-shm", os.O_RDWR)
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX, *READ_LOCKS)
        yield
    finally:
        os.close(descriptor)


def test_the_daemons_cannot_read_it(ledger: Ledger, mailbox: str) -> None:
    """Try again, never "no such user": a 550 or a refused password would make clients give up."""
    service, before = ledger.service, pids(ledger.service)
    client = ledger.client()
    password = str(ledger.entries[mailbox].state.password)
    with unreadable(service):
        with pytest.raises(Imap.error, match=r"\[UNAVAILABLE\]"):
            imap_login(service, mailbox, password)
        for address in (mailbox, "nobody@demo.test", "somebody@elsewhere.example"):
            assert refusal(service, address)[0] == 451
        answer = client.call("GET", "/v2/email-accounts/1")
        assert answer
        assert (answer[0], answer[2]["code"]) == (503, "busy")
        ledger.create(client)
        assert ledger.busy == 1
    assert logs_in(service, mailbox, password)
    ledger.mail(mailbox, "afterwards")
    with pytest.raises(smtplib.SMTPRecipientsRefused):
        ledger.mail("nobody@demo.test", "afterwards")
    assert pids(service) == before
    ledger.compare()
