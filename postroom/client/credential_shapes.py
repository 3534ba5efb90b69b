"""The answers of the API about app passwords, setup links and mail tokens.

Generated from the server's structs by tests/client/make.py (decision 0194): do not edit.
"""

from datetime import datetime

from postroom.client.shape import Shape
from postroom.client.shapes import MailServer


class SetupLink(Shape, frozen=True):
    """Only this answer has the link."""

    setup_url: str
    setup_expires_at: datetime
    note: str


class SetupLook(Shape, frozen=True):
    address: str
    expires_at: datetime


class SetupDone(Shape, frozen=True):
    """What the owner enters in a mail client. `profile` is Apple's, without the password; null if
    neither IMAP nor POP3 is on."""

    address: str
    imap: list[MailServer]
    pop3: list[MailServer]
    submission: list[MailServer]
    managesieve: list[MailServer]
    profile: str | None


class AppPassword(Shape, frozen=True):
    """An app password, without its secret."""

    id: int
    name: str
    scopes: tuple[str, ...]
    networks: tuple[str, ...] | None
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    last_used_protocol: str | None


class AppPasswordWithSecret(Shape, frozen=True):
    """Only this call's answer has the password."""

    app_password: AppPassword
    password: str
    note: str


class AppPasswords(Shape, frozen=True):
    """The app passwords of an account, the oldest first."""

    id: int
    address: str
    app_passwords: list[AppPassword]


class AppPasswordName(Shape, frozen=True):
    id: int
    name: str
    sessions_ended: bool


class DeletedAppPassword(Shape, frozen=True):
    deleted: AppPasswordName


class MailToken(Shape, frozen=True):
    """Only this answer has the token."""

    token: str
    scopes: tuple[str, ...]
    expires_at: datetime
