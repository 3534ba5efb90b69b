"""Submission: the envelope sender, From, Sender and the Resent fields must belong to the account.
Everything else gets a 5xx with a reason, never an acceptance or a temporary error."""

import os
import signal
import smtplib
from email import message_from_bytes
from pathlib import Path

import pytest

from tests.harness.service import Service, wait_for
from tests.mail.clients import message, submission
from tests.mail.platform import Mailbox, Platform


def send(box: Mailbox, raw: bytes, sender: str = "", to: str = "") -> tuple[int, str]:
    """Submits a message unchanged and returns the last answer. Fills in `{me}`, `{bob}` and
    `{D}`."""
    with submission(box.platform.service, box.address, box.password) as client:
        answer = client.docmd("MAIL", f"FROM:{sender or f'<{box.address}>'}")
        if answer[0] == 250:
            answer = client.rcpt(to or box.address)
        if answer[0] == 250:
            client.putcmd("DATA")
            client.getreply()
            client.send(raw + b"\r\n.\r\n")
            answer = client.getreply()
    return answer[0], answer[1].decode()


def fill(template: str, alice: Mailbox, bob: Mailbox) -> bytes:
    words = {"me": alice.address, "bob": bob.address, "D": alice.platform.domain}
    for name, value in words.items():
        template = template.replace("{" + name + "}", value)
    return template.encode("utf-8", "surrogateescape")


FOREIGN_ENVELOPES = (
    "<@x:{me}>",
    "<@x,@y:{me}>",
    "<@{D}:{me}>",
    '<"alice+@x"@{D}>',
    "<alice+a@b@{D}>",
    "<alice@x@{D}>",
    '<"alice"@{D}>',
    "<alice(x)@{D}>",
    "<alice@{D}.>",
    "<alice@{D}@{D}>",
    "<alice%{D}@{D}>",
    "<alice!x@{D}>",
    "<alice@[127.0.0.1]>",
    "<alice@sub.{D}>",
    "<{bob}>",
    "<bob+alice@{D}>",
    "<postmaster@{D}>",
    "<7@acct.internal>",
    "<7@inbox.acct.internal>",
    "<7@1.acct.internal>",
    "<>",
)

FORGED = (
    # empty, partly missing, several
    "From: \r\n",
    "From: <>\r\n",
    "From:\r\n",
    "From: alice\r\n",
    "From: {me}\r\nFrom: {bob}\r\n",
    "From: {bob}\r\nFrom: {me}\r\n",
    "From: {me}\r\nFrom : {bob}\r\n",
    "From: {me}\r\nFROM\t: {bob}\r\n",
    "From: {me}\r\nSubject: x\r\nFrom : {bob}\r\n",
    "Subject: x\r\nFrom : {bob}\r\n",
    "Subject: x\r\nFrom: {me}\r\nX-Mailbox: x\r\nfrom: {bob}\r\n",
    "From: {me}, {bob}\r\n",
    "From: {bob}, {me}\r\n",
    "From: {me}, {me}\r\n",
    "From: us: {me}, {bob};\r\n",
    "From: us: {me};\r\n",
    # the address of another account
    "From: {bob}\r\n",
    "From: Alice <{bob}>\r\n",
    "From: ceo@elsewhere.example\r\n",
    "From: alice@sub.{D}\r\n",
    "From: 7@acct.internal\r\n",
    "From: alice@{D}.elsewhere.example\r\n",
    # spellings that some readers parse differently
    "From: {me}.\r\n",
    "From: <{me}.>\r\n",
    "From: <@x:{me}>\r\n",
    "From: <@{D}:{me}>\r\n",
    "From: alice(@x)@{D}\r\n",
    "From: alice@(x){D}\r\n",
    "From: alice@p(x).test\r\n",
    "From: bob(x)@{D}\r\n",
    "From: bob@{D}(x)\r\n",
    'From: "alice"@{D}\r\n',
    'From: "alice@x"@{D}\r\n',
    "From: alice @ {D}\r\n",
    "From: {bob} <{me}>\r\n",
    "From: <{bob}> <{me}>\r\n",
    "From: <{me}> <{bob}>\r\n",
    'From: "(" <{bob}> ")" <{me}>\r\n',
    "From: =?utf-8?q?alice?=@{D}\r\n",
    "From: =?utf-8?q?{bob}?=\r\n",
    "From: alice＠{D}\r\n",
    "From: alice@ｐ1.test\r\n",
    "From: bob@{D}\0, {me}\r\n",
    "From: {me}\0, {bob}\r\n",
    "From: {me}\rFrom: {bob}\r\n",
    "From: {me}\r\nSubject: x\0\r\n",
    "From: \udcff <{me}>\r\n",
    "From: Alice\r\n \r\n <{me}>\r\n",
    "From: Bob\r\n <{bob}>\r\n",
    "From:\r\n {bob}\r\n",
    # a display name with the address of another account
    'From: "{bob}" <{me}>\r\n',
    'From: "Bob ({bob}) via Shop" <{me}>\r\n',
    "From: =?utf-8?q?bob=40{D}?= <{me}>\r\n",
    "From: =?utf-8?q?bob?= =?utf-8?q?=40{D}?= <{me}>\r\n",
    'From: "bob＠{D}" <{me}>\r\n',
    "From: {me} ({bob})\r\n",
    'From: "nobody@{D}" <{me}>\r\n',
    # other fields that name a sender
    "From: {me}\r\nSender: {bob}\r\n",
    "From: {me}\r\nSender: ceo@elsewhere.example\r\n",
    "From: {me}\r\nSender: \r\n",
    "From: {me}\r\nSender : {bob}\r\n",
    "From: {me}\r\nSender: {me}\r\nSender: {bob}\r\n",
    "From: {me}\r\nResent-From: {bob}\r\nResent-To: {me}\r\n",
    "From: {me}\r\nResent-Sender: {bob}\r\n",
    "From: {me}\r\nResent-From: {me}\r\nResent-From: {bob}\r\n",
    "From: {bob}\r\nResent-From: {me}\r\nResent-To: {me}\r\n",
    "Resent-From: {me}\r\nResent-To: {me}\r\n",
)

HONEST = (
    "From: {me}\r\n",
    "From:{me}\r\n",
    "From: <{me}>\r\n",
    "From: ALICE@{D}\r\n",
    "From: Alice <alice+news@{D}>\r\n",
    "From: \"'{me}'\" <{me}>\r\n",
    'From: "Me - {me}" <{me}>\r\n',
    'From: "{me} via Shop" <{me}>\r\n',
    'From: "ann@elsewhere.example via Support" <{me}>\r\n',
    'From: "Lee, Alice" <{me}>\r\n',
    "From: Alice Q. Lee <{me}>\r\n",
    "From: {me} (Alice Lee)\r\n",
    "From: Alice\r\n <{me}>\r\n",
    "From: =?utf-8?q?J=C3=BCrgen?= <{me}>\r\n",
    "From: Jürgen <{me}>\r\n",
    "X-First: x\r\nFrom : {me}\r\n",
    "From: {me}\r\nSender: {me}\r\n",
    "From: {me}\r\nResent-From: {me}\r\nResent-To: {bob}\r\n",
    "From: {me}\r\nReply-To: ceo@elsewhere.example\r\n",
    "",  # Postfix adds From
)


@pytest.mark.parametrize("start", [0, 1, 2])
def test_an_envelope_sender_that_is_not_certainly_the_accounts(platform: Platform, start: int) -> None:
    alice, bob = platform.create("alice", user_id="a"), platform.create("bob", user_id="b")
    for envelope in FOREIGN_ENVELOPES[start::3]:
        code, text = send(alice, fill("From: {me}\r\n\r\nx", alice, bob), fill(envelope, alice, bob).decode())
        assert 500 <= code < 600, (envelope, code, text)
        code, text = send(alice, fill("From: {bob}\r\n\r\nx", alice, bob), fill(envelope, alice, bob).decode())
        assert 500 <= code < 600, (envelope, code, text)
    assert alice.subjects() == []


def test_an_envelope_sender_of_the_accounts(platform: Platform) -> None:
    alice = platform.create("alice")
    for envelope in (f"<{alice.address}>", f"<{alice.address.upper()}>", f"<alice+a.b@{platform.domain}>"):
        assert send(alice, fill("From: {me}\r\n\r\nx", alice, alice), envelope)[0] == 250


@pytest.mark.parametrize("start", range(4))
def test_nobody_is_named_but_the_account(platform: Platform, start: int) -> None:
    alice, bob = platform.create("alice", user_id="a"), platform.create("bob", user_id="b")
    for header in FORGED[start::4]:
        code, text = send(alice, fill(header + "Subject: forged\r\n\r\nx", alice, bob))
        assert 500 <= code < 600, (header, code, text)
        assert "try again" not in text
    assert alice.subjects() == []


def test_honest_people_are_not_refused(platform: Platform) -> None:
    alice, bob = platform.create("alice", user_id="a"), platform.create("bob", user_id="b")
    for number, header in enumerate(HONEST):
        raw = fill(header + f"Subject: honest {number}\r\n\r\nx", alice, bob)
        assert send(alice, raw)[0] == 250, header
        found = message_from_bytes(alice.wait_for(f"honest {number}"))
        assert f"d={platform.domain};" in found["DKIM-Signature"]


def test_a_parent_or_sub_domain_of_another_is_not_signed_for(platform: Platform) -> None:
    """With DMARC's relaxed alignment, a signature of either domain would vouch for the other."""
    below = f"sub.{platform.domain}"
    for verb in ("create", "activate"):
        platform.service.run("domains", verb, below, "--organization", platform.organization).check_returncode()
    parent = platform.create("alice", user_id="a")
    made = platform.call("POST", "/v2/email-accounts/create", {"domain": below, "local_part": "alice", "user_id": "b"})
    child = Mailbox(platform, made["account"]["id"], made["account"]["address"], made["password"])
    for box, other in ((parent, child), (child, parent)):
        assert send(box, f"From: {other.address}\r\n\r\nx".encode())[0] == 550
        assert send(box, f"From: {box.address}\r\nSender: {other.address}\r\n\r\nx".encode())[0] == 550
        assert send(box, f"From: {box.address}\r\n\r\nx".encode())[0] == 250


def test_a_refusal_says_what_to_do(platform: Platform) -> None:
    alice, bob = platform.create("alice"), platform.create("bob")
    for header, says in (
        ("From: {bob}", "From must be your own address: it is {bob}, which is not yours"),
        ("From: Lee, Alice <{me}>", 'exactly one, as in "Lee, Ann" <ann@example.com>'),
        ('From: "{bob}" <{me}>', "its name shows {bob}, which is not yours"),
        ("From: {me}\r\nFrom: {me}", "there is more than one From field"),
        ("From: {me}\r\nSender: {bob}", "Sender must be your own address"),
    ):
        code, text = send(alice, fill(header + "\r\n\r\nx", alice, bob))
        assert code == 550
        assert fill(says, alice, bob).decode() in text


def test_header_fields_are_not_rewritten_and_missing_ones_are_added(platform: Platform) -> None:
    """Date and Message-ID are added (RFC 6409 8). A display name without quotes stays as it is."""
    alice = platform.create("alice")
    fields = (
        "To: Doe, John <john@elsewhere.example>, root",
        "Cc: undisclosed",
        "Reply-To: Doe, John <john@elsewhere.example>",
        "Subject: as it was",
    )
    raw = "\r\n".join((f"From: Alice <{alice.address}>", *fields, "", "x")).encode()
    assert send(alice, raw)[0] == 250
    found = alice.wait_for("as it was").decode().replace("\r\n", "\n")
    for field in fields:
        assert f"\n{field}\n" in found
    read = message_from_bytes(found.encode())
    assert len(read.get_all("Date", [])) == len(read.get_all("Message-ID", [])) == 1
    assert send(
        alice, b"From: " + alice.address.encode() + b"\r\nDate: x\r\nMessage-ID: <y@z>\r\nSubject: full\r\n\r\nx"
    )
    read = message_from_bytes(alice.wait_for("full"))
    assert (read.get_all("Date"), read.get_all("Message-ID")) == (["x"], ["<y@z>"])


def test_a_bare_carriage_return_begins_no_field(platform: Platform) -> None:
    alice, bob = platform.create("alice"), platform.create("bob")
    raw = fill("From: {me}\r\nSubject: x\rFrom: {bob}\r\nX-Mark: found\r\n\r\nx", alice, bob)
    assert send(alice, raw)[0] == 250
    found = alice.wait_for(f"x From: {bob.address}")
    assert b"\r" not in found.replace(b"\r\n", b"")
    assert message_from_bytes(found).get_all("From") == [alice.address]


def test_what_a_commit_has_changed_counts_at_once(platform: Platform) -> None:
    """An open session whose account was reset can no longer use any sender."""
    alice = platform.create("alice")
    with submission(platform.service, alice.address, alice.password) as client:
        client.send_message(message(alice.address, alice.address, "before"), alice.address, [alice.address])
        alice.reset()
        with pytest.raises(smtplib.SMTPException):
            client.send_message(message(alice.address, alice.address, "after"), alice.address, [alice.address])


@pytest.mark.parametrize("how", ["killed", "stopped"])
def test_nothing_leaves_unchecked_while_the_milter_is_away(platform: Platform, how: str) -> None:
    """While the milter is killed or silent, the answer is 45x. The next attempt after its return
    succeeds."""
    service, alice = platform.service, platform.create("alice")
    alice.send(alice.address, "before")
    assert service.process
    pid = service.pid("milter")
    os.kill(service.process.pid, signal.SIGSTOP)  # so that nothing restarts the milter
    try:
        os.kill(pid, signal.SIGKILL if how == "killed" else signal.SIGSTOP)
        if how == "killed":
            wait_for("/readyz to report the milter", lambda: service.get("/readyz")[1]["parts"]["milter"] != "ok")
        with pytest.raises(smtplib.SMTPResponseException) as refused:
            alice.send(alice.address, "too early")
        assert 450 <= refused.value.smtp_code < 460
    finally:
        if how == "stopped":
            os.kill(pid, signal.SIGCONT)
        os.kill(service.process.pid, signal.SIGCONT)
    wait_for("the return of the milter", service.ready)
    alice.send(alice.address, "later")
    assert alice.wait_for("later")
    assert alice.subjects() == ["before", "later"]


def test_only_postfix_reaches_the_milter(service: Service) -> None:
    folder = service.data / "milter" / "socket"
    assert folder.stat().st_mode & 0o777 == 0o710
    assert folder.group() == "postfix"
    assert folder.stat().st_uid == (service.data / "db").stat().st_uid
    owner = Path("/proc", str(service.pid("milter"))).stat().st_uid
    assert owner == folder.stat().st_uid != 0
