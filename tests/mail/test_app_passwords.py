"""App passwords over real IMAP, POP3, submission and ManageSieve."""

from typing import Any

from tests.mail.platform import Mailbox


def create(mailbox: Mailbox, **fields: Any) -> tuple[int, str]:
    """Makes an app password. Returns its id and the password."""
    body = {"name": "phone", "scopes": ["imap", "pop3", "smtp", "sieve"]} | fields
    answer = mailbox.platform.call("POST", f"/v2/email-accounts/{mailbox.id}/app-passwords/create", body)
    return answer["app_password"]["id"], answer["password"]


def test_it_works(alice: Mailbox) -> None:
    _, password = create(alice)
    assert alice.can_login(password)
    assert alice.can_login()
    assert not alice.can_login(password + "b")
