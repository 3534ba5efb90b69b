"""What only Dovecot knows about an account: the size of its mailbox, and its open sessions.

None of this is in the database. Dovecot is asked about one account at a time, when an actor
requests the data.
"""

from typing import Literal, Protocol

import msgspec

from postroom.errors import Refused

ServiceName = Literal["imap", "pop3", "managesieve"]


class Usage(msgspec.Struct, frozen=True):
    """The mail of an account in all its folders, and whether its active Sieve script redirects
    mail."""

    used_bytes: int
    messages: int
    forwards_by_script: bool = False


class OpenSession(msgspec.Struct, frozen=True):
    """One connection that has logged in; `protocol` is `imap`, `pop3` or `managesieve`."""

    protocol: ServiceName
    client_address: str


class Mailboxes(Protocol):
    """Injected at the start. Both methods raise `mail_off`, MailUnavailable, and not_found if the
    account does not exist."""

    async def usage(self, account_id: int, /) -> Usage: ...

    async def sessions(self, account_id: int, /) -> list[OpenSession]: ...


class NoMailboxes:
    """The mailboxes of an instance that runs without mail."""

    async def usage(self, _account_id: int, /) -> Usage:
        raise _mail_off()

    async def sessions(self, _account_id: int, /) -> list[OpenSession]:
        raise _mail_off()


def _mail_off() -> Refused:
    return Refused("mail_off", "This instance runs without mail: POSTROOM_MAIL is off.")
