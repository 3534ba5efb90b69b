"""The world that mail goes to: a second, real Postfix with several doors, whose logins a second
Dovecot checks, a name server, and the server that the second Postfix passes all mail to.

The second Postfix has a door for each address. The name server leads `relay.test` to one of them.
"""

import base64
import json
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from postroom.mailplane.daemons import DOVECOT, dovecot_version
from postroom.mailplane.postfix.relay import SYSTEM_CA
from tests.harness import mail_queue
from tests.harness.authority import Authority
from tests.harness.dns_server import DnsServer
from tests.harness.service import COMMAND, SIGNALLED, Service, wait_for
from tests.mail import other_postfix
from tests.mail.clients import own_address
from tests.mail.sink import Sink

HOST, USER, PASSWORD = "relay.test", "platform", "The Relay's: 1 = # secret"
PORT = 587
MAIN = """
myhostname = {host}
local_transport = error:nobody
relayhost = {sink}
smtp_dns_support_level = disabled
smtpd_tls_chain_files = {good}
smtpd_tls_security_level = may
smtpd_tls_auth_only = yes
smtpd_tls_received_header = yes
smtpd_sasl_type = dovecot
smtpd_sasl_path = {folder}/run/relay
smtpd_sasl_auth_enable = yes
smtpd_sasl_authenticated_header = yes
smtpd_relay_restrictions = permit_sasl_authenticated, reject
"""
# What each door does otherwise than main.cf. Two take mail from everyone.
OPEN = "-o mynetworks=127.0.0.0/8 -o smtpd_relay_restrictions=permit_mynetworks,reject"
DOORS = {
    "good": (PORT, ""),
    "other name": (PORT, "-o smtpd_tls_chain_files={other}"),
    "other authority": (PORT, "-o smtpd_tls_chain_files={stranger}"),
    "no mechanism": (PORT, "-o smtpd_sasl_mechanism_filter=cram-md5"),
    "no tls": (PORT, f"-o smtpd_tls_security_level=none {OPEN}"),
    "wrapped": (465, "-o smtpd_tls_wrappermode=yes"),
    "mx": (25, f"-o smtpd_sasl_auth_enable=no {OPEN}"),
}
LOGINS = """
base_dir = {folder}/run
log_path = {folder}/dovecot.log
ssl = no
auth_mechanisms = plain login cram-md5
auth_failure_delay = 0
service auth {{
  unix_listener relay {{
    mode = 0666
  }}
}}
"""
LOGINS_OF = {
    "2.3": """
protocols = none
state_dir = {folder}/run
passdb {{
  driver = passwd-file
  args = scheme=PLAIN {folder}/passwords
}}
""",
    "2.4": """
protocols =
state_dir = {folder}/run
passdb passwd-file {{
  passwd_file_path = {folder}/passwords
  default_password_scheme = PLAIN
}}
""",
}
VERSION_2_4 = "dovecot_config_version = 2.4.1\ndovecot_storage_version = 2.4.1\n"


@dataclass
class Outside:
    folder: Path
    dns: DnsServer
    sink: Sink
    authority: Authority
    doors: dict[str, str] = field(default_factory=lambda: {name: own_address() for name in DOORS})
    tlsa: str = ""
    """The TLSA record of the right key."""

    @classmethod
    @contextmanager
    def start(cls) -> "Iterator[Outside]":
        folder = Path(tempfile.mkdtemp(prefix="outside-", dir="/tmp"))
        folder.chmod(0o755)
        try:
            with DnsServer.start(own_address(), 53) as dns, Sink.start() as sink:
                outside = cls(folder, dns, sink, Authority.new(folder))
                with outside._running():
                    yield outside
        finally:
            shutil.rmtree(folder)

    @contextmanager
    def _running(self) -> Iterator[None]:
        good, self.tlsa = self.authority.issue(HOST, "mx.test")
        other, _ = self.authority.issue("other.test")
        (self.folder / "stranger").mkdir()
        stranger, _ = Authority.new(self.folder / "stranger").issue(HOST)
        values = {"folder": self.folder, "host": HOST, "sink": self.sink.relayhost}
        values |= {"good": good, "other": other, "stranger": stranger}
        doors = [f"{self.doors[name]}:{port} inet n - n - - smtpd {options}" for name, (port, options) in DOORS.items()]
        version = dovecot_version()
        text = (VERSION_2_4 if version == "2.4" else "") + LOGINS.format(**values) + LOGINS_OF[version].format(**values)
        (self.folder / "dovecot.conf").write_text(text)
        (self.folder / "resolv.conf").write_text(f"nameserver {self.dns.host}\n")
        self.set_password(PASSWORD)
        self.open("good")
        dovecot = [*SIGNALLED, DOVECOT, "-F", "-c", str(self.folder / "dovecot.conf")]
        listeners = "\n".join(doors).format(**values)
        with other_postfix.running(self.folder, MAIN.format(**values), listeners):
            process = subprocess.Popen(dovecot, start_new_session=True)
            try:
                wait_for("the second Dovecot", (self.folder / "run" / "relay").exists)
                yield
            finally:
                process.send_signal(signal.SIGTERM)
                process.wait(60)

    def open(self, name: str) -> None:
        """Leads relay.test to a door."""
        self.dns.publish(HOST, "A", self.doors[name])

    def close(self) -> None:
        """Leads relay.test to an address where nobody listens."""
        self.dns.publish(HOST, "A", own_address())

    def set_password(self, password: str) -> None:
        """Changes the password that the second Dovecot knows."""
        encoded = base64.b64encode(password.encode()).decode()
        (self.folder / "passwords").write_text(f"{USER}:{{PLAIN.b64}}{encoded}\n")

    @property
    def inside(self) -> tuple[str, ...]:
        """A command that runs a program with this world's name server and authority."""
        files = {"resolv.conf": "/etc/resolv.conf", self.authority.path.name: SYSTEM_CA}
        mounts = [f"mount --bind {self.folder}/{name} {path}" for name, path in files.items()]
        return ("unshare", "--mount", "sh", "-c", " && ".join([*mounts, 'exec "$@"']), "sh")

    def see(self, service: Service) -> Service:
        """Has a service run in this world."""
        service.program = (*self.inside, COMMAND)
        return service


def waits(service: Service) -> str:
    """Returns why mail waits in the queue of a service."""
    rows = [json.loads(line) for line in mail_queue.queued(service).splitlines()]
    return " ".join(recipient.get("delay_reason", "") for row in rows for recipient in row["recipients"])


def diagnosis(service: Service, subject: str) -> tuple[str, str]:
    """Returns the level and the text of a line of `postroom doctor`."""
    rows = json.loads(service.run("doctor", "--json").stdout)
    [found] = [(row["level"], row["text"]) for row in rows if row["subject"] == subject]
    return found
