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
from postroom.messages.shown import INBOX, Place, show
from postroom.webhooks import bodies
from postroom.webhooks.attempts import Message

# Messages of a node that are read at the same time, so that large ones leave room for others, and a
# node that is away delays its own messages only.
AT_ONCE = 4
# Seconds for a message, with the time that others take; less than the rest of a lane's lease.
READ_SECONDS = 10.0
# Seconds by which a copy may be older than the delivery.
SKEW_SECONDS = 24 * 3600


class Mailbox(Protocol):
    """What Dovecot says about the folders of an account. The methods raise MailUnavailable."""

    async def folders(self, account_id: int, /) -> list[Folder]: ...

    async def find(self, account_id: int, trace: str, since: int, /) -> list[tuple[str, int]]: ...


class NotAsked(MailUnavailable):
    """Others were in front, which says nothing about the mailbox."""


class Places:
    """Where a message is that was delivered to an account, `received_at` in milliseconds since 1970
    UTC."""

    def __init__(self, mailbox: Mailbox, account_id: int, trace: str, received_at: int) -> None:
        self._mailbox = mailbox
        self._account_id = account_id
        self._trace = trace
        self._since = received_at // 1000 - SKEW_SECONDS

    async def all(self, delivered: MessageId) -> AsyncIterator[tuple[str, MessageId]]:
        """Yields where the message was delivered to, and then where its owner has moved it."""
        folders = await self._mailbox.folders(self._account_id)
        for folder in folders:
            if folder.uidvalidity == delivered.uidvalidity:
                yield folder.name, delivered
        numbers = {folder.name: folder.uidvalidity for folder in folders}
        for name, uid in await self._mailbox.find(self._account_id, self._trace, self._since):
            if name in numbers:
                yield name, MessageId(numbers[name], uid)


class MessageBodies:
    """Called with a message, returns the body; None if the message is gone. Raises MailUnavailable,
    NotAsked. `base` is the URL of the API in the links, without a slash at its end."""

    def __init__(self, messages: Messages, mailbox: Mailbox, base: str) -> None:
        self._messages = messages
        self._mailbox = mailbox
        self._base = base
        self._slots: defaultdict[int, asyncio.Semaphore] = defaultdict(partial(asyncio.Semaphore, AT_ONCE))

    async def __call__(self, message: Message) -> bytes | None:
        is_asked = False
        try:
            async with asyncio.timeout(READ_SECONDS), self._slots[message.node_id]:
                is_asked = True
                return await self._read(message)
        except TimeoutError:
            if not is_asked:
                raise NotAsked("Other messages were read all the time.", 30) from None
            raise MailUnavailable("The mailbox does not answer in time.", 30) from None

    async def _read(self, message: Message) -> bytes | None:
        linked = MessageId(message.uidvalidity, message.uid)
        places = Places(self._mailbox, message.account_id, message.trace, message.received_at)
        async for name, id_ in places.all(linked):
            if body := await self._body(message, message.account_id, (name, id_), (name, id_)):
                return body
        if message.held is None:
            return None
        held = MessageId(message.held.uidvalidity, message.held.uid)
        return await self._body(message, message.held.account_id, (INBOX, held), (INBOX, linked))

    async def _body(
        self, message: Message, account_id: int, at: tuple[str, MessageId], shown: tuple[str, MessageId]
    ) -> bytes | None:
        """Returns the body if an account has the message in this place; None if it was moved, or
        deleted. The links name the place `shown`."""
        try:
            found = await self._messages.get(account_id, *at, is_hidden=message.is_hidden)
        except Refused as error:
            if error.code != "not_found":
                raise
            return None
        address = message.address
        if message.is_hidden:
            address = found.parsed.delivered_to or address
        name, id_ = shown
        place = Place(message.account_id, address, message.user_id, name, id_.uidvalidity, id_.uid)
        return bodies.of_message(message.received_at, show(place, found.parsed, found.received_at, self._base))
