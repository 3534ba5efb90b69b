"""Mail that arrives during a move, and the check that everything acknowledged is true
afterwards."""

import itertools
import re
import smtplib
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.cluster.cluster import Cluster, Machine
from tests.harness.service import wait_for
from tests.mail import clients
from tests.mail.clients import Imap
from tests.mail.platform import Mailbox

# Pause of each client, so that no more mail arrives than a slow disk can copy.
PAUSE_SECONDS = 0.4


@dataclass
class Fire:
    """Mail that arrives by SMTP and by IMAP on every node, with a record of what was
    acknowledged."""

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
                continue  # the move ended the session
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
        """Waits for all queues and returns the contents of the mailbox: subject -> UIDVALIDITY,
        UID."""
        wait_for("the queued mail", self._is_settled)
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
        assert max(Counter(subjects).values(), default=0) <= 1, "duplicated"
        uids = [re.search(rb"UID (\d+)", row[0])[1].decode() for row in rows]  # type: ignore[index]
        return {subject: (validity.decode(), uid) for subject, uid in zip(subjects, uids, strict=True)}

    def check(self) -> None:
        """Checks that nothing is lost or duplicated, and that every message has the UID that was
        acknowledged."""
        found = self.settle()
        assert {said for said in self.refused if "UNAVAILABLE" not in said} == set()
        assert set(self.taken) - set(found) == set()
        assert {subject: found.get(subject) for subject in self.appended} == self.appended
