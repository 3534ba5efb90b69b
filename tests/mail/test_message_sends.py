"""Messages sent over HTTP: in Postfix's queue before the answer, signed, counted, each of them
once, with a copy in the mailbox for sent mail."""

from email import message_from_bytes, policy
from typing import Any

from tests.mail.platform import Mailbox, Platform
from tests.mail.reading import by_imap


def send(box: Mailbox, *to: str, **fields: Any) -> Any:
    body = {"to": list(to), "subject": "hello", "text": "Hello.\n", **fields}
    return box.platform.call("POST", f"/v2/email-accounts/{box.id}/messages/send", body)["message"]


def test_it_works(platform: Platform) -> None:
    box, other = platform.create("writer", display_name="Ann Lee"), platform.create("reader")
    sent = send(box, f"Bob <{other.address}>", text="Hällo.\n")
    raw = other.wait_for("hello")
    got = message_from_bytes(raw, policy=policy.default)
    assert (got["Message-ID"], sent["recipients"]) == (sent["rfc_message_id"], [other.address])
    ((uid, copy),) = by_imap(box, "Sent").items()
    assert sent["id"].endswith(f".{uid}")
    assert raw.endswith(copy)
