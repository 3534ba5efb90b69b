"""Quotas through real SMTP, IMAP and POP3: a full mailbox is refused at the door."""

from tests.harness.service import wait_for
from tests.mail.clients import message, refusal, smtp
from tests.mail.platform import Mailbox, Platform

KB = 1000


def deliver_large(mailbox: Mailbox, size: int, subject: str = "large") -> None:
    """Delivers a message with a body of about `size` bytes by SMTP from outside."""
    made = message("someone@elsewhere.example", mailbox.address, subject)
    made.set_content("x" * 70 + "\n" + ("y" * 79 + "\n") * (size // 80))
    with smtp(mailbox.platform.service) as client:
        client.send_message(made, "someone@elsewhere.example", [mailbox.address])


def test_it_works(platform: Platform) -> None:
    bob = platform.create("bob", quota_bytes=100 * KB)
    deliver_large(bob, 120 * KB, "the last")
    bob.wait_for("the last")
    full = wait_for("a full mailbox", lambda: (found := refusal(platform.service, bob.address))[0] != 250 and found)
    assert full == (552, f"5.2.2 <{bob.address}>: Recipient address rejected: The mailbox is full")
