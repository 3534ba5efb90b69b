"""Messages as Dovecot has them, over IMAP."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from typing import TypeVar

from postroom.cluster import nodes
from postroom.db import Database
from postroom.errors import MailUnavailable, not_found
from postroom.log import log
from postroom.messages import copies, pages
from postroom.messages.content import PIECE_BYTES
from postroom.messages.doors import Door, LocalDoor, NodeDoor
from postroom.messages.headers import timestamp
from postroom.messages.imap_session import ImapSession
from postroom.messages.imap_sessions import RETRY_SECONDS, ImapSessions
from postroom.messages.interface import Content, Found, Mailbox, MessageId
from postroom.messages.pages import MessagePage, Wanted
from postroom.messages.parsed import Attachment
from postroom.messages.parser import Trust, find_attachment, parse
from postroom.messages.structure import Raw
from postroom.settings import Settings

T = TypeVar("T")

SPECIAL_USES = ("\\Drafts", "\\Sent", "\\Archive", "\\Junk", "\\Trash")


class DovecotMessages:
    """Asks the Dovecot of this machine; with several nodes, that of the account's home."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self._sessions = ImapSessions()
        self._local = LocalDoor(settings.data / "dovecot" / "dovecot.conf")
        self._data, self._folder = settings.data, settings.data / "run"
        self._trust = Trust(settings.hostname, bool(settings.filter_milter))
        self._node = settings.node
        self._database = database

    async def mailboxes(self, account_id: int) -> list[Mailbox]:
        return await self._run(account_id, _mailboxes)

    async def page(self, account_id: int, wanted: Wanted) -> MessagePage:
        return await self._run(account_id, partial(pages.page, wanted=wanted))

    async def get(self, account_id: int, mailbox: str, id_: MessageId) -> Found:
        def work(session: ImapSession) -> Found:
            raw = copies.copy(session, self._folder, mailbox, id_.uidvalidity, id_.uid)
            received_at = session.received_at(id_.uid)
            if received_at is None:
                raise not_found()
            return Found(parse(raw, self._trust), timestamp(received_at))

        return await self._run(account_id, work)

    async def raw(self, account_id: int, mailbox: str, id_: MessageId) -> Content:
        def work(session: ImapSession) -> Raw:
            return copies.copy(session, self._folder, mailbox, id_.uidvalidity, id_.uid)

        raw = await self._run(account_id, work)
        pieces = (raw[at : at + PIECE_BYTES] for at in range(0, len(raw), PIECE_BYTES))
        return Content(len(raw), _in_threads(pieces))

    async def attachment(self, account_id: int, mailbox: str, id_: MessageId, part: str) -> Content:
        def work(session: ImapSession) -> tuple[Attachment, Iterator[bytes]]:
            found = find_attachment(copies.copy(session, self._folder, mailbox, id_.uidvalidity, id_.uid), part)
            if found is None:
                raise not_found()
            return found

        shown, pieces = await self._run(account_id, work)
        return Content(shown.size, _in_threads(pieces), shown.filename)

    async def _run(self, account_id: int, work: Callable[[ImapSession], T]) -> T:
        door = await self._door(account_id) if self._node else self._local
        try:
            return await self._sessions.run(door, account_id, work)
        except OSError as error:
            log.error("a message could not be copied", reason=str(error))
            raise MailUnavailable("There is no room for a copy of the message. Try again.", RETRY_SECONDS) from error

    async def _door(self, account_id: int) -> Door:
        """The door to the account's home."""
        homes = (await self._database.read(partial(nodes.homes, ids=[account_id])))[account_id]
        if not homes:
            raise not_found()
        home = homes[0]
        return self._local if home.name == self._node else NodeDoor(home.address, home.port, home.host, self._data)


async def _in_threads(pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    """Decodes one piece at a time in a thread, because a piece takes a millisecond."""
    while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
        yield piece


def _mailboxes(session: ImapSession) -> list[Mailbox]:
    found = [
        Mailbox(
            name,
            next((use for use in SPECIAL_USES if use.encode() in flags), None),
            state[b"MESSAGES"],
            state[b"UNSEEN"],
            state[b"UIDVALIDITY"],
            state[b"UIDNEXT"],
            state[b"HIGHESTMODSEQ"],
        )
        for name, flags, state in session.mailboxes()
    ]
    return sorted(found, key=lambda one: (one.mailbox != "INBOX", one.mailbox))
