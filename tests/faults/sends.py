"""Messages that the API sends while a fault happens: each arrives, and each is one message, however
often the API was asked."""

import itertools
import threading
from collections import defaultdict
from dataclasses import dataclass, field
from email import message_from_bytes

from tests.faults.client import Client
from tests.faults.ledger import ACCOUNTS, Entry, Ledger
from tests.harness.service import wait_for
from tests.mail.clients import imap_login

_numbers = itertools.count(1)
IDS = "(BODY.PEEK[HEADER.FIELDS (SUBJECT MESSAGE-ID)])"
# After this many answers of an instance that is up, nobody will ever know.
MOST_UNKNOWN = 3


@dataclass
class Sends:
    """Sends from `sender` to the address `to`, with an Idempotency-Key for each message, until
    there is an answer."""

    ledger: Ledger
    sender: Entry
    to: Entry
    sent: dict[str, str] = field(default_factory=dict)
    """The Message-IDs of the messages that were answered 202, by subject."""
    unknown: set[str] = field(default_factory=set)
    """Messages that were or were not sent, as the API says."""
    _open: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def work(self, client: Client) -> None:
        """Sends a message, and asks for those without an answer again."""
        with self._lock:
            self._open.append(f"sent {next(_numbers)}")
            self._open = [subject for subject in self._open if self._ask(client, subject) in ("", "outcome_unknown")]

    def check(self, client: Client) -> None:
        """Fails unless every acknowledged message has arrived as one message, and has a copy."""
        with self._lock:
            for subject in self._open:
                for _ in range(MOST_UNKNOWN):
                    code = wait_for(f"an answer to {subject}", lambda subject=subject: self._ask(client, subject))
                    if code == "sent":
                        break
                else:
                    self.unknown.add(subject)
            self._open = []
        copies = self._read(self.sender, "Sent")
        found: dict[str, set[str]] = {}
        wait_for("every sent message", lambda: self._is_delivered(found))
        for subject, message_id in self.sent.items():
            assert found[subject] == copies[subject] == {message_id}, subject
        for subject in self.unknown:
            assert len(found.get(subject, ())) <= 1, subject

    def _ask(self, client: Client, subject: str) -> str:
        """Returns `sent`, `outcome_unknown`, or nothing if the request must be repeated."""
        body = {"to": [f"{self.to.local_part}@demo.test"], "subject": subject, "text": "Hello."}
        path = f"{ACCOUNTS}/{self.sender.id}/messages/send"
        answer = client.call("POST", path, body, {"Idempotency-Key": subject.replace(" ", "-")})
        if answer is None:
            return ""
        if answer[0] == 202:
            self.sent[subject] = answer[2]["message"]["rfc_message_id"]
            return "sent"
        code: str = answer[2]["code"]
        if code != "idempotency_conflict" and answer[0] != 503:
            self.ledger.surprises.append((path, body, answer[0], answer[2]))
        return code if code == "outcome_unknown" else ""

    def _is_delivered(self, found: dict[str, set[str]]) -> bool:
        """Returns whether every acknowledged message is there. `found` gets what is there."""
        found.clear()
        found.update(self._read(self.to, "INBOX"))
        return self.sent.keys() <= found.keys()

    def _read(self, entry: Entry, folder: str) -> dict[str, set[str]]:
        """Returns the Message-IDs of a folder by subject."""
        found: dict[str, set[str]] = defaultdict(set)
        password = str(entry.state.password)
        with imap_login(self.ledger.service, f"{entry.local_part}@demo.test", password) as imap:
            _, counted = imap.select(folder, readonly=True)
            _, data = imap.fetch("1:*", IDS) if counted != [b"0"] else ("", [])
        for part in data:
            if isinstance(part, tuple):
                header = message_from_bytes(part[1])
                found[header["Subject"]].add(header["Message-ID"])
        return found
