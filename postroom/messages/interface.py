"""What the API asks about the messages of an account. The account is one that exists: its row was
read before."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol

import msgspec

from postroom.errors import Refused, not_found
from postroom.messages.pages import MessagePage, Wanted
from postroom.messages.parsed import ParsedMessage

# The largest UID and UIDVALIDITY (RFC 9051, 2.3.1.1).
LARGEST_NUMBER = 2**32 - 1


class Mailbox(msgspec.Struct, frozen=True):
    """A mailbox (a folder) of an account. `special_use` is what the mailbox is for (RFC
    6154), or None."""

    mailbox: str
    special_use: str | None
    messages: int
    unseen: int
    uidvalidity: int
    uidnext: int
    highestmodseq: int


class MessageId(msgspec.Struct, frozen=True):
    """The number of a message in its mailbox, and the number of the mailbox: if that has changed,
    it is another mailbox of the same name."""

    uidvalidity: int
    uid: int


def message_id_of(text: str) -> MessageId:
    """Reads `<uidvalidity>.<uid>`. Raises not_found."""
    halves = text.split(".")
    if len(halves) != 2 or not all(half.isascii() and half.isdigit() and len(half) <= 10 for half in halves):
        raise not_found()
    numbers = [int(half) for half in halves]
    if not all(0 < number <= LARGEST_NUMBER for number in numbers) or text != f"{numbers[0]}.{numbers[1]}":
        raise not_found()
    return MessageId(*numbers)


class Found(msgspec.Struct, frozen=True):
    """A parsed message, and when it was received (RFC 3339, UTC)."""

    parsed: ParsedMessage
    received_at: str


@dataclass(frozen=True)
class Content:
    """Bytes that are sent piece by piece."""

    size: int
    pieces: AsyncIterator[bytes]
    filename: str | None = None


class Messages(Protocol):
    """Injected at the start. The methods raise `mail_off`, MailUnavailable, and not_found if there
    is no such mailbox, message or attachment."""

    async def mailboxes(self, account_id: int, /) -> list[Mailbox]: ...

    async def page(self, account_id: int, wanted: Wanted, /) -> MessagePage: ...

    async def get(self, account_id: int, mailbox: str, id_: MessageId, /) -> Found: ...

    async def raw(self, account_id: int, mailbox: str, id_: MessageId, /) -> Content: ...

    async def attachment(self, account_id: int, mailbox: str, id_: MessageId, part: str, /) -> Content: ...


class NoMessages:
    """The messages of an instance that runs without mail."""

    async def mailboxes(self, _account_id: int, /) -> list[Mailbox]:
        raise _mail_off()

    async def page(self, _account_id: int, _wanted: Wanted, /) -> MessagePage:
        raise _mail_off()

    async def get(self, _account_id: int, _mailbox: str, _id: MessageId, /) -> Found:
        raise _mail_off()

    async def raw(self, _account_id: int, _mailbox: str, _id: MessageId, /) -> Content:
        raise _mail_off()

    async def attachment(self, _account_id: int, _mailbox: str, _id: MessageId, _part: str, /) -> Content:
        raise _mail_off()


def _mail_off() -> Refused:
    return Refused("mail_off", "This instance runs without mail: POSTROOM_MAIL is off.")
