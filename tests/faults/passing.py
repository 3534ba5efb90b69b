"""Mail of a domain whose route keeps none, while a fault happens: the webhook of the route gets
every message, and then no mailbox has it."""

import itertools
import smtplib
import threading
from contextlib import suppress
from dataclasses import dataclass, field

from postroom.actor import ALL_SCOPES
from postroom.auth.keys import CreateKey
from postroom.db import Tx, open_database
from postroom.domains import dkim
from postroom.service import bootstrap
from postroom.service.passing_messages import LEASE_MS
from tests.faults.client import Client
from tests.faults.ledger import ACCOUNTS, subjects_of
from tests.harness.service import Service, wait_for
from tests.mail.clients import deliver, imap_login
from tests.webhooks.endpoint import Endpoint

ORGANIZATION, DOMAIN, KNOWN = "passing", "pass.test", "known@pass.test"
PAUSE_SECONDS = 0.1
_numbers = itertools.count(1)


@dataclass
class Passing:
    """`sent` are the subjects that SMTP took, each with its recipient: the account of the domain,
    or an address that nobody has."""

    service: Service
    endpoint: Endpoint
    password: str
    sent: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, service: Service, endpoint: Endpoint) -> "Passing":
        def make(tx: Tx) -> str:
            bootstrap.create_domain(tx, ORGANIZATION, DOMAIN, "u", "active", dkim.generate())
            return bootstrap.create_key(tx, ORGANIZATION, CreateKey(scopes=ALL_SCOPES))

        database = open_database(service.database_url)
        try:
            client = Client(service.ports["port"], database.write_sync(make))
        finally:
            database.close()
        route = {"user_id": "u", "forward_mode": "webhook", "webhook_url": endpoint.url()}
        routed = client.call("PUT", f"/v2/domains/{DOMAIN}/route", route)
        made = client.call("POST", f"{ACCOUNTS}/create", {"domain": DOMAIN, "local_part": "known", "user_id": "u"})
        client.close()
        assert routed
        assert made
        assert (routed[0], made[0]) == (200, 201), (routed, made)
        return cls(service, endpoint, made[2]["password"])

    def work(self, _client: Client) -> None:
        """Sends a message from outside."""
        number = next(_numbers)
        subject, to = f"passing {number}", KNOWN if number % 2 else f"nobody{number}@{DOMAIN}"
        with suppress(OSError, smtplib.SMTPException):
            deliver(self.service, "someone@elsewhere.example", to, subject)
            self.sent[subject] = to
        threading.Event().wait(PAUSE_SECONDS)

    def check(self, _client: Client) -> None:
        """Waits until the endpoint has every message."""
        self.endpoint.wait(lambda _: self.sent.items() <= self._told().items(), 90)
        bodies: dict[str, bytes] = {}
        for post in list(self.endpoint.posts):
            assert bodies.setdefault(post.id, post.body) == post.body, "a repetition that differs"

    def check_left(self) -> None:
        """Waits until all messages are held, also those of a killed worker, whose leases must run
        out first."""
        wait_for("every message to leave", lambda: not self._waiting(), LEASE_MS / 1000 + 60)
        with imap_login(self.service, KNOWN, self.password) as imap:
            assert not subjects_of(imap)

    def _told(self) -> dict[str, str]:
        told = [post.json["data"] for post in list(self.endpoint.posts)]
        return {data["subject"]: data["delivered_to"] for data in told}

    def _waiting(self) -> bool:
        database = open_database(self.service.database_url)
        try:
            sql = "SELECT 1 FROM passing_messages WHERE state <> 'held' LIMIT 1"
            return bool(database.write_sync(lambda tx: tx.all(sql)))
        finally:
            database.close()
