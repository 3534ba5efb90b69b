"""Forwards by Sieve scripts: which messages leave, which stay in the INBOX, and how they end."""

from email import message_from_bytes

import pytest

from postroom.milter.sieve import MOST_FORWARDS
from tests.harness import mail_queue
from tests.harness.service import wait_for
from tests.mail.clients import deliver, message, smtp
from tests.mail.platform import Mailbox, nothing_came


def test_a_forward_has_its_owners_envelope_and_is_not_signed(alice: Mailbox, target: Mailbox) -> None:
    alice.put_script(f'redirect "{target.address}";'.encode())
    alice.receive("from outside")
    found = message_from_bytes(target.wait_for("from outside"))
    assert found["Return-Path"] == f"<{alice.address}>"
    assert found["From"] == "someone@elsewhere.example"
    assert "DKIM-Signature" not in found


CHANGES = (
    ("unchanged", b"", b""),
    ("Subject", b"Subject: signed", b"Subject: forged"),
    ("the body", b"Hello.", b"Hullo."),
    ("a longer body", b"Hello.", b"Hello.\r\nand more"),
    ("From", b"From: bob@", b"From: carol@"),
    ("a second From", b"From: bob@", b"From: ceo@elsewhere.example\r\nFrom: bob@"),
    ("an added Reply-To", b"Subject: signed", b"Reply-To: ceo@elsewhere.example\r\nSubject: signed"),
    ("the body hash", b"bh=", b"bh=A"),
    ("the domain", b"d=p", b"d=x.p"),
    ("a part of the body", b"c=relaxed/relaxed;", b"c=relaxed/relaxed; l=0;"),
    ("the selector", b"s=pr", b"s=qr"),
)


def test_a_forward_of_what_we_have_signed_leaves(alice: Mailbox, bob: Mailbox, target: Mailbox) -> None:
    """The message is from another customer and has a signature. If it was changed in transit, it
    stays in the INBOX."""
    alice.put_script(f'redirect "{target.address}";'.encode())
    # Each message has its own Message-ID, because Dovecot does not forward a duplicate.
    for number, (_, old, new) in enumerate(CHANGES):
        bob.send(target.address, f"signed {number}")
        raw = target.wait_for(f"signed {number}")
        assert old in raw
        with smtp(alice.platform.service) as client:
            client.sendmail("evil@elsewhere.example", [alice.address], raw.replace(old, new, 1))
    wait_for("the mail that stays", lambda: len(alice.subjects()) == len(CHANGES) - 1)
    came = nothing_came(target, bob)
    assert came.count("signed 0") == 2
    assert len(came) == len(CHANGES) + 1


def test_a_forward_of_a_forged_neighbour_stays_in_the_inbox(alice: Mailbox, bob: Mailbox, target: Mailbox) -> None:
    script = f'require ["fileinto", "mailbox"]; redirect "{target.address}"; fileinto :create "Filed";'
    alice.put_script(script.encode())
    raw = message(bob.address, alice.address, "pretended").as_bytes()
    with smtp(alice.platform.service) as client:
        client.sendmail("evil@elsewhere.example", [alice.address], raw)
    kept = message_from_bytes(alice.wait_for("pretended"))
    assert "X-Sieve-Redirected-From" not in kept
    with alice.login() as imap:
        assert imap.select("Filed", readonly=True) == ("OK", [b"1"])
    assert nothing_came(target, bob) == []


def test_a_bounce_is_not_forwarded(alice: Mailbox, target: Mailbox) -> None:
    """The forwarded bounce could bounce again, without a sender to return it to."""
    alice.put_script(f'redirect "{target.address}";'.encode())
    with smtp(alice.platform.service) as client:
        client.sendmail("", [alice.address], message("mailer@elsewhere.example", alice.address, "bounce").as_bytes())
    assert alice.wait_for("bounce")


def test_a_forward_to_a_closed_mailbox_stays_in_the_inbox(alice: Mailbox, target: Mailbox) -> None:
    alice.put_script(f'redirect "{target.address}";'.encode())
    target.update(status="disabled")
    alice.receive("nobody there")
    assert alice.wait_for("nobody there")


@pytest.mark.parametrize(
    "recipient",
    [
        "x@-bad-.example",
        f"x@{'a' * 64}.example",
        "x@127.0.0.1",
        "x@\xfc.example",
        f"x@{'a.' * 130}example",
    ],
)
def test_a_forward_to_what_is_no_address_stays_in_the_inbox(alice: Mailbox, recipient: str) -> None:
    """Postfix refuses the address although the script compiles. Dovecot would try again for days
    and delay the mail."""
    alice.put_script(f'redirect "{recipient}";'.encode())
    alice.receive("forwarded to nobody")
    kept = message_from_bytes(alice.wait_for("forwarded to nobody"))
    assert "X-Sieve-Redirected-From" not in kept


def test_what_is_forwarded_too_often_stays_in_the_inbox(alice: Mailbox, target: Mailbox) -> None:
    """Scripts of several accounts could otherwise create copies without a bound."""
    alice.put_script(f'redirect "{target.address}";'.encode())
    for before in (MOST_FORWARDS - 1, MOST_FORWARDS):
        fields = "".join(f"X-Sieve-Redirected-From: a{number}@elsewhere.example\r\n" for number in range(before))
        raw = f"{fields}From: x@elsewhere.example\r\nSubject: after {before}\r\n\r\nx"
        with smtp(alice.platform.service) as client:
            client.sendmail("x@elsewhere.example", [alice.address], raw)
    assert alice.wait_for(f"after {MOST_FORWARDS}")
    assert target.wait_for(f"after {MOST_FORWARDS - 1}")
    assert alice.subjects() == [f"after {MOST_FORWARDS}"]


@pytest.mark.parametrize("grows", [False, True])
@pytest.mark.parametrize("alone", [False, True])
def test_forwards_in_a_circle_end_and_the_mail_is_there(alice: Mailbox, bob: Mailbox, alone: bool, grows: bool) -> None:
    """With a tag that grows each time, Dovecot finds no duplicate."""
    for box, other in ((alice, alice),) if alone else ((alice, bob), (bob, alice)):
        script = 'require ["envelope", "subaddress", "variables"];'
        script += 'if envelope :detail :matches "to" "*" { set "d" "${1}"; }'
        for tag in ("+1${d}", "+2${d}") if grows else ("",):
            script += f'redirect "{other.address.replace("@", f"{tag}@")}";'
        box.put_script(script.encode())
    alice.receive("round")
    assert alice.wait_for("round")
    wait_for("an empty queue", lambda: mail_queue.queued(alice.platform.service) == "")
    assert len(alice.subjects()) <= 4
    assert bob.subjects() == []


def test_mail_of_a_script_waits_while_the_milter_is_away(alice: Mailbox, target: Mailbox) -> None:
    """Dovecot defers the delivery. No mail leaves unchecked, and none is lost."""
    service = alice.platform.service
    alice.put_script(f'redirect "{target.address}";'.encode())
    socket_ = service.data / "milter" / "socket" / "forwards"
    hidden = socket_.with_name("hidden")
    socket_.rename(hidden)
    try:
        deliver(service, "someone@elsewhere.example", alice.address, "patience")
        log = service.data / "log" / "postfix.log"
        wait_for("the deferred delivery", lambda: f"to=<{alice.id}@acct.internal>" in log.read_text())
    finally:
        hidden.rename(socket_)
    mail_queue.flush(service)
    assert target.wait_for("patience")
    assert alice.subjects() == []


def test_a_forward_is_the_message_as_it_came(alice: Mailbox, target: Mailbox) -> None:
    """This includes lines that look like an internal name, and the largest accepted number of
    Received fields."""
    alice.put_script(f'redirect "{target.address}";'.encode())
    hops = "".join(f"Received: from a by b; hop {number}\r\n" for number in range(47))
    head = f"{hops}From: a@elsewhere.example\r\nSubject: as it came\r\n\r\n"
    lines = [f"{alice.id}@acct.internal", f" x {alice.id}@acct.internal", "7@acct.internal and 8@acct.internal"]
    with smtp(alice.platform.service) as client:
        client.sendmail("a@elsewhere.example", [alice.address], (head + "\r\n".join(lines)).encode())
    found = target.wait_for("as it came").partition(b"\r\n\r\n")[2]
    assert found.split(b"\r\n")[:3] == [line.encode() for line in lines]
    assert alice.subjects() == []
