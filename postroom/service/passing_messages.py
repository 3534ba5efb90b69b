"""Takes mail out of the mailboxes of domains whose route keeps none: messages that the webhook has
got, and those that it has not got within KEPT_MS (decision 0313).

A message is copied to the hidden account first, so its links never lead to nothing, and each step
is written down, so that a worker that is killed repeats at most one.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from functools import partial

import msgspec

from postroom import leases
from postroom.db import Database, Tx
from postroom.errors import Busy, MailUnavailable, Refused
from postroom.log import log
from postroom.messages.dovecot_messages import DovecotMessages
from postroom.messages.message_ids import MessageId
from postroom.messages.shown import INBOX
from postroom.service.message_bodies import Mailbox, Places
from postroom.webhooks import passing_messages
from postroom.webhooks.passing_messages import PassingMessage

PAUSE_SECONDS = 1.0
# Messages that are moved at the same time, so that Dovecot can serve others too.
AT_ONCE = 4
# Milliseconds of a lease. A message of the largest size is copied within.
LEASE_MS = 120_000


class PassingMessages:
    """The work of a node: any node takes any message."""

    def __init__(self, database: Database, messages: DovecotMessages, mailbox: Mailbox) -> None:
        self._database = database
        self._messages = messages
        self._mailbox = mailbox

    async def run(self) -> None:
        """Works until cancelled."""
        while True:
            found = False
            try:
                found = await self.look()
            except Busy as error:
                log.warning("work will be tried again", reason=error.detail)
            except Exception as error:
                log.error("work has failed and will be tried again", kind="passing", exc_info=error)
            await asyncio.sleep(0 if found else PAUSE_SECONDS)

    async def look(self) -> bool:
        """Takes the messages that are due, a bounded number. Returns whether one was done."""
        due = await self._database.read(passing_messages.due)
        done = False
        for start in range(0, len(due), AT_ONCE):
            take = partial(
                leases.acquire,
                kind="passing",
                items=due[start : start + AT_ONCE],
                is_due=passing_messages.is_due,
                milliseconds=LEASE_MS,
            )
            done |= any(await asyncio.gather(*map(self._try, await self._database.write(take))))
        return done

    async def _try(self, message_id: int) -> bool:
        """Takes one message. Returns False, and backs off from it, if that failed."""
        try:
            message = await self._database.read(partial(passing_messages.get, message_id=message_id))
            if message is not None and message.is_deleted and message.state != "held":
                await self._back_off(message_id)
                return False
            if message is not None:
                await self._take(message)
        except Exception as error:
            if isinstance(error, Busy) and not isinstance(error, MailUnavailable):
                raise
            log.warning("a message has not left its mailbox", item=message_id, reason=type(error).__name__)
            await self._back_off(message_id)
            return False
        return True

    async def _back_off(self, message_id: int) -> None:
        await self._database.write(partial(leases.back_off, kind="passing", item=message_id))

    async def _take(self, message: PassingMessage) -> None:
        id_ = message.message_id
        if message.state == "held":
            await self._erase_held(message)
            await self._write(id_, partial(passing_messages.forget, message_id=id_))
        elif message.state == "delivered" and (message.held_uid is not None or await self._copy(message)):
            await self._remove(message)
            await self._write(id_, partial(passing_messages.hold, message_id=id_))
        else:  # nobody has got it within its days, or its owner has deleted it
            if message.passes:
                await self._remove(message)
            await self._write(id_, partial(passing_messages.forget, message_id=id_))

    async def _copy(self, message: PassingMessage) -> bool:
        """Copies a message to the hidden account. Returns False if it is in no folder."""
        async for name, id_ in self._places(message):
            try:
                held = await self._messages.hold(message.account_id, name, id_, message.hidden_id)
            except Refused as error:
                if error.code != "not_found":
                    raise
                continue  # moved, or deleted
            kept = msgspec.structs.replace(
                message,
                uidvalidity=id_.uidvalidity,
                uid=id_.uid,
                held_uidvalidity=held.uidvalidity,
                held_uid=held.uid,
            )
            await self._database.write(partial(passing_messages.keep, message=kept))
            return True
        return False

    async def _remove(self, message: PassingMessage) -> None:
        """Removes a message, and its copies, from every folder of its account."""
        found: defaultdict[str, list[MessageId]] = defaultdict(list)
        async for name, id_ in self._places(message):
            found[name].append(id_)
        for name, ids in found.items():
            await self._delete(message.account_id, name, ids)

    async def _erase_held(self, message: PassingMessage) -> None:
        """Removes a message from the hidden account, to which SMTP delivered it or a worker copied
        it."""
        id_ = MessageId(message.uidvalidity, message.uid)
        if message.held_uidvalidity is not None and message.held_uid is not None:
            id_ = MessageId(message.held_uidvalidity, message.held_uid)
        await self._delete(message.hidden_id, INBOX, [id_])

    async def _delete(self, account_id: int, name: str, ids: list[MessageId]) -> None:
        try:
            await self._messages.delete(account_id, name, ids, purges=True)
        except Refused as error:
            if error.code != "not_found":
                raise  # and else the folder is gone

    async def _places(self, message: PassingMessage) -> AsyncIterator[tuple[str, MessageId]]:
        if message.trace is None or message.received_at is None:
            return
        places = Places(self._mailbox, message.account_id, message.trace, message.received_at)
        async for place in places.all(MessageId(message.uidvalidity, message.uid)):
            yield place

    async def _write(self, message_id: int, work: "partial[None]") -> None:
        def write_down(tx: Tx) -> None:
            work(tx)
            leases.release(tx, "passing", [message_id])

        await self._database.write(write_down)
