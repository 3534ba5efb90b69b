"""Erases mail of hidden accounts that nothing else would erase: copies that a worker had made when
it was killed, and messages that arrived while their route ended. Each worker looks at the hidden
accounts of its own node."""

import asyncio
import time
from functools import partial
from typing import Protocol

from postroom.accounts import hidden_accounts
from postroom.db import Database, Tx
from postroom.errors import Busy, MailUnavailable, Refused
from postroom.log import log
from postroom.mailplane.dovecot.doveadm import Folder
from postroom.messages.dovecot_messages import DovecotMessages
from postroom.messages.message_ids import MessageId
from postroom.messages.shown import INBOX
from postroom.webhooks import passing_messages, received_messages
from postroom.webhooks.passing_messages import KEPT_MS, LINKED_MS

PAUSE_SECONDS = 3600.0
# Age, in seconds, from which on a message is erased that no row names: if a worker has seen the
# message, which most often is a copy; and in any case.
COPY_SECONDS = LINKED_MS // 1000
UNSEEN_SECONDS = (KEPT_MS + LINKED_MS) // 1000
# Messages that are erased together.
STEP = 500


class Mailbox(Protocol):
    """What Dovecot says about the folders of an account. The methods raise MailUnavailable."""

    async def folders(self, account_id: int, /) -> list[Folder]: ...

    async def uids_before(self, account_id: int, folder: Folder, before: int, /) -> list[int]: ...


class HiddenMail:
    """The hidden accounts of a node; of all nodes if `node` is None."""

    def __init__(
        self, database: Database, messages: DovecotMessages, mailbox: Mailbox, node: int | None = None
    ) -> None:
        self._database = database
        self._messages = messages
        self._mailbox = mailbox
        self._node = node

    async def run(self) -> None:
        """Works until cancelled."""
        while True:
            try:
                await self.look()
            except Busy as error:
                log.warning("work will be tried again", reason=error.detail)
            except Exception as error:
                log.error("work has failed and will be tried again", kind="hidden mail", exc_info=error)
            await asyncio.sleep(PAUSE_SECONDS)

    async def look(self) -> None:
        """Looks at every hidden account once."""
        after = 0
        while found := await self._database.read(partial(hidden_accounts.page, after=after, node=self._node)):
            for account_id in found:
                try:
                    await self._look_at(account_id)
                except (MailUnavailable, Refused) as error:
                    log.warning("work will be tried again", reason=error.detail)
            after = found[-1]

    async def _look_at(self, account_id: int) -> None:
        now = int(time.time())
        for folder in await self._mailbox.folders(account_id):
            if folder.name != INBOX:
                continue
            copies = await self._mailbox.uids_before(account_id, folder, now - COPY_SECONDS)
            unseen = set(await self._mailbox.uids_before(account_id, folder, now - UNSEEN_SECONDS))
            last, claimed = await self._database.read_slow(
                partial(_known, account_id=account_id, uidvalidity=folder.uidvalidity)
            )
            ids = [
                MessageId(folder.uidvalidity, uid)
                for uid in copies
                if uid not in claimed and (uid <= last or uid in unseen)
            ]
            for start in range(0, len(ids), STEP):
                await self._messages.delete(account_id, INBOX, ids[start : start + STEP], purges=True)


def _known(tx: Tx, account_id: int, uidvalidity: int) -> tuple[int, set[int]]:
    """Returns the last UID that was looked at, and the UIDs that rows name."""
    last = received_messages.cursors(tx, account_id).get(uidvalidity, 0)
    return last, passing_messages.claimed(tx, account_id, uidvalidity)
