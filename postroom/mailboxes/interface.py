"""What only Dovecot knows about an account: the size of its mailbox, its open sessions, and
whether a password is right.

None of this is in the database. Dovecot is asked about one account at a time, when an actor
requests the data.
"""

from typing import Literal, Protocol

import msgspec

from postroom.errors import Refused

ServiceName = Literal["imap", "pop3", "managesieve"]


class Size(msgspec.Struct, frozen=True):
    """The mail of an account in all its folders."""

    used_bytes: int
    messages: int


class Usage(Size, frozen=True):
    """The size of a mailbox, and whether its active Sieve script redirects mail."""

    forwards_by_script: bool = False


class OpenSession(msgspec.Struct, frozen=True):
    """One connection that has logged in; `protocol` is `imap`, `pop3` or `managesieve`."""

    protocol: ServiceName
    client_address: str


class SignIn(msgspec.Struct, frozen=True):
    """The account of a right password, and its generation. `refusal` says why the account may not
    log in now; None if it may."""

    account_id: int
    generation: int
    refusal: str | None = None


class Mailboxes(Protocol):
    """Injected at the start. The methods raise `mail_off`, MailUnavailable, and not_found if the
    account does not exist."""

    async def count(self, account_id: int, /) -> Size: ...

    async def usage(self, account_id: int, /) -> Usage: ...

    async def sessions(self, account_id: int, /) -> list[OpenSession]: ...

    async def sign_in(self, address: str, password: str, client_address: str, /) -> SignIn | None:
        """The account of this address and main password; None if they are wrong. Counts like a
        login from `client_address`."""
        ...


class NoMailboxes:
    """The mailboxes of an instance that runs without mail."""

    async def count(self, _account_id: int, /) -> Size:
        raise _mail_off()

    async def usage(self, _account_id: int, /) -> Usage:
        raise _mail_off()

    async def sessions(self, _account_id: int, /) -> list[OpenSession]:
        raise _mail_off()

    async def sign_in(self, _address: str, _password: str, _client_address: str, /) -> SignIn | None:
        raise _mail_off()


def _mail_off() -> Refused:
    return Refused("mail_off", "This instance runs without mail: POSTROOM_MAIL is off.")
