"""Every way by which mail leaves checks the sender. This file lists Postfix's listeners and tries
to send through each as another account.

A listener that is not in this file fails `test_every_listener_is_known`: write a test for it here.
"""

import re
import smtplib
import socket
import subprocess
from email import message_from_bytes
from pathlib import Path

import pytest

from postroom.mailplane import render
from postroom.mailplane.dovecot.sendmail import UnixSMTP
from postroom.mailplane.render import OwnNode, Plane
from postroom.settings import load
from tests.harness.service import Service, wait_for
from tests.mail.clients import HOST, message, own_address, smtp, submission
from tests.mail.platform import Mailbox, Platform, nothing_came

# Syslog name of each listener -> the test that tries to send through it as another account.
LISTENERS = {
    "": "test_port_25_relays_nothing_and_reaches_no_mailbox_by_number",
    "submission": "test_submission_is_for_the_accounts_own_senders",
    "submissions": "test_submission_is_for_the_accounts_own_senders",
    "replies": "test_the_socket_for_replies_drops_what_is_not_the_owners",
    "forwards": "test_the_socket_for_forwards_lets_nobody_else_out",
    "api": "tests/mail/test_message_sends.py::test_only_what_is_announced_passes",
    "node": "tests/cluster/test_cluster.py::test_mail_cannot_be_injected",
}
# Postfix's programs that accept messages from other programs or hosts.
TAKES_MAIL = {"smtpd", "pickup", "qmqpd", "postscreen"}


def takers(master_cf: str) -> list[tuple[str, str]]:
    """Returns the program and the syslog name of each service that accepts mail."""
    text = re.sub(r"\n[ \t]+", " ", re.sub(r"(?m)^#.*\n", "", master_cf))
    found = []
    for line in filter(None, text.splitlines()):
        words = line.split()
        if words[7] in TAKES_MAIL:
            name = re.search(r"syslog_name=postfix/(\w+)", line)
            found.append((words[7], name[1] if name else ""))
    return found


def test_every_listener_is_known(service: Service) -> None:
    running = takers((service.data / "postfix" / "master.cf").read_text())
    node = OwnNode(1, "x", 1, "x", "x", "x", "x", "192.0.2.1", ("192.0.2.1",))
    plane = Plane(
        "x", "x", root=True, python="/x", doveadm_key="x", postgres={"host": "x", "dbname": "x", "user": "x"}, node=node
    )
    several = render.configuration(load({"POSTROOM_DATA": "/x"}), plane)["postfix/master.cf"].text
    for found in (running, takers(several)):
        assert {name for program, name in found if program == "smtpd"} <= LISTENERS.keys()
        assert [program for program, _ in found if program != "smtpd"] == ["pickup"]
    assert {name for _, name in takers(several)} == LISTENERS.keys()
    for test in LISTENERS.values():
        path, _, name = test.rpartition("::")
        source = Path(path) if path else Path(__file__)
        assert f"def {name}(" in (Path(__file__).parents[2] / source).read_text()
    assert "authorized_submit_users = root\n" in (service.data / "postfix" / "main.cf").read_text()  # pickup


def test_port_25_relays_nothing_and_reaches_no_mailbox_by_number(platform: Platform, alice: Mailbox) -> None:
    with smtp(platform.service) as client:
        client.ehlo()
        client.mail(alice.address)
        assert client.rcpt("ceo@elsewhere.example")[0] == 554
        for domain in ("acct.internal", "inbox.acct.internal", "1.acct.internal", "ACCT.INTERNAL", "acct.internal."):
            assert 500 <= client.rcpt(f"{alice.id}@{domain}")[0] < 600, domain
        assert "xclient" not in client.esmtp_features


@pytest.mark.parametrize("over_tls", [True, False], ids=["submissions", "submission"])
def test_submission_is_for_the_accounts_own_senders(
    platform: Platform, alice: Mailbox, bob: Mailbox, target: Mailbox, over_tls: bool
) -> None:
    for envelope, from_ in ((bob, bob), (alice, bob), (bob, alice)):
        with submission(platform.service, alice.address, alice.password, over_tls) as client:
            assert "xclient" not in client.esmtp_features
            with pytest.raises(smtplib.SMTPResponseException if envelope is alice else smtplib.SMTPRecipientsRefused):
                client.sendmail(
                    envelope.address,
                    [target.address],
                    message(from_.address, target.address, "forged").as_bytes(),
                )
            for name in (f"{target.id}@acct.internal", f"{target.id}@inbox.acct.internal"):
                client.rset()
                client.mail(alice.address)
                assert client.rcpt(name)[0] == 550
    assert nothing_came(target, alice) == []


def by_socket(service: Service, name: str, owner: str, sender: str, to: str, raw: bytes) -> None:
    """Hands a message over as sendmail.py does. Root can open the sockets."""
    with UnixSMTP(str(service.data / "spool" / "public" / name), local_hostname="localhost", timeout=60) as client:
        client.ehlo()
        if owner:
            assert client.docmd("XCLIENT", f"LOGIN={owner}")[0] == 220
            client.ehlo()
        client.sendmail(sender, [to], raw)


def test_the_socket_for_replies_drops_what_is_not_the_owners(
    service: Service, alice: Mailbox, bob: Mailbox, target: Mailbox
) -> None:
    head = f"To: {target.address}\r\nSubject: forged\r\n"
    forged = (
        ("", f"From: {bob.address}\r\n"),
        ("", f"From: {alice.address}\r\nFrom: {bob.address}\r\n"),
        ("", f"From: {alice.address}\r\nSender: {bob.address}\r\n"),
        ("", f"From: {alice.address}\r\nX-Postroom-Signing-Domain: {alice.platform.domain}\r\n"),
        ("", "From: 7@acct.internal\r\n"),
        ("", ""),
        (bob.address, f"From: {alice.address}\r\n"),
        (bob.address, f"From: {bob.address}\r\n"),
    )
    for sender, from_ in forged:
        by_socket(service, "replies", str(alice.id), sender, target.address, f"{from_}{head}\r\nx".encode())
    with pytest.raises(smtplib.SMTPDataError):  # the script has no owner
        by_socket(service, "replies", "", "", target.address, f"From: {bob.address}\r\n{head}\r\nx".encode())
    assert nothing_came(target, alice) == []


def test_the_socket_for_forwards_lets_nobody_else_out(
    service: Service, alice: Mailbox, bob: Mailbox, target: Mailbox
) -> None:
    mark = f"X-Sieve: x\r\nX-Sieve-Redirected-From: {alice.address}\r\n"
    head = f"To: {target.address}\r\nSubject: forged\r\n"
    for sender, marked, from_ in (
        (bob.address, mark, "ceo@elsewhere.example"),  # the envelope sender is another account
        (bob.address, mark, bob.address),
        ("", mark, "ceo@elsewhere.example"),
        (alice.address, mark, bob.address),  # SPF of the domain would vouch for another customer
        (alice.address, mark, f"ceo@sub.{alice.platform.domain}"),
        (alice.address, mark, f"{bob.address}, ceo@elsewhere.example"),
        (alice.address, mark, f"ceo@elsewhere.example\r\nFrom: bob(x)@{alice.platform.domain}"),
        (alice.address, mark, "ceo@elsewhere.example\r\nFrom: cto@elsewhere.example"),
        (alice.address, mark, "=?a?q? " * 10_000 + f"bob@{alice.platform.domain}"),
        (alice.address, mark, f"=?utf-8?q?bob=40{alice.platform.domain}?="),
        (alice.address, mark, f"Bob ｂob＠{alice.platform.domain.upper()} ;"),
        (alice.address, "", "ceo@elsewhere.example"),  # not marked as a forward
        (alice.address, f"Subject: x\r\n{mark}", "ceo@elsewhere.example"),
    ):
        raw = re.sub(r"(.{900}) ", r"\1\r\n ", f"{marked}From: {from_}\r\n{head}\r\nx").encode()
        by_socket(service, "forwards", str(alice.id), sender, target.address, raw)
    assert nothing_came(target, alice) == []
    wait_for("what is kept", lambda: alice.subjects() == ["forged"] * 11)


def test_a_reply_is_from_its_owner_and_signed(platform: Platform, alice: Mailbox, bob: Mailbox) -> None:
    """Sieve's vacation has no envelope sender, so DMARC would fail without a signature."""
    for number, option in enumerate(("", f':from "alice+x@{platform.domain}"', f':from "Lee <{alice.address}>"')):
        alice.put_script(f'require "vacation"; vacation {option} :subject "away {number}" "Back soon.";'.encode())
        bob.send(alice.address, f"question {number}")
        reply = message_from_bytes(bob.wait_for(f"away {number}"))
        assert reply["Return-Path"] == "<>"
        assert alice.wait_for(f"question {number}")
        assert f"d={platform.domain};" in reply["DKIM-Signature"]
        assert "X-Postroom-Signing-Domain" not in reply
        assert b"acct.internal" not in reply.as_bytes()


def test_a_rejection_is_from_its_owner_and_signed(platform: Platform, alice: Mailbox, bob: Mailbox) -> None:
    alice.put_script(b'require "reject"; reject "no";')
    bob.send(alice.address, "question")
    reply = message_from_bytes(bob.wait_for("Rejected: question"))
    assert alice.address in reply["From"]
    assert f"d={platform.domain};" in reply["DKIM-Signature"]


@pytest.mark.parametrize(
    "rule",
    [
        'vacation :from "{bob}" "x";',
        'vacation :from "Bob <{bob}>" "x";',
        'vacation :from "ceo@elsewhere.example" "x";',
        'vacation :from "{number}@acct.internal" "x";',
        'vacation :from "ceo@sub.{domain}" "x";',
        'vacation :mime "From: {bob}\r\nContent-Type: text/plain\r\n\r\nx";',
        'vacation :mime "Sender: {bob}\r\nContent-Type: text/plain\r\n\r\nx";',
        'vacation :from "{bob}" :mime "X-Sieve: x\r\nX-Sieve-Redirected-From: x\r\n\r\nx";',
        'vacation :mime "X-Postroom-Signing-Domain: elsewhere.example\r\n\r\nx";',
        'vacation :mime "Authentication-Results: mail.postroom.test; dkim=pass\r\n\r\nx";',
        'vacation :mime "Content-Type: text/plain\r\nAUTHENTICATION-RESULTS : x; dkim=pass\r\n\r\nx";',
        'vacation :mime "Content-Type: text/plain\r\nx-spam : Yes\r\n\r\nx";',
    ],
)
def test_a_forged_reply_is_dropped_and_the_mail_arrives(
    platform: Platform, alice: Mailbox, bob: Mailbox, target: Mailbox, rule: str
) -> None:
    rule = rule.replace("{bob}", bob.address).replace("{domain}", platform.domain).replace("{number}", str(bob.id))
    alice.put_script(f'require "vacation"; {rule}'.encode())
    target.send(alice.address, "question")
    assert alice.wait_for("question")
    assert nothing_came(target, bob) == []
    with target.login() as imap:
        assert imap.select("Junk", readonly=True) == ("OK", [b"0"])
    alice.receive("and the next")
    assert alice.wait_for("and the next")


def test_a_script_cannot_send_a_notice(alice: Mailbox) -> None:
    """`notify` would choose sender, recipient and text. A new script with `notify` does not
    compile."""
    for extension in ("enotify", "notify"):
        with pytest.raises(AssertionError, match="unknown Sieve capability"):
            alice.put_script(f'require "{extension}"; notify "mailto:x@elsewhere.example";'.encode())


def test_a_script_with_a_notice_that_is_there_already(alice: Mailbox, target: Mailbox) -> None:
    folder = alice.home
    alice.put_script(b"keep;")
    script = f'require "enotify"; notify :from "{target.address}" "mailto:{target.address}";'
    (folder / "sieve" / "main.sieve").write_text(script)
    alice.receive("still arrives")
    assert alice.wait_for("still arrives")
    assert nothing_came(target, alice) == []


@pytest.mark.parametrize(
    "name",
    [
        "{id}@acct.internal",
        "{id}@inbox.acct.internal",
        "{id}@1.acct.internal",
        # Postfix reads the quoted part as the address if the IP address is this host's.
        r"\"{id}@acct.internal\"@[127.0.0.1]",
    ],
)
def test_a_script_reaches_no_mailbox_by_number(alice: Mailbox, bob: Mailbox, target: Mailbox, name: str) -> None:
    alice.put_script(f'redirect "{name.replace("{id}", str(target.id))}";'.encode())
    alice.receive("by number")
    assert alice.wait_for("by number")
    assert nothing_came(target, bob) == []


def test_the_sockets_are_closed_to_others(service: Service) -> None:
    assert (service.data / "spool" / "public").stat().st_mode & 0o007 == 0
    with socket.create_connection((HOST, service.ports["smtp_port"]), 60, (own_address(), 0)) as client:
        client.recv(1024)
        client.sendall(b"EHLO x\r\n")
        assert b"XCLIENT" not in client.recv(4096)


def test_a_script_of_nobody_sends_nothing(service: Service) -> None:
    """If the userdb returned no sendmail_path, Dovecot's own setting names no owner."""
    command: list[str | Path] = [service.data / "dovecot" / "sendmail", "-i", "-f", "<>", "--", "x@elsewhere.example"]
    done = subprocess.run(command, input=b"From: x@y.test\r\n\r\nx", capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (75, b"Nobody's script: nothing is sent.\n")
    assert (
        f"sendmail_path = {service.data}/dovecot/sendmail\n" in (service.data / "dovecot" / "dovecot.conf").read_text()
    )
