"""What the API asks about the messages of an account. The account is one that exists: its row was
read before."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import IO, Protocol

import msgspec

from postroom.errors import Refused
from postroom.messages.edits import Deletion, Edit, Edited
from postroom.messages.imap_session import MessagePlace
from postroom.messages.mailbox_watch import Follower
from postroom.messages.message_ids import MessageId
from postroom.messages.pages import MessagePage, Wanted
from postroom.messages.parsed import ParsedMessage
from postroom.messages.sync import Synced, Token


class Mailbox(msgspec.Struct, frozen=True):
    """A mailbox (a folder) of an account. `special_use` is what the mailbox is for (RFC
    6154), or None."""

    mailbox: str
    special_use: str | None
    messages: int
    unseen: int
    uidvalidity: str
    uidnext: int
    highestmodseq: int


class Found(msgspec.Struct, frozen=True):
    """A parsed message, and when it was received (RFC 3339, UTC)."""

    parsed: ParsedMessage
    received_at: str


@dataclass(frozen=True, eq=False)
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

    async def get(self, account_id: int, mailbox: str, id_: MessageId, /, *, is_hidden: bool = False) -> Found: ...

    async def raw(self, account_id: int, mailbox: str, id_: MessageId, /) -> Content: ...

    async def attachment(self, account_id: int, mailbox: str, id_: MessageId, part: str, /) -> Content: ...

    async def whole(self, account_id: int, mailbox: str, uid: int, /) -> Content:
        """The message as JSON (whole_message.py)."""
        ...

    async def save_sent(
        self, account_id: int, file: IO[bytes], message_id: str, looks_first: bool, /
    ) -> MessagePlace | None:
        """Stores the message in the file, as read, where the account keeps sent mail; with
        `looks_first`, only if it is not there yet. None: it is not stored."""

    async def edit(self, account_id: int, mailbox: str, id_: MessageId, wanted: Edit, /) -> Edited: ...

    async def delete(self, account_id: int, mailbox: str, ids: Sequence[MessageId], purges: bool, /) -> Deletion: ...

    async def sync(self, account_id: int, mailbox: str, uidvalidity: str, token: Token, /) -> Synced: ...

    async def follow(self, account_id: int, /) -> Follower: ...


class NoMessages:
    """The messages of an instance that runs without mail."""

    async def mailboxes(self, _account_id: int, /) -> list[Mailbox]:
        raise _mail_off()

    async def page(self, _account_id: int, _wanted: Wanted, /) -> MessagePage:
        raise _mail_off()

    async def get(self, _account_id: int, _mailbox: str, _id: MessageId, /, *, is_hidden: bool = False) -> Found:  # noqa: ARG002
        raise _mail_off()

    async def raw(self, _account_id: int, _mailbox: str, _id: MessageId, /) -> Content:
        raise _mail_off()

    async def attachment(self, _account_id: int, _mailbox: str, _id: MessageId, _part: str, /) -> Content:
        raise _mail_off()

    async def whole(self, _account_id: int, _mailbox: str, _uid: int, /) -> Content:
        raise _mail_off()

    async def save_sent(
        self, _account_id: int, _file: IO[bytes], _message_id: str, _looks_first: bool, /
    ) -> MessagePlace | None:
        raise _mail_off()

    async def edit(self, _account_id: int, _mailbox: str, _id: MessageId, _wanted: Edit, /) -> Edited:
        raise _mail_off()

    async def delete(self, _account_id: int, _mailbox: str, _ids: Sequence[MessageId], _purges: bool, /) -> Deletion:
        raise _mail_off()

    async def sync(self, _account_id: int, _mailbox: str, _uidvalidity: str, _token: Token, /) -> Synced:
        raise _mail_off()

    async def follow(self, _account_id: int, /) -> Follower:
        raise _mail_off()


def _mail_off() -> Refused:
    return Refused("mail_off", "This instance runs without mail: POSTROOM_MAIL is off.")
