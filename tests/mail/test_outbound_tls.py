"""What protects mail on its way to recipients' hosts: DANE with a name server that says what it has
validated, and MTA-STS with Debian's postfix-mta-sts-resolver and a policy over HTTPS."""

import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from postroom.mailplane.postfix.relay import MTA_STS
from tests.harness import mail_queue
from tests.harness.service import SIGNALLED, Service, wait_for
from tests.mail.clients import own_address
from tests.mail.outside import Outside, diagnosis, waits
from tests.mail.platform import Mailbox, Platform

OTHER = "3 1 1 " + "ab" * 32  # of a key that nobody has


@pytest.fixture(scope="module")
def outside() -> Iterator[Outside]:
    with Outside.start() as found:
        yield found


def publish(outside: Outside, domain: str, tlsa: str = "") -> None:
    """Publishes a domain whose host is the second Postfix. Each domain has its own name for the
    host, because Postfix remembers TLSA records for a minute."""
    host = "mx.test" if not tlsa else f"mx.{domain}"
    outside.dns.publish(domain, "MX", f"10 {host}.")
    outside.dns.publish(host, "A", outside.doors["mx"])
    if tlsa:
        outside.dns.publish(f"_25._tcp.{host}", "TLSA", tlsa)


@contextmanager
def sending(outside: Outside, outbound_tls: str) -> Iterator[tuple[Service, Mailbox]]:
    """A service that sends mail to the recipients' hosts, and an account."""
    with Service.new(outbound="on", outbound_tls=outbound_tls) as service:
        outside.see(service).start()
        yield service, Platform.new(service).create()
        assert service.stop() == 0


def test_dane(outside: Outside) -> None:
    """Mail goes only to the key that a signed zone names. Without proof that the zone is signed, it
    goes as to any other host, and the doctor says so."""
    with sending(outside, "dane") as (service, box):
        outside.dns.validates = True
        assert diagnosis(service, "outbound tls")[0] == "ok"
        publish(outside, "right.test", outside.tlsa)
        publish(outside, "wrong.test", OTHER)
        box.send("a@wrong.test", "another key")
        wait_for("the queue", lambda: "Server certificate not" in waits(service))
        box.send("a@right.test", "the key")
        assert outside.sink.wait_for("the key")
        log = service.data / "log" / "postfix.log"
        wait_for("the line", lambda: "Verified TLS connection established to mx.right.test" in log.read_text())
        outside.dns.validates = False
        publish(outside, "unproven.test", OTHER)
        box.send("a@unproven.test", "no proof")
        assert outside.sink.wait_for("no proof")
        assert outside.sink.find("another key") is None
        level, text = diagnosis(service, "outbound tls")
        assert (level, "does not validate DNSSEC" in text) == ("warning", True), text


def publish_policy(outside: Outside, domain: str, mx: str, address: str) -> None:
    """Publishes a domain with an MTA-STS policy that names a host."""
    publish(outside, domain)
    POLICIES[f"mta-sts.{domain}"] = f"version: STSv1\nmode: enforce\nmx: {mx}\nmax_age: 86400\n"
    outside.dns.publish(f"_mta-sts.{domain}", "TXT", "v=STSv1; id=1;")
    outside.dns.publish(f"mta-sts.{domain}", "A", address)


POLICIES: dict[str, str] = {}


class _Policy(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        text = POLICIES[self.headers["Host"].partition(":")[0]].encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, format: str, *_: object) -> None:
        pass


@contextmanager
def policies(outside: Outside, *domains: str) -> Iterator[str]:
    """Serves the policies. Yields the address."""
    with ThreadingHTTPServer((own_address(), 443), _Policy) as server:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        hosts = [f"mta-sts.{domain}" for domain in domains]
        context.load_cert_chain(outside.authority.issue(*hosts, names_authority=True)[0])
        server.socket = context.wrap_socket(server.socket, server_side=True)
        Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield str(server.server_address[0])
        server.shutdown()


def listens() -> bool:
    host, _, port = MTA_STS.rpartition(":")
    with socket.socket() as client:
        return client.connect_ex((host, int(port))) == 0


@contextmanager
def resolver(outside: Outside) -> Iterator[None]:
    """Runs postfix-mta-sts-resolver."""
    (outside.folder / "sts.yml").write_text("cache:\n  type: internal\n  options:\n    cache_size: 10\n")
    command = [*SIGNALLED, *outside.inside, "mta-sts-daemon", "-c", str(outside.folder / "sts.yml")]
    with subprocess.Popen(command) as process:
        try:
            wait_for("the resolver", listens)
            yield
        finally:
            process.kill()  # it would wait for Postfix, which keeps its connection


def test_mta_sts(outside: Outside) -> None:
    """Mail goes only to a host that the domain's policy names. It waits while nobody knows the
    policies, and the doctor says so."""
    with (
        sending(outside, "mta-sts") as (service, box),
        policies(outside, "fits.test", "differs.test") as address,
    ):
        publish_policy(outside, "fits.test", "mx.test", address)
        publish_policy(outside, "differs.test", "other.test", address)
        box.send("a@fits.test", "fits")
        wait_for("the queue", lambda: "client TLS configuration problem" in waits(service))
        level, text = diagnosis(service, "outbound tls")
        assert (level, "does not answer at 127.0.0.1:8461" in text) == ("error", True), text
        with resolver(outside):
            assert diagnosis(service, "outbound tls")[0] == "ok"
            mail_queue.flush(service)
            assert outside.sink.wait_for("fits")
            log = service.data / "log" / "postfix.log"
            wait_for("the line", lambda: "Verified TLS connection established to mx.test" in log.read_text())
            box.send("a@differs.test", "differs")
            wait_for("the queue", lambda: "not verified" in waits(service))
        assert outside.sink.find("differs") is None
