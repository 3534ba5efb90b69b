"""Accounts move from one machine to another under fire: what was acknowledged is there afterwards, once, and clients
see the same mailbox."""

import itertools
import os
import re
import smtplib
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.mail import clients
from tests.mail.clients import Imap
from tests.mail.platform import Mailbox, Platform
from tests.nodes.cluster import Cluster, Machine
from tests.service import wait_for

_numbers = itertools.count(1)
# Of each client: on a slow disk no more may arrive than can be copied.
PAUSE_SECONDS = 0.4


@pytest.fixture
def box(platform: Platform) -> Mailbox:
    return platform.create(f"moves{next(_numbers)}")


@dataclass
class Fire:
    """Mail that arrives by SMTP and by IMAP on every machine, and what was acknowledged of it."""

    cluster: Cluster
    box: Mailbox
    taken: list[str] = field(default_factory=list)
    """Subjects that SMTP took."""
    appended: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Subjects that IMAP took, with the UIDVALIDITY and UID that it answered (RFC 4315)."""
    refused: list[str] = field(default_factory=list)
    """What IMAP said to logins that it did not let in, and SMTP to mail."""
    stop: threading.Event = field(default_factory=threading.Event)

    @classmethod
    @contextmanager
    def on(cls, cluster: Cluster, box: Mailbox) -> "Iterator[Fire]":
        fire = cls(cluster, box)
        threads = [
            threading.Thread(target=shoot, args=(machine,))
            for machine in cluster.machines
            for shoot in (fire.deliver, fire.append)
        ]
        for thread in threads:
            thread.start()
        try:
            yield fire
        finally:
            fire.stop.set()
            for thread in threads:
                thread.join()

    def deliver(self, machine: Machine) -> None:
        for number in itertools.count():
            if self.stop.wait(PAUSE_SECONDS):
                return
            subject = f"smtp {machine.name} {number}"
            try:
                machine.deliver(self.box, subject)
            except smtplib.SMTPException as error:
                self.refused.append(str(error))
            else:
                self.taken.append(subject)

    def append(self, machine: Machine) -> None:
        number = itertools.count()
        while not self.stop.is_set():
            try:
                with machine.imap(self.box) as imap:
                    while not self.stop.wait(PAUSE_SECONDS):
                        self._append(imap, f"imap {machine.name} {next(number)}")
            except Imap.abort:
                continue  # the session was ended
            except Imap.error as error:
                self.refused.append(str(error))
            except OSError:
                continue

    def _append(self, imap: Imap, subject: str) -> None:
        text = clients.message("a@elsewhere.example", self.box.address, subject).as_bytes()
        kind, answer = imap.append("INBOX", "", None, text)  # type: ignore[arg-type]
        if kind == "OK":
            found = re.search(rb"APPENDUID (\d+) (\d+)", answer[0])
            assert found, answer
            self.appended[subject] = found[1].decode(), found[2].decode()

    def settle(self) -> dict[str, tuple[str, str]]:
        """What is in the mailbox once nothing waits any more: subject -> UIDVALIDITY, UID."""
        wait_for("what waits", self._is_settled)
        return self.look()

    def _is_settled(self) -> bool:
        if not any(machine.queued() for machine in self.cluster.machines):
            return True
        for machine in self.cluster.machines:
            machine.flush()
        threading.Event().wait(1)
        return False

    def look(self) -> dict[str, tuple[str, str]]:
        with self.cluster.machines[0].imap(self.box) as imap:
            imap.select("INBOX", readonly=True)
            validity = imap.response("UIDVALIDITY")[1][0]
            _, found = imap.fetch("1:*", "(UID BODY.PEEK[HEADER.FIELDS (SUBJECT)])")
        rows = [row for row in found if isinstance(row, tuple)]
        subjects = [row[1].decode().partition(":")[2].strip() for row in rows]
        assert max(Counter(subjects).values(), default=0) <= 1, "doubled"
        uids = [re.search(rb"UID (\d+)", row[0])[1].decode() for row in rows]  # type: ignore[index]
        return {subject: (validity.decode(), uid) for subject, uid in zip(subjects, uids, strict=True)}

    def check(self) -> None:
        """Nothing is lost, nothing doubled, and every message has the UID that was answered for it."""
        found = self.settle()
        assert {said for said in self.refused if "UNAVAILABLE" not in said} == set()
        assert set(self.taken) - set(found) == set()
        assert {subject: found.get(subject) for subject in self.appended} == self.appended


def move(cluster: Cluster, box: Mailbox, machine: Machine) -> None:
    done = cluster.run("accounts", "move", str(box.id), machine.name)
    assert (done.returncode, done.stdout) == (0, f"{box.id} is on {machine.name}.\n"), done.stderr


def is_over(box: Mailbox) -> bool:
    return not box.platform.sql("SELECT 1 FROM account_moves WHERE account_id = :id", id=box.id)


def test_it_works_under_fire(cluster: Cluster, box: Mailbox) -> None:
    """There and back. UIDs stay, so that no client loads its mail anew."""
    home = cluster.home(box)
    _under_fire(cluster, box, [cluster.other(box), home])


@pytest.mark.long
def test_round_and_round(cluster: Cluster, box: Mailbox) -> None:
    """As the test above, through all machines, twice."""
    home = cluster.home(box)
    others = [machine for machine in cluster.machines if machine is not home]
    _under_fire(cluster, box, [*others, home, *others, home])


def _under_fire(cluster: Cluster, box: Mailbox, way: list[Machine]) -> None:
    with Fire.on(cluster, box) as fire:
        wait_for("mail", lambda: len(fire.taken) > 2 and len(fire.appended) > 2)
        for machine in way:
            wait_for("the end of the last move", lambda: is_over(box))
            acknowledged = len(fire.appended) + len(fire.taken)
            move(cluster, box, machine)
            assert cluster.home(box) is machine
            wait_for("mail after it", lambda: len(fire.appended) + len(fire.taken) > acknowledged)  # noqa: B023
    fire.check()
    wait_for("the old copy's end", lambda: is_over(box))
    assert [machine.name for machine in cluster.machines if machine.holds(box)] == [way[-1].name]
    assert not any(machine.holds(box, ".sealed") for machine in cluster.machines)


def test_everything_moves(cluster: Cluster, box: Mailbox) -> None:
    """Folders, flags, keywords, subscriptions and scripts; open sessions end."""
    home, other = cluster.home(box), cluster.other(box)
    script = b'require ["fileinto", "mailbox"];\nfileinto :create "Archive";\n'
    clients.put_script(home.address, home.port("sieve_port"), box.address, box.password, script)
    with home.imap(box) as imap:
        imap.create("Work/Deep")
        imap.subscribe("Work/Deep")
        imap.append("Work/Deep", r"(\Seen \Flagged Later)", None, b"Subject: a\r\n\r\nx\r\n")  # type: ignore[arg-type]
    before = _seen(home, box)
    session = home.imap(box)
    move(cluster, box, other)
    assert not session.is_open()
    assert _seen(home, box) == before
    home.deliver(box, "filed")
    with home.imap(box) as imap:
        wait_for("the script", lambda: imap.select("Archive", readonly=True) == ("OK", [b"1"]))
    sql = "SELECT COUNT(*) FROM events WHERE account_id = :id AND type = 'account.moved'"
    assert box.platform.sql(sql, id=box.id) == [(1,)]


def _seen(machine: Machine, box: Mailbox) -> list[Any]:
    with machine.imap(box) as imap:
        folders = [imap.list(), imap.lsub(), imap.select("Work/Deep", readonly=True)]
        return [*folders, imap.response("UIDVALIDITY"), imap.fetch("1:*", "(UID FLAGS INTERNALDATE BODY.PEEK[])")]


def test_a_worker_that_is_killed(cluster: Cluster, box: Mailbox) -> None:
    """While the account is frozen: the next one goes on."""
    home, other = cluster.home(box), cluster.other(box)
    home.deliver(box, "hello")
    with home.imap(box) as imap:
        imap.wait_for("hello")
    assert cluster.run("accounts", "move", str(box.id), other.name, "--no-wait").returncode == 0
    _kill_in(home, box, "frozen")
    wait_for("the move", lambda: cluster.home(box) is other)
    with home.imap(box) as imap:
        assert imap.subjects() == ["hello"]


@pytest.mark.long
def test_a_worker_that_is_killed_under_fire(cluster: Cluster, box: Mailbox) -> None:
    """Again and again, in the middle of a move: the next one goes on, and the account is open in the end."""
    home, other = cluster.home(box), cluster.other(box)
    with Fire.on(cluster, box) as fire:
        wait_for("mail", lambda: len(fire.taken) > 2 and len(fire.appended) > 2)
        assert cluster.run("accounts", "move", str(box.id), other.name, "--no-wait").returncode == 0
        for phase in ("copy", "frozen", "frozen", "clean"):
            _kill_in(home, box, phase)
        wait_for("the move", lambda: cluster.home(box) is other)
        acknowledged = len(fire.appended)
        wait_for("mail after it", lambda: len(fire.appended) > acknowledged)
    fire.check()
    wait_for("the old copy's end", lambda: is_over(box))
    assert not home.holds(box)


def _kill_in(machine: Machine, box: Mailbox, phase: str) -> None:
    """Kills the worker as soon as the move is in this phase, if it ever is."""
    sql = "SELECT phase FROM account_moves WHERE account_id = :id"
    rows = wait_for("the phase", lambda: _if(box.platform.sql(sql, id=box.id) or [("clean",)], phase))
    assert rows
    if pid := machine.service.pid("worker"):
        os.kill(pid, 9)
        wait_for("the next one", lambda: machine.service.pid("worker") not in (0, pid))


def _if(rows: list[Any], phase: str) -> list[Any]:
    return rows if rows[0][0] in (phase, "clean") else []


def test_a_target_that_is_away(cluster: Cluster, box: Mailbox) -> None:
    """The account stays where it is, and open; the move says why, and goes on when the target is back."""
    home, other = cluster.home(box), cluster.other(box)
    assert other.service.stop() == 0
    try:
        assert home.service.run("accounts", "move", str(box.id), other.name, "--no-wait").returncode == 0
        sql = "SELECT phase, reason FROM account_moves WHERE account_id = :id AND reason IS NOT NULL"
        ((phase, reason),) = wait_for("a reason", lambda: box.platform.sql(sql, id=box.id))
        assert phase == "copy"
        assert reason
        home.deliver(box, "meanwhile")
        with home.imap(box) as imap:
            imap.wait_for("meanwhile")
    finally:
        other.service.start()
    box.platform.sql("UPDATE leases SET free_at = 0 WHERE kind = 'move' AND item = :id RETURNING item", id=box.id)
    wait_for("the move", lambda: cluster.home(box) is other)
    with home.imap(box) as imap:
        assert imap.subjects() == ["meanwhile"]


def test_an_account_that_is_deleted_on_its_way(cluster: Cluster, box: Mailbox) -> None:
    """What was copied is erased on the target; what the grace keeps is where it was."""
    home, other = cluster.home(box), cluster.other(box)
    home.deliver(box, "hello")
    with home.imap(box) as imap:
        imap.wait_for("hello")
    box.delete()
    box.platform.sql(
        "INSERT INTO account_moves (account_id, source, target, phase, created_at) SELECT :id, s.id, t.id, 'copy', 1"
        " FROM nodes s, nodes t WHERE s.name = :s AND t.name = :t RETURNING account_id",
        id=box.id,
        s=home.name,
        t=other.name,
    )
    wait_for("the end", lambda: is_over(box))
    assert (home.holds(box), other.holds(box)) == (True, False)


def test_it_refuses(cluster: Cluster, box: Mailbox) -> None:
    home, other = cluster.home(box), cluster.other(box)
    for arguments, said in (
        ((str(box.id), "nowhere"), "There is no node nowhere"),
        ((str(box.id), home.name), f"is on {home.name} already"),
        (("999999999", other.name), "There is no account 999999999"),
    ):
        done = cluster.run("accounts", "move", *arguments)
        assert done.returncode == 1
        assert said in done.stderr


def test_a_purge_is_done_where_the_mail_is(cluster: Cluster, box: Mailbox) -> None:
    home, other = cluster.home(box), cluster.other(box)
    move(cluster, box, other)
    other.deliver(box, "hello")
    with other.imap(box) as imap:
        imap.wait_for("hello")
    box.platform.call("POST", "/v2/email-accounts/delete", {"id": box.id, "purge": True})
    box.platform.sql("UPDATE session_endings SET due_at = 1 WHERE account_id = :id RETURNING id", id=box.id)
    wait_for("the purge", lambda: not other.holds(box) and not home.holds(box))
    wait_for("its home", lambda: not box.platform.sql("SELECT 1 FROM account_homes WHERE account_id = :id", id=box.id))
