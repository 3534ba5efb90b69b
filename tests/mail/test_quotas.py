"""Quotas through real SMTP, IMAP and POP3. Mail for a full mailbox is refused at the door, and a
message that was taken is not returned."""

import os
import signal
import smtplib
from typing import Any

import pytest

from tests.harness import mail_queue
from tests.harness.service import wait_for
from tests.harness.stopped_worker import stop_the_worker
from tests.mail.clients import HOST, Pop3, message, refusal, smtp, submission
from tests.mail.platform import Mailbox, Platform

KB = 1000
FULL = "5.2.2 <{}>: Recipient address rejected: The mailbox is full"


def body(size: int) -> str:
    return ("y" * 79 + "\n") * (size // 80)


def receive(mailbox: Mailbox, size: int, subject: str = "large") -> None:
    """Delivers a message with a body of about `size` bytes by SMTP from outside, and waits for
    it."""
    send(mailbox, size, subject)
    mailbox.wait_for(subject)


def send(mailbox: Mailbox, size: int, subject: str) -> None:
    made = message("someone@elsewhere.example", mailbox.address, subject)
    made.set_content(body(size))
    with smtp(mailbox.platform.service) as client:
        client.send_message(made, "someone@elsewhere.example", [mailbox.address])


def refused(mailbox: Mailbox) -> bool:
    """Whether Postfix refuses mail for the mailbox because it is full."""
    code, text = refusal(mailbox.platform.service, mailbox.address)
    assert (code, text) == (552, FULL.format(mailbox.address)) or code == 250, text
    return code == 552


def wait_until_full(mailbox: Mailbox) -> None:
    wait_for("a full mailbox", lambda: refused(mailbox))


def wait_until_open(mailbox: Mailbox) -> None:
    wait_for("room in the mailbox", lambda: not refused(mailbox))


def empty(mailbox: Mailbox) -> None:
    with mailbox.login() as imap:
        imap.select("INBOX")
        imap.store("1:*", "+FLAGS", r"(\Deleted)")
        imap.expunge()


def events(mailbox: Mailbox) -> list[tuple[str, int | None]]:
    """The events about the mailbox's quota, each with its percentage."""
    found = mailbox.platform.call("GET", f"/v2/events?account_id={mailbox.id}&limit=500", None)["items"]
    return [(e["type"].removeprefix("account."), e["data"].get("percent")) for e in found if "quota" in e["type"]]


def usage(mailbox: Mailbox) -> dict[str, Any]:
    found: dict[str, Any] = mailbox.platform.call("GET", f"/v2/email-accounts/{mailbox.id}/usage", None)
    return found


def test_it_works(platform: Platform, alice: Mailbox) -> None:
    """A mailbox fills, refuses mail from outside and inside, and takes mail again once it has
    room."""
    bob = platform.create("bob", quota_bytes=100 * KB)
    receive(bob, 50 * KB, "first")
    assert events(bob) == []
    receive(bob, 90 * KB, "the last")  # larger than the room that is left
    wait_until_full(bob)
    with submission(platform.service, alice.address, alice.password) as client:
        client.mail(alice.address)
        assert client.rcpt(bob.address) == (552, FULL.format(bob.address).encode())
    found = usage(bob)
    assert found["used_bytes"] > found["quota_bytes"] == 100 * KB
    assert (found["quota_messages"], found["over_quota"]) == (None, True)
    assert events(bob) == [("over_quota", None)]
    empty(bob)
    wait_until_open(bob)
    receive(bob, KB, "again")
    assert events(bob) == [("over_quota", None), ("under_quota", None)]
    assert not usage(bob)["over_quota"]


def test_a_number_of_messages(platform: Platform) -> None:
    bob = platform.create("bob", quota_messages=2)
    receive(bob, KB, "one")
    assert not refused(bob)
    receive(bob, KB, "two")
    wait_until_full(bob)
    pop3 = Pop3(HOST, platform.service.ports["pop3s_port"])
    pop3.user(bob.address)
    pop3.pass_(bob.password)
    pop3.dele(1)
    pop3.quit()
    wait_until_open(bob)
    receive(bob, KB, "three")
    wait_until_full(bob)
    assert bob.subjects() == ["two", "three"]


def test_a_change_is_in_force_at_the_answer(platform: Platform) -> None:
    bob = platform.create("bob")
    receive(bob, 50 * KB)
    for number in range(20):
        bob.update(quota_bytes=40 * KB)
        assert refused(bob)
        bob.update(**({"quota_bytes": 100 * KB} if number % 2 else {"quota_bytes": None}))
        assert not refused(bob)
        bob.update(quota_messages=1)
        assert refused(bob)
        bob.update(quota_messages=None)
        assert not refused(bob)
    assert events(bob) == [("over_quota", None), ("under_quota", None)] * 40


def test_warnings(platform: Platform) -> None:
    """At 80 and at 95 percent; again only after the mailbox was below 75 percent."""
    bob = platform.create("bob", quota_messages=20)

    def fill(messages: int) -> None:
        with bob.login() as imap:
            for _ in range(messages):
                assert imap.append("INBOX", "", "", b"Subject: x\r\n\r\nx\r\n")[0] == "OK"

    def drop(messages: int) -> None:
        with bob.login() as imap:
            imap.select("INBOX")
            imap.store(f"1:{messages}", "+FLAGS", r"(\Deleted)")
            imap.expunge()

    def level() -> int:
        found = platform.sql("SELECT quota_level FROM accounts WHERE id = :id", id=bob.id)
        return int(found[0][0])

    fill(15)
    fill(1)
    wait_for("a warning", lambda: events(bob) == [("quota_warning", 80)])
    fill(3)
    wait_for("a warning", lambda: events(bob) == [("quota_warning", 80), ("quota_warning", 95)])
    drop(4)  # 15 left, which is 75 percent
    fill(4)
    drop(5)
    wait_for("the end of the warnings", lambda: level() == 0)
    assert len(events(bob)) == 2
    fill(5)
    wait_for("a warning", lambda: events(bob)[2:] == [("quota_warning", 95)])


def test_imap(platform: Platform) -> None:
    """Mail programs see the quota, and cannot store more."""
    bob = platform.create("bob", quota_bytes=100 * 1024, quota_messages=10)
    with bob.login() as imap:
        assert imap.append("INBOX", "", "", body(50 * 1024).encode())[0] == "OK"
        kind, found = imap.getquotaroot("INBOX")
        assert (kind, found[0]) == ("OK", [b"INBOX Mailbox"])
        assert found[1] == [b"Mailbox (STORAGE 51 100 MESSAGE 1 10)"]
        kind, text = imap.append("INBOX", "", "", body(60 * 1024).encode())
        assert kind == "NO"
        assert text[0].startswith(b"[OVERQUOTA]")
        assert imap.setquota("Mailbox", "(STORAGE 1000000)")[0] == "NO"
        bob.update(quota_bytes=500 * 1024)
    with bob.login() as imap:  # in force for the next session
        assert imap.append("INBOX", "", "", body(60 * 1024).encode())[0] == "OK"
    free = platform.create("free")
    with free.login() as imap:
        assert imap.getquotaroot("INBOX")[1][1] in ([b"Mailbox ()"], [None])


def test_a_message_that_was_taken_waits(platform: Platform) -> None:
    """Mail that arrives before the worker knows that the mailbox is full waits in the queue, and is
    neither lost nor returned."""
    bob = platform.create("bob", quota_messages=1)
    worker = stop_the_worker(platform.service)
    try:
        receive(bob, KB, "first")
        send(bob, KB, "second")
        wait_for("a message that waits", lambda: "Quota exceeded" in mail_queue.queued(platform.service))
        assert f"{bob.id}@acct.internal" in mail_queue.queued(platform.service)
    finally:
        os.kill(worker, signal.SIGCONT)
    wait_until_full(bob)
    bob.update(quota_messages=5)
    mail_queue.flush(platform.service)
    bob.wait_for("second")


def test_a_warning_while_the_worker_is_away(platform: Platform) -> None:
    """A new worker reads the warnings that no worker has read."""
    bob = platform.create("bob", quota_messages=1)
    worker = stop_the_worker(platform.service)
    receive(bob, KB)
    os.kill(worker, signal.SIGKILL)
    wait_until_full(bob)


def test_a_reply_to_a_full_mailbox_is_dropped(platform: Platform) -> None:
    """A script's reply does not defer the mail that it answers."""
    full, bob = platform.create("full", quota_messages=1), platform.create("bob")
    receive(full, KB)
    wait_until_full(full)
    bob.put_script(b'require "vacation"; vacation "away";')
    full.send(bob.address, "question")
    bob.wait_for("question")
    assert full.subjects() == ["large"]


def test_the_size_of_a_command_is_no_way_around(platform: Platform) -> None:
    """Several recipients in one message: only the full one is refused."""
    full, bob = platform.create("full", quota_messages=1), platform.create("bob")
    receive(full, KB)
    wait_until_full(full)
    with smtp(platform.service) as client:
        made = message("someone@elsewhere.example", bob.address, "both")
        told = client.send_message(made, "someone@elsewhere.example", [full.address, bob.address])
    assert told == {full.address: (552, FULL.format(full.address).encode())}
    bob.wait_for("both")
    with pytest.raises(smtplib.SMTPRecipientsRefused):
        send(full, KB, "alone")
