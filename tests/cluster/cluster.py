"""Three nodes of one Postroom: instances on 127.0.0.2 to 127.0.0.4 with one PostgreSQL."""

import smtplib
import ssl
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from postroom.mailplane import trust_file
from postroom.mailplane.dovecot.maildir import home_of
from tests.harness import mail_queue
from tests.harness.debian13 import Debian13
from tests.harness.dns_server import DnsServer
from tests.harness.postgres import PostgresServer
from tests.harness.service import Service, wait_for
from tests.mail import clients
from tests.mail.clients import Imap, Pop3
from tests.mail.platform import Mailbox, Platform
from tests.mail.rspamd import Rspamd

NAMES = ("ams", "ber", "cph")


@dataclass(frozen=True)
class Machine:
    """One node, and clients that connect to it."""

    name: str
    address: str
    service: Service

    @property
    def own_port(self) -> int:
        """The first of the ports for the other nodes."""
        return max(self.service.ports.values()) + 1

    def port(self, name: str) -> int:
        return self.service.ports[name]

    def imap(self, box: Mailbox, password: str | None = None) -> Imap:
        """Returns an IMAP session on this node after its login."""
        imap = Imap(self.address, self.port("imaps_port"), ssl_context=clients.tls())
        try:
            imap.login(box.address, password or box.password)
        except (Imap.error, OSError):
            imap.shutdown()
            raise
        return imap

    def pop3(self, box: Mailbox) -> Pop3:
        pop3 = Pop3(self.address, self.port("pop3s_port"))
        pop3.user(box.address)
        pop3.pass_(box.password)
        return pop3

    def deliver(self, box: Mailbox, subject: str) -> None:
        """Delivers a message by SMTP from outside through this node."""
        source = (clients.own_address(), 0)
        with smtplib.SMTP(self.address, self.port("smtp_port"), "client.example", 60, source) as client:
            sender = "someone@elsewhere.example"
            client.send_message(clients.message(sender, box.address, subject), sender, [box.address])

    def hand_in(self, box: Mailbox, sender: str, raw: bytes) -> tuple[int, str]:
        """Returns the last answer of this node's port 25 to a message that is sent unchanged."""
        source = (clients.own_address(), 0)
        with smtplib.SMTP(self.address, self.port("smtp_port"), "client.example", 60, source) as client:
            client.ehlo()
            code, text = client.mail(sender)
            if code == 250 and client.rcpt(box.address)[0] == 250:
                code, text = client.data(raw)
        return code, text.decode()

    def deliver_largest(self, box: Mailbox) -> str:
        """Delivers larger and larger messages until one is refused. Returns the subject of the last
        accepted message."""
        taken = ""
        with smtplib.SMTP(
            self.address, self.port("smtp_port"), "client.example", 60, (clients.own_address(), 0)
        ) as smtp:
            smtp.ehlo()
            limit, line = int(smtp.esmtp_features["size"]), b"x" * 78 + b"\r\n"
            for size in range(limit - 2000, limit, 100):
                head = b"Subject: %d\r\n\r\n" % size
                try:
                    smtp.sendmail("someone@elsewhere.example", box.address, head + line * (size // len(line)))
                except smtplib.SMTPDataError:
                    break
                taken = str(size)
        return taken

    def submission(self, box: Mailbox) -> smtplib.SMTP:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        client = smtplib.SMTP_SSL(
            self.address, self.port("submissions_port"), "client.example", timeout=60, context=context
        )
        client.login(box.address, box.password)
        return client

    def flush(self) -> None:
        """Has Postfix try all queued messages of this node again now."""
        mail_queue.flush(self.service)

    def queued(self) -> bool:
        """Returns whether Postfix has queued mail."""
        return bool(mail_queue.queued(self.service))

    def holds(self, box: Mailbox, suffix: str = "") -> bool:
        """Returns whether the mail of an account is on this node's disk."""
        return self.mail(box, suffix).is_dir()

    def mail(self, box: Mailbox, suffix: str = "") -> Path:
        """Returns the folder that the mail of an account has on this node's disk."""
        return home_of(self.service.data / "mail", box.id, suffix)

    def believes(self, certificates: str) -> bool:
        """Returns whether the node's daemons trust exactly these certificates, with no newer list
        waiting."""
        data = self.service.data
        told = trust_file.told(data)
        there = (data / "tls" / "nodes.pem").read_text()
        return told is not None and there == certificates and trust_file.given(data) == trust_file.digest(told)

    @property
    def owner(self) -> str:
        """The user that owns this node's mail."""
        return (self.service.data / "mail").owner()


def _join(machine: Machine) -> None:
    done = machine.service.run("nodes", "add", machine.name, machine.address, "--port", str(machine.own_port))
    assert done.returncode == 0, done.stderr
    machine.service.start()


# Nobody listens there, and mail between the nodes does not go there.
RELAY = {"outbound": "on", "relayhost": "[relay.invalid]:465", "relay_user": "x", "relay_password": "unused"}


@dataclass(frozen=True)
class Cluster:
    machines: list[Machine]
    dns: DnsServer
    filter: Rspamd
    """The spam filter of every node; no test but its own starts it."""

    @classmethod
    @contextmanager
    def start(cls, postgres: PostgresServer, debian13: Debian13 | None = None) -> "Iterator[Cluster]":
        url = postgres.new_database()
        with ExitStack() as stack, ThreadPoolExecutor() as pool:
            machines, dns, rspamd = [], stack.enter_context(DnsServer.start()), stack.enter_context(Rspamd.new())
            for number, name in enumerate(NAMES, 2):
                options = {"database_url": url, "node": name, "mail_host": f"127.0.0.{number}", "message_size": "65536"}
                options |= {"resolver": dns.address, "filter_milter": rspamd.milter, "webhook_allow": "private"} | RELAY
                service = stack.enter_context(Service.new(**options))
                machines.append(Machine(name, f"127.0.0.{number}", service))
            if debian13:
                for machine in machines[1:]:
                    debian13.take(machine.service)
            list(pool.map(_join, machines[:1]))
            list(pool.map(_join, machines[1:]))
            cluster = cls(machines, dns, rspamd)
            cluster.wait_for_trust()
            versions = {(machine.service.data / "dovecot" / "dovecot.conf").read_text()[:13] for machine in machines}
            assert not debian13 or versions == {"# Dovecot 2.3", "# Dovecot 2.4"}
            yield cluster
            assert set(pool.map(lambda machine: machine.service.stop(), machines)) == {0}

    def wait_for_trust(self) -> None:
        """Waits until the daemons of every node trust exactly the certificates in the database."""
        platform = self.platform()

        def is_so() -> bool:
            rows = platform.sql("SELECT certificate, secret FROM node_certificates ORDER BY id")
            behind = platform.sql(
                "SELECT 1 FROM nodes WHERE trusts > 0 AND trusts <> (SELECT MAX(id) FROM node_certificates)"
            )
            wanted = "".join(certificate for certificate, _ in rows)
            secrets = {(machine.service.data / "run" / "doveadm.key").read_text() for machine in self.machines}
            believe = all(machine.believes(wanted) for machine in self.machines)
            return not behind and believe and len(secrets) == 1 and all(secret for _, secret in rows)

        wait_for("the nodes to trust each other", is_so)

    def platform(self) -> Platform:
        return Platform.new(self.machines[0].service)

    def run(self, *arguments: str) -> Any:
        return self.machines[0].service.run(*arguments)

    def home(self, box: Mailbox) -> Machine:
        """Returns the node that is the home of an account."""
        rows = box.platform.sql(
            "SELECT name FROM nodes JOIN account_homes ON node_id = nodes.id WHERE account_id = :id", id=box.id
        )
        return next(machine for machine in self.machines if machine.name == rows[0][0])

    def other(self, box: Mailbox) -> Machine:
        """Returns a node that is not the home of an account."""
        home = self.home(box)
        return next(machine for machine in self.machines if machine is not home)
