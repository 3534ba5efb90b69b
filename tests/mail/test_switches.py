"""Switches over real IMAP, POP3, submission and ManageSieve, on both engines."""

import smtplib
from typing import Any

import pytest

from tests.mail.clients import submission
from tests.mail.platform import Mailbox
from tests.mail.sessions import PROTOCOLS, Session, works

SHOWN = "?fields=protocols,main_password,sessions_ended"


def app_password(mailbox: Mailbox, *scopes: str) -> str:
    body = {"name": "phone", "scopes": list(scopes or PROTOCOLS)}
    path = f"/v2/email-accounts/{mailbox.id}/app-passwords/create"
    return str(mailbox.platform.call("POST", path, body)["password"])


def switch(mailbox: Mailbox, **body: Any) -> Any:
    return mailbox.platform.call("PUT", f"/v2/email-accounts/{mailbox.id}{SHOWN}", body)["account"]


def sessions(mailbox: Mailbox, *passwords: str) -> dict[tuple[str, int], Session]:
    return {(name, at): Session(mailbox, name, one) for name in PROTOCOLS for at, one in enumerate(passwords)}


def left(found: dict[tuple[str, int], Session]) -> list[tuple[str, int]]:
    return [one for one, session in found.items() if session.is_open()]


def test_a_protocol(alice: Mailbox) -> None:
    """Every password loses it and its sessions end, and no other session does."""
    phone = app_password(alice)
    found = sessions(alice, alice.password, phone)
    assert switch(alice, protocols={"pop3": False, "sieve": False})["sessions_ended"] is True
    assert left(found) == [("imap", 0), ("imap", 1), ("smtp", 0), ("smtp", 1)]
    assert works(alice, alice.password) == works(alice, phone) == ["imap", "smtp"]
    assert works(alice, app_password(alice, "pop3", "imap")) == ["imap"]
    assert switch(alice, protocols={"smtp": False})["sessions_ended"] is True
    assert left({one: session for one, session in found.items() if one[0] in ("imap", "smtp")}) == [
        ("imap", 0),
        ("imap", 1),
    ]
    assert works(alice, phone) == ["imap"]
    switch(alice, protocols={"imap": False, "pop3": True})
    assert left({one: session for one, session in found.items() if one[0] == "imap"}) == []
    assert works(alice, alice.password) == ["pop3"]
    switch(alice, protocols=dict.fromkeys(PROTOCOLS, True))
    assert works(alice, alice.password) == works(alice, phone) == list(PROTOCOLS)


def test_the_main_password(alice: Mailbox) -> None:
    """App passwords and their sessions stay. A reset gives a password with which nobody logs in."""
    phone = app_password(alice)
    found = sessions(alice, alice.password, phone)
    assert switch(alice, main_password=False)["sessions_ended"] is True
    assert left(found) == [(name, 1) for name in PROTOCOLS]
    assert works(alice, alice.password) == []
    new = alice.reset().password
    assert works(alice, new) == []
    assert works(alice, phone) == list(PROTOCOLS)
    switch(alice, main_password=True)
    assert works(alice, new) == list(PROTOCOLS)


@pytest.mark.parametrize("body", [{"protocols": {"smtp": False}}, {"main_password": False}], ids=["smtp", "main"])
def test_submission(alice: Mailbox, body: dict[str, Any]) -> None:
    """A message that is under way is not taken. The refusal reads like that of a wrong password,
    also for a suspended account."""
    service = alice.platform.service
    session = submission(service, alice.address, alice.password)
    session.mail(alice.address)
    assert session.rcpt(alice.address)[0] == 250
    switch(alice, **body)
    assert session.data(b"Subject: x\r\n\r\nx\r\n")[0] == 421
    answers = set()
    for status in ("active", "suspended"):
        switch(alice, status=status)
        for password in (alice.password, alice.password + "x"):
            with pytest.raises(smtplib.SMTPAuthenticationError) as refused:
                submission(service, alice.address, password)
            answers.add((refused.value.smtp_code, str(refused.value.smtp_error)))
    assert len(answers) == 1
    assert answers.pop()[0] == 535


def test_made_without(alice: Mailbox) -> None:
    made = alice.platform.create("made", protocols={"imap": False}, main_password=True)
    assert works(made, made.password) == ["pop3", "smtp", "sieve"]
