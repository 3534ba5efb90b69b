"""Two worker processes on one database, as on two nodes: one of them does each piece of work, once,
and takes over the work of the other if that was killed."""

import json
import os
import re
import shutil
import socketserver
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from postroom.accounts import commands as accounts
from postroom.accounts.commands import CreateAccount
from postroom.actor import Actor
from postroom.db import Database, Tx, open_database
from postroom.domains import commands as domains
from postroom.domains import dkim
from postroom.domains.check_schedule import FIRST_MS
from postroom.mailboxes import session_revocations
from postroom.mailplane.dovecot import doveadm
from postroom.mailplane.dovecot.doveadm import NO_SESSION
from postroom.mailplane.internal_addresses import login_mask
from postroom.service import bootstrap
from postroom.tenants import organizations
from tests.harness.dns_server import DnsServer
from tests.harness.service import Service, wait_for

MANY = 25
EVERYBODY = [{"username": f"{id_}@{generation}.acct.internal"} for id_ in range(1, 200) for generation in (1, 2, 77)]
WHO = json.dumps([["doveadmResponse", EVERYBODY, "who"]] * 2).encode()
KEY = dkim.generate()


@dataclass
class Doveadm:
    """Listens in place of a node's Dovecot, says that everybody may be logged in and that nobody is
    when a login is to end, and records the work."""

    kicked: Counter[str] = field(default_factory=Counter)
    """How many requests have named each login."""
    go: threading.Event = field(default_factory=threading.Event)
    """Requests wait for it."""

    @classmethod
    @contextmanager
    def start(cls, run: Path) -> "Iterator[Doveadm]":
        found = cls()
        found.go.set()

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                length = 0
                while (line := self.rfile.readline().strip()) != b"":
                    if line.lower().startswith(b"content-length:"):
                        length = int(line.partition(b":")[2])
                commands = json.loads(self.rfile.read(length))
                names = {tag for command, _, tag in commands if command == "kick"}
                found.kicked.update(names)
                if names:
                    found.go.wait(60)
                answers = [["error", {"exitCode": NO_SESSION}, name] for name in names]
                body = json.dumps(answers).encode() if names else WHO
                self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))

        path = run / "dovecot" / "http"
        path.parent.mkdir(parents=True)
        (run / doveadm.KEY).write_text("key")
        server = socketserver.ThreadingUnixStreamServer(str(path), Handler)
        path.chmod(0o666)
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield found
        finally:
            found.go.set()
            server.shutdown()
            thread.join()
            server.server_close()


@dataclass
class Hosts:
    """The workers of two nodes, and the database that they share."""

    services: list[Service]
    dovecots: list[Doveadm]
    database: Database
    dns: DnsServer

    def do(self, work: Callable[[Tx], Any]) -> Any:
        return self.database.write_sync(work)

    def rows(self, sql: str) -> list[Any]:
        return self.database.write_sync(lambda tx: tx.all(sql))


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def hosts(request: pytest.FixtureRequest) -> Iterator[Hosts]:
    with ExitStack() as stack:
        dns = stack.enter_context(DnsServer.start())
        folder = Path(tempfile.mkdtemp(prefix="postroom-", dir="/tmp"))
        stack.callback(shutil.rmtree, folder)
        folder.chmod(0o777)
        if request.param == "sqlite":
            url = f"sqlite:///{folder / 'postroom.db'}"
        else:
            url = request.getfixturevalue("postgres").new_database()
        options = {"database_url": url, "resolver": dns.address, "hostname": "mx.host.example"}
        services = [stack.enter_context(Service.new(**options)) for _ in range(2)]
        dovecots = []
        for service in services:
            service.launch("--only", "worker")
            wait_for("the worker", (service.data / "run" / "worker.alive").exists)
            dovecots.append(stack.enter_context(Doveadm.start(service.data / "run")))
        database = open_database(url)
        stack.callback(database.close)
        yield Hosts(services, dovecots, database, dns)


def test_everything_is_done_once(hosts: Hosts) -> None:
    def make(tx: Tx) -> list[int]:
        made = []
        for number in range(MANY):
            organization, key = f"once {number % 3}", KEY if number > 3 else None
            actor = Actor(organizations.ensure(tx, organization))
            domain = bootstrap.create_domain(tx, organization, f"once{number}.example", "u", "active", key)
            command = CreateAccount(domain.name, "a", "u", None, "{SSHA512}x")
            account = accounts.create(tx, actor, command)
            accounts.reset(tx, actor, account.id, None, "{SSHA512}y")
            gone = accounts.create(tx, actor, CreateAccount(domain.name, "gone", "u", None, "{SSHA512}x"))
            accounts.delete(tx, actor, gone.id, None, grace_ms=0)
            tx.run("DELETE FROM session_endings WHERE account_id = :id", id=gone.id)
            expired = domains.claim(tx, actor, f"expired{number}.example", "u", KEY)
            tx.run("UPDATE domains SET expires_at = 1 WHERE id = :id", id=expired.id)
            looked_for = domains.claim(tx, actor, f"claim{number}.example", "u", KEY)
            tx.run("UPDATE domain_checks SET due_at = 1 WHERE domain_id = :id", id=looked_for.id)
            made.append(account.id)
        tx.run("UPDATE session_endings SET due_at = 1, late = 1")
        return made

    began = time.monotonic()
    made = hosts.do(make)
    wait_for("all of the work", lambda: not due(hosts))
    told = Counter(hosts.rows("SELECT type, account_id, domain_id FROM events"))
    for type_ in ("account.sessions_ended", "account.purged", "domain.expired"):
        found = [count for event, count in told.items() if event[0] == type_]
        assert found == [1] * MANY, type_
    kicked = hosts.dovecots[0].kicked + hosts.dovecots[1].kicked
    assert kicked == {login_mask(id_, 1): 1 for id_ in made}
    wait_for("every check to count", lambda: asked(hosts) == checked(hosts))
    counts = asked(hosts)
    assert len(counts) == MANY
    # The second check of a claim is due after FIRST_MS, and the pause then doubles with each check.
    elapsed_ms = (time.monotonic() - began) * 1000
    assert [name for name, count in counts.items() if FIRST_MS * (2 ** (count - 1) - 1) > elapsed_ms] == []
    assert hosts.rows("SELECT domain_id FROM dkim_keys GROUP BY domain_id HAVING COUNT(*) <> 1") == []


def asked(hosts: Hosts) -> Counter[str]:
    """How often the MX of each claim was asked for."""
    return Counter(
        name for name, kind, _ in list(hosts.dns.asked) if kind == "MX" and re.fullmatch(r"claim\d+\.example", name)
    )


def checked(hosts: Hosts) -> dict[str, int]:
    """How many checks of each claim have ended, each of which fails. A check without a lease would
    not count. On a busy machine the next check is due before all of the work is done."""
    sql = "SELECT name, failures FROM domains JOIN domain_checks ON domain_id = domains.id WHERE name LIKE 'claim%'"
    return dict(hosts.rows(sql))


def due(hosts: Hosts) -> bool:
    """Returns whether any work is left."""
    return any(
        hosts.rows(sql)
        for sql in (
            "SELECT 1 FROM session_endings",
            "SELECT 1 FROM accounts WHERE purge_at IS NOT NULL",
            "SELECT 1 FROM domains WHERE expires_at = 1 AND deleted_at IS NULL",
            "SELECT 1 FROM domain_checks WHERE due_at = 1",
            "SELECT 1 FROM dkim_keys WHERE state = 'wanted'",
            "SELECT 1 FROM leases WHERE kind <> 'house'",  # held for a minute, so that one worker does the housekeeping
        )
    )


def test_what_a_killed_one_was_at_is_taken_over(hosts: Hosts) -> None:
    """The other takes over only after the lease has expired: until then the first may be alive and
    slow."""

    def make(tx: Tx) -> list[str]:
        ids = [row[0] for row in tx.all("SELECT id FROM accounts WHERE deleted_at IS NULL ORDER BY id LIMIT 20")]
        for id_ in ids:
            session_revocations.end(tx, id_, 77)
        tx.run("UPDATE session_endings SET due_at = 1 WHERE generation = 77")
        return [login_mask(id_, 77) for id_ in ids]

    for dovecot in hosts.dovecots:
        dovecot.go.clear()
    names = hosts.do(make)
    wait_for("a worker to begin", lambda: any(names[0] in dovecot.kicked for dovecot in hosts.dovecots))
    slow, other = (0, 1) if names[0] in hosts.dovecots[0].kicked else (1, 0)
    hosts.dovecots[other].go.set()
    alive = hosts.services[other].data / "run" / "worker.alive"
    for _ in range(2):
        before = alive.stat().st_mtime_ns
        wait_for("a round of the other", lambda before=before: alive.stat().st_mtime_ns > before)  # type: ignore[misc]
    assert not set(names) & hosts.dovecots[other].kicked.keys()
    process = hosts.services[slow].process
    assert process
    os.kill(process.pid, 9)
    process.wait()
    hosts.do(lambda tx: tx.run("UPDATE leases SET free_at = 0"))  # the time passes
    wait_for("the takeover", lambda: not hosts.rows("SELECT 1 FROM session_endings"))
    assert {name: hosts.dovecots[other].kicked[name] for name in names} == dict.fromkeys(names, 1)
    hosts.services[slow].launch("--only", "worker")
