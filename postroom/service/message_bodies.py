"""Makes the bodies of the messages that webhooks get: reads a message in its mailbox when it is
sent. No message is kept anywhere else (decision 0311)."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from functools import partial
from typing import Protocol

from postroom.errors import MailUnavailable, Refused
from postroom.mailplane.dovecot.doveadm import Folder
from postroom.messages.interface import Messages
from postroom.messages.message_ids import MessageId
from postroom.messages.shown import Place, show
from postroom.webhooks import bodies
from postroom.webhooks.attempts import Message

# Messages of a node that are read at the same time, so that large ones leave room for others, and a
# node that is away delays its own messages only.
AT_ONCE = 4
# Seconds for a message, with the time that others take; less than the rest of a lane's lease.
READ_SECONDS = 10.0


class Mailbox(Protocol):
    """What Dovecot says about the folders of an account. The methods raise MailUnavailable."""

    async def folders(self, account_id: int, /) -> list[Folder]: ...

    async def find(self, account_id: int, trace: str, /) -> list[tuple[str, int]]: ...


class MessageBodies:
    """Called with a message, returns the body; None if the message is gone. Raises MailUnavailable.
    `base` is the URL of the API in the links, without a slash at its end."""

    def __init__(self, messages: Messages, mailbox: Mailbox, base: str) -> None:
        self._messages = messages
        self._mailbox = mailbox
        self._base = base
        self._slots: defaultdict[int, asyncio.Semaphore] = defaultdict(partial(asyncio.Semaphore, AT_ONCE))

    async def __call__(self, message: Message) -> bytes | None:
        try:
            async with asyncio.timeout(READ_SECONDS), self._slots[message.node_id]:
                return await self._read(message)
        except TimeoutError:
            raise MailUnavailable("The mailbox does not answer in time.", 30) from None

    async def _read(self, message: Message) -> bytes | None:
        async for name, id_ in self._places(message):
            try:
                found = await self._messages.get(message.account_id, name, id_)
            except MailUnavailable:
                raise
            except Refused:  # moved, or deleted
                continue
            place = Place(message.account_id, message.address, message.user_id, name, id_.uidvalidity, id_.uid)
            return bodies.of_message(message.received_at, show(place, found.parsed, found.received_at, self._base))
        return None

    async def _places(self, message: Message) -> AsyncIterator[tuple[str, MessageId]]:
        """Yields where the message was delivered to, and then where its owner has moved it."""
        folders = await self._mailbox.folders(message.account_id)
        for folder in folders:
            if folder.uidvalidity == message.uidvalidity:
                yield folder.name, MessageId(folder.uidvalidity, message.uid)
        numbers = {folder.name: folder.uidvalidity for folder in folders}
        for name, uid in await self._mailbox.find(message.account_id, message.trace):
            if name in numbers:
                yield name, MessageId(numbers[name], uid)
