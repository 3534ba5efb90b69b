"""Clients reach their mailbox through every machine, and nobody but the machines can use what lies between them."""

import itertools
import re
import smtplib
import socket
import ssl
from pathlib import Path

import pytest

from tests.mail import clients
from tests.mail.clients import Imap
from tests.mail.platform import Mailbox, Platform
from tests.nodes.cluster import Cluster
from tests.service import wait_for

_numbers = itertools.count(1)


@pytest.fixture
def box(platform: Platform) -> Mailbox:
    return platform.create(f"box{next(_numbers)}")


def test_it_works(cluster: Cluster, box: Mailbox) -> None:
    """IMAP, SMTP and submission on every machine; the mail is on one."""
    for machine in cluster.machines:
        machine.deliver(box, f"through {machine.name}")
        with machine.submission(box) as client:
            client.send_message(
                clients.message(box.address, box.address, f"from {machine.name}"), box.address, [box.address]
            )
    wanted = {f"{how} {machine.name}" for machine in cluster.machines for how in ("through", "from")}
    for machine in cluster.machines:
        with machine.imap(box) as imap:
            found = wait_for("all of them", lambda imap=imap: _if(imap.subjects(), 6))  # type: ignore[misc]
            assert set(found) == wanted
    assert [machine.name for machine in cluster.machines if machine.holds(box)] == [cluster.home(box).name]


def _if(found: list[str], number: int) -> list[str]:
    return found if len(found) >= number else []


def test_pop3_and_managesieve(cluster: Cluster, box: Mailbox) -> None:
    other = cluster.other(box)
    script = b'require ["fileinto", "mailbox"];\nif header "subject" "bill" { fileinto :create "Bills"; }\n'
    clients.put_script(other.address, other.port("sieve_port"), box.address, box.password, script)
    other.deliver(box, "bill")
    other.deliver(box, "hello")
    with cluster.home(box).imap(box) as imap:
        imap.wait_for("hello")
        wait_for("the bill", lambda: imap.select("Bills", readonly=True)[0] == "OK")
    pop3 = other.pop3(box)
    assert pop3.stat()[0] == 1
    pop3.quit()


def test_a_wrong_password_and_a_suspended_account(cluster: Cluster, box: Mailbox) -> None:
    with pytest.raises(Imap.error, match="AUTHENTICATIONFAILED"):
        cluster.other(box).imap(box, "another password")
    box.update(status="suspended")
    with pytest.raises(Imap.error, match="suspended"):
        cluster.other(box).imap(box)


def test_the_home_knows_where_a_client_is(cluster: Cluster, box: Mailbox) -> None:
    """In its log, and for its penalties: not the machine that has passed it on."""
    with cluster.other(box).imap(box) as imap:
        client = imap.sock.getsockname()[0]
    log = cluster.home(box).service.data / "log" / "dovecot.log"
    wait_for(
        "the line", lambda: f"Login: user=<{box.address}>" in (text := log.read_text()) and f"rip={client}" in text
    )


def test_a_reset_ends_sessions_on_every_machine(cluster: Cluster, box: Mailbox) -> None:
    """Before it is answered, whichever machine is asked."""
    sessions = [machine.imap(box) for machine in cluster.machines]
    platforms = [Platform(m.service, "", "", box.platform.key) for m in cluster.machines]
    for platform in platforms:
        answer = platform.call("POST", f"/v2/email-accounts/{box.id}/password/reset?fields=sessions_ended", {})
        assert answer["account"]["sessions_ended"] is True
        assert not any(session.is_open() for session in sessions)
        box = Mailbox(platform, box.id, box.address, answer["password"])
        sessions = [machine.imap(box) for machine in cluster.machines]
    for session in sessions:
        session.logout()


def test_mail_cannot_be_injected(cluster: Cluster, box: Mailbox) -> None:
    """Between the machines mail is taken from those who have a certificate of their authority, and from nobody else."""
    home = cluster.home(box)

    def code(context: ssl.SSLContext | None) -> int:
        with smtplib.SMTP(home.address, home.own_port, "client.example", 60) as client:
            if context:
                client.starttls(context=context)
            client.ehlo()
            client.mail("someone@elsewhere.example")
            return client.rcpt(f"{box.id}@acct.internal")[0]

    assert code(None) == 530  # TLS first
    stranger = clients.tls()
    with pytest.raises(OSError):
        code(stranger)
    stranger.load_cert_chain(home.service.data / "tls" / "cert.pem", home.service.data / "tls" / "key.pem")
    with pytest.raises(OSError):
        code(stranger)
    friend = clients.tls()
    tls = cluster.other(box).service.data / "tls"
    friend.load_cert_chain(tls / "node.pem", tls / "node.key")
    assert code(friend) == 250


def test_what_is_between_the_machines_is_not_public(cluster: Cluster, box: Mailbox) -> None:
    """Commands and copies need the key that the machines have from the database."""
    home = cluster.home(box)
    context = ssl.create_default_context(cafile=str(home.service.data / "tls" / "nodes.pem"))
    host = f"{home.name}.node.internal"
    for port, sent in (
        (1, b"POST /doveadm/v1 HTTP/1.0\r\n\r\n"),
        (2, b"VERSION\tdoveadm-server\t1\t0\nPLAIN\tAHgAeA==\n"),
    ):
        plain = socket.create_connection((home.address, home.own_port + port), 60)
        with context.wrap_socket(plain, server_hostname=host) as client:
            client.sendall(sent)
            answer = b"".join(iter(lambda client=client: client.recv(4096), b""))  # type: ignore[misc]
        assert not re.search(rb"200 OK|^\+", answer, re.MULTILINE), answer


def test_a_machine_that_is_away(cluster: Cluster, box: Mailbox) -> None:
    """Its users are told to try again, its mail waits where it was taken, and a reset says what it could not do."""
    home, other = cluster.home(box), cluster.other(box)
    here = Platform(other.service, "", "", box.platform.key)
    assert home.service.stop() == 0
    try:
        with pytest.raises(Imap.error, match="UNAVAILABLE"):
            other.imap(box)
        other.deliver(box, "while it was away")
        answer = here.call("POST", f"/v2/email-accounts/{box.id}/password/reset?fields=sessions_ended", {})
        assert answer["account"]["sessions_ended"] is False
        queue = other.service.data / "spool" / "deferred"
        wait_for("mail that waits", lambda: any(path.is_file() for path in queue.rglob("*")))
    finally:
        home.service.start()
    box = Mailbox(here, box.id, box.address, answer["password"])
    other.flush()
    with other.imap(box) as imap:
        imap.wait_for("while it was away")
    late = "SELECT 1 FROM events WHERE account_id = :id AND type = 'account.sessions_ended'"
    wait_for("the worker of its home", lambda: box.platform.sql(late, id=box.id))


def test_certificates_are_private(cluster: Cluster) -> None:
    for machine in cluster.machines:
        key: Path = machine.service.data / "tls" / "node.key"
        assert key.stat().st_mode & 0o077 == 0
