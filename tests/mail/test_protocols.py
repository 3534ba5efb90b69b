"""Every promised protocol, and real clients: swaks sends, mbsync reads."""

import poplib
import subprocess
from pathlib import Path

import pytest

from tests.harness.service import wait_for
from tests.mail.clients import HOST, Imap, PlainImap, Pop3, own_address, tls
from tests.mail.platform import Mailbox, Platform


@pytest.fixture
def mailbox(platform: Platform) -> Mailbox:
    return platform.create()


def test_imap_with_starttls(mailbox: Mailbox) -> None:
    imap = PlainImap(HOST, mailbox.platform.service.ports["imap_port"])
    assert "LOGINDISABLED" in imap.capabilities
    with pytest.raises(Imap.error):
        imap.login(mailbox.address, mailbox.password)
    imap = PlainImap(HOST, mailbox.platform.service.ports["imap_port"])
    imap.starttls(tls())
    assert imap.login(mailbox.address, mailbox.password)[0] == "OK"
    imap.logout()


def test_imap_has_the_special_folders(mailbox: Mailbox) -> None:
    with mailbox.login() as imap:
        _, found = imap.list()
    names = b"\n".join(line for line in found if isinstance(line, bytes))
    for special in (b"\\Sent", b"\\Drafts", b"\\Junk", b"\\Trash"):
        assert special in names


def test_pop3_with_starttls_and_over_tls(mailbox: Mailbox) -> None:
    mailbox.receive("hello")
    mailbox.wait_for("hello")
    ports = mailbox.platform.service.ports
    plain = poplib.POP3(HOST, ports["pop3_port"])
    plain.stls(tls())
    for pop3 in (plain, Pop3(HOST, ports["pop3s_port"])):
        pop3.user(mailbox.address)
        pop3.pass_(mailbox.password)
        assert pop3.stat()[0] == 1
        pop3.quit()


def test_managesieve(mailbox: Mailbox) -> None:
    """A script is stored and activated, and then files mail (RFC 5804)."""
    script = b"""require ["fileinto", "mailbox"];
if header :contains "subject" "invoice" { fileinto :create "Bills"; }
"""
    mailbox.put_script(script)
    mailbox.receive("invoice 1")
    mailbox.receive("other")
    mailbox.wait_for("other")
    with mailbox.login() as imap:
        wait_for("the bill", lambda: imap.select("Bills", readonly=True) == ("OK", [b"1"]))
    assert mailbox.subjects() == ["other"]


def test_what_sieve_sends_goes_through_our_own_postfix(platform: Platform) -> None:
    alice, bob = platform.create("alice"), platform.create("bob")
    script = f"""require ["vacation", "copy"];
redirect :copy "{bob.address}";
vacation :subject "away" "Back soon";
"""
    alice.put_script(script.encode())
    writer = platform.create("writer")
    writer.send(alice.address, "question")
    assert alice.wait_for("question")
    assert bob.wait_for("question")
    reply = writer.wait_for("away")
    assert f"From: {alice.address}".encode() in reply or f"From: <{alice.address}>".encode() in reply
    assert b"acct.internal" not in reply


def test_a_rejection_does_not_show_the_internal_name(platform: Platform) -> None:
    alice, writer = platform.create("alice"), platform.create("writer")
    alice.put_script(b'require "reject";\nreject "no, thank you";\n')
    writer.send(alice.address, "question")
    reply = writer.wait_for("Rejected: question")
    assert b"no, thank you" in reply
    assert f"Final-Recipient: rfc822; {alice.address}".encode() in reply
    assert b"acct.internal" not in reply


def test_the_script_of_a_suspended_user_does_not_run(platform: Platform) -> None:
    """A script could send mail, and mail must wait in the INBOX."""
    alice, bob = platform.create("alice"), platform.create("bob")
    alice.put_script(f'redirect "{bob.address}";\n'.encode())
    bob.send(alice.address, "sent on")
    assert bob.wait_for("sent on")
    alice.update(status="suspended")
    bob.send(alice.address, "waits")
    inbox = alice.home / "Maildir" / "new"
    wait_for("the delivery to a suspended account", lambda: inbox.is_dir() and any(inbox.iterdir()))
    alice.update(status="active")
    assert alice.wait_for("waits")
    assert bob.subjects() == ["sent on"]


def test_swaks_submits_and_mbsync_reads(platform: Platform, tmp_path: Path) -> None:
    alice, bob = platform.create("alice"), platform.create("bob")
    ports = platform.service.ports
    swaks = ["swaks", "--server", HOST, "--port", str(ports["submission_port"]), "-tls", "--silent", "2"]
    login = ["--auth", "PLAIN", "--auth-user", alice.address, "--auth-password", alice.password]
    envelope = ["--from", alice.address, "--to", bob.address, "--header", "Subject: by swaks"]
    subprocess.run([*swaks, *login, *envelope, "--local-interface", own_address()], check=True, capture_output=True)
    bob.wait_for("by swaks")
    config = tmp_path / "mbsyncrc"
    certificate = platform.service.data / "tls" / "cert.pem"
    config.write_text(
        f"""
IMAPAccount a
Host localhost
Port {ports["imaps_port"]}
User {bob.address}
Pass "{bob.password}"
SSLType IMAPS
CertificateFile {certificate}

IMAPStore far
Account a

MaildirStore near
Path {tmp_path}/m/
Inbox {tmp_path}/m/INBOX

Channel c
Far :far:
Near :near:
Patterns INBOX
Create Near
SyncState *
"""
    )
    (tmp_path / "m").mkdir()
    done = subprocess.run(["mbsync", "-c", config, "c"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    read = [path.read_text() for path in (tmp_path / "m" / "INBOX").rglob("*") if path.parent.name in ("new", "cur")]
    assert len(read) == 1
    assert "Subject: by swaks" in read[0]


def test_wrong_passwords_are_refused_alike(platform: Platform, mailbox: Mailbox) -> None:
    """The answer does not reveal which accounts exist."""
    answers = set()
    for address in (mailbox.address, f"nobody@{platform.domain}", "someone@elsewhere.example"):
        with pytest.raises(Imap.error) as refused:
            Mailbox(platform, 0, address, "wrong password here").login()
        answers.add(str(refused.value))
    assert len(answers) == 1
