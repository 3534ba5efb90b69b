"""What Dovecot alone knows of an account: how large its mailbox is, and who is logged in to it now.

Nothing of this is in the database. It is asked for one account at a time, when somebody
wants to know.
"""

from typing import Literal, Protocol

import msgspec

from postroom.errors import Refused

ServiceName = Literal["imap", "pop3", "managesieve"]


class Usage(msgspec.Struct, frozen=True):
    """The mail of an account, in all its folders, and whether the Sieve script that runs now
    redirects its mail."""

    used_bytes: int
    messages: int
    forwards_by_script: bool = False


class OpenSession(msgspec.Struct, frozen=True):
    """One connection that has logged in; `protocol` is `imap`, `pop3` or `managesieve`."""

    protocol: ServiceName
    client_address: str


class Mailboxes(Protocol):
    """Injected at the start. Both methods raise `mail_off`, MailUnavailable, and not_found for an
    account that does not exist."""

    async def usage(self, account_id: int, /) -> Usage: ...

    async def sessions(self, account_id: int, /) -> list[OpenSession]: ...


class NoMailboxes:
    """Of an instance that runs without mail."""

    async def usage(self, _account_id: int, /) -> Usage:
        raise _mail_off()

    async def sessions(self, _account_id: int, /) -> list[OpenSession]:
        raise _mail_off()


def _mail_off() -> Refused:
    return Refused("mail_off", "This instance runs without mail: POSTROOM_MAIL is off.")
