"""Forwarding and vacation, set over HTTP: in force for the next message, and what they leave
alone."""

from email import message_from_bytes
from typing import Any

from tests.mail.clients import message, smtp
from tests.mail.platform import Mailbox


def forward(box: Mailbox, *targets: str, keep_copy: bool = True, enabled: bool = True) -> None:
    body = {"enabled": enabled, "to": list(targets), "keep_copy": keep_copy}
    box.platform.call("PUT", f"/v2/email-accounts/{box.id}/forwarding", body)


def away(box: Mailbox, text: str = "I am away.", **fields: Any) -> None:
    box.platform.call("PUT", f"/v2/email-accounts/{box.id}/vacation", {"enabled": True, "text": text, **fields})


def send_raw(box: Mailbox, sender: str, **headers: str) -> None:
    made = message("someone@elsewhere.example", headers.pop("To", box.address), headers.pop("Subject"))
    for name, value in headers.items():
        made[name.replace("_", "-")] = value
    with smtp(box.platform.service) as client:
        client.send_message(made, sender, [box.address])


def test_it_works(alice: Mailbox, target: Mailbox) -> None:
    """Each change is in force for the next message after the answer."""
    for number in range(3):
        forward(alice, target.address)
        alice.receive(f"with a copy {number}")
        forward(alice, target.address, keep_copy=False)
        alice.receive(f"without {number}")
        forward(alice, target.address, enabled=False)
        alice.receive(f"off {number}")
    for number in range(3):
        found = message_from_bytes(target.wait_for(f"with a copy {number}"))
        assert found["Return-Path"] == f"<{alice.address}>"
        assert found["From"] == "someone@elsewhere.example"
        assert target.wait_for(f"without {number}")
        assert alice.wait_for(f"with a copy {number}")
        assert alice.wait_for(f"off {number}")
    assert len(alice.subjects()) == 6
    assert len(target.subjects()) == 6


def test_a_vacation(alice: Mailbox, bob: Mailbox) -> None:
    away(alice, 'Away "until" Monday.\n${1} \\ Grüße', subject="Not here")
    bob.send(alice.address, "question")
    reply = message_from_bytes(bob.wait_for("Not here"))
    assert reply["From"] == f"<{alice.address}>"
    assert reply["Return-Path"] == "<>"
    assert reply["DKIM-Signature"]
    assert reply["Auto-Submitted"].startswith("auto-replied")
    text = reply.get_payload(decode=True)
    assert isinstance(text, bytes)
    assert text.decode().splitlines() == ['Away "until" Monday.', "${1} \\ Grüße"]
    assert alice.wait_for("question")
