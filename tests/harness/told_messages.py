"""Messages without a Dovecot."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import IO

from postroom.messages import whole_message
from postroom.messages.edits import Deletion, Edit, Edited
from postroom.messages.imap_session import MessagePlace
from postroom.messages.interface import Content, Found, Mailbox, Messages
from postroom.messages.mailbox_states import MailboxState, States, id_of
from postroom.messages.message_ids import MessageId
from postroom.messages.pages import ListedMessage, MessagePage, Wanted
from postroom.messages.parser import Trust, parse
from postroom.messages.sync import Added, Changes, Synced, Token

NOON = "2026-03-01T12:00:00.000Z"


class ToldOnce:
    """A follower of an account whose stream ends after the first events."""

    def __init__(self, states: States) -> None:
        self._left: list[States] = [states]
        self.states_id = id_of(states)
        self.changed = asyncio.Event()

    @property
    def states(self) -> States | None:
        self.changed.set()
        return self._left.pop() if self._left else None

    def close(self) -> None:
        pass


@dataclass
class ToldMessages(Messages):
    """Messages without a Dovecot: every account has the same one."""

    problem: Exception | None = None
    asked: list[int] = field(default_factory=list)
    copies: list[tuple[int, str, bool]] = field(default_factory=list)
    """Copies of sent messages: the account, the Message-ID, and whether it was looked for."""
    copy_fails: bool = False
    states: States = field(default_factory=lambda: {"INBOX": MailboxState(1, 2, 1, 1)})
    content: bytes = b"Subject: private\r\n\r\nhi\r\n"

    async def mailboxes(self, account_id: int) -> list[Mailbox]:
        self._ask(account_id)
        return [Mailbox("INBOX", None, 1, 1, "1", 2, 1)]

    async def page(self, account_id: int, wanted: Wanted) -> MessagePage:
        self._ask(account_id)
        one = ListedMessage("1.1", wanted.mailbox, 1, None, (), "private", None, NOON, 25, (), "hi", False)
        return MessagePage([one], ("before_uid", 1))

    async def get(self, account_id: int, mailbox: str, id_: MessageId, *, is_hidden: bool = False) -> Found:
        self._ask(account_id)
        return Found(parse(self.content, Trust("mail.test", has_filter=False)), NOON)

    async def raw(self, account_id: int, mailbox: str, id_: MessageId) -> Content:
        self._ask(account_id)
        return Content(len(self.content), self._pieces())

    async def attachment(self, account_id: int, mailbox: str, id_: MessageId, part: str) -> Content:
        return await self.raw(account_id, mailbox, id_)

    async def whole(self, account_id: int, mailbox: str, uid: int) -> Content:
        self._ask(account_id)
        size, pieces = whole_message.encode(self.content, uid, ["\\Seen"])
        return Content(size, _as_they_are(pieces))

    async def save_sent(
        self, account_id: int, file: IO[bytes], message_id: str, looks_first: bool, /
    ) -> MessagePlace | None:
        if self.copy_fails:
            return None
        self.copies.append((account_id, message_id, looks_first))
        return MessagePlace("Sent", 1, len(self.copies))

    async def edit(self, account_id: int, mailbox: str, id_: MessageId, wanted: Edit) -> Edited:
        self._ask(account_id)
        return Edited(id_, wanted.target or mailbox, tuple(wanted.flags), is_changed=True)

    async def delete(self, account_id: int, mailbox: str, ids: Sequence[MessageId], purges: bool) -> Deletion:
        self._ask(account_id)
        return Deletion("Trash", dict(zip(ids, ids, strict=True)), (), len(ids))

    async def sync(self, account_id: int, mailbox: str, uidvalidity: str, token: Token) -> Synced:
        self._ask(account_id)
        return Synced(mailbox, "1", "1.2", Changes([Added(1)], [], []), reset=True, more=False)

    async def follow(self, account_id: int) -> "ToldOnce":
        self._ask(account_id)
        return ToldOnce(self.states)

    async def _pieces(self) -> AsyncIterator[bytes]:
        for byte in self.content:
            yield bytes([byte])

    def _ask(self, account_id: int) -> None:
        self.asked.append(account_id)
        if self.problem:
            raise self.problem


async def _as_they_are(pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece
