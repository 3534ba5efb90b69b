"""Messages as Dovecot has them, over IMAP."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from functools import partial
from typing import IO, TypeVar

from postroom.cluster import nodes
from postroom.db import Database
from postroom.errors import Busy, MailUnavailable, Refused, not_found
from postroom.log import log
from postroom.messages import copies, edits, pages, sync, whole_message
from postroom.messages.content import PIECE_BYTES
from postroom.messages.doors import Door, LocalDoor, NodeDoor
from postroom.messages.edits import Deletion, Edit, Edited
from postroom.messages.headers import timestamp
from postroom.messages.imap_session import RETRY_SECONDS, ImapSession, MessagePlace
from postroom.messages.imap_sessions import ImapSessions
from postroom.messages.interface import Content, Found, Mailbox
from postroom.messages.mailbox_states import MailboxState, States
from postroom.messages.mailbox_watch import Follower, MailboxWatch, check_number
from postroom.messages.mapped_file import map_file
from postroom.messages.message_ids import ANY_UIDVALIDITY, MessageId
from postroom.messages.missing import no_attachment, no_message
from postroom.messages.open_contents import OpenContents
from postroom.messages.pages import MessagePage, Wanted
from postroom.messages.parser import Trust, find_attachment, parse
from postroom.messages.shown import INBOX
from postroom.messages.sync import Synced, Token
from postroom.settings import Settings

T = TypeVar("T")

SENT = "Sent"
SPECIAL_USES = ("\\Drafts", "\\Sent", "\\Archive", "\\Junk", "\\Trash")


class DovecotMessages:
    """Asks the Dovecot of this machine; with several nodes, that of the account's home."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self._sessions = ImapSessions()
        self._contents = OpenContents()
        self._local = LocalDoor(settings.data / "dovecot" / "dovecot.conf")
        self._watch = MailboxWatch(settings.data / "mail", self._states)
        self._data, self._folder = settings.data, settings.data / "run"
        self._trust = Trust(settings.hostname, bool(settings.filter_milter))
        self._node = settings.node
        self._database = database

    async def mailboxes(self, account_id: int) -> list[Mailbox]:
        return await self._run(account_id, _mailboxes)

    async def page(self, account_id: int, wanted: Wanted) -> MessagePage:
        return await self._run(account_id, partial(pages.page, wanted=wanted))

    async def get(self, account_id: int, mailbox: str, id_: MessageId, *, is_hidden: bool = False) -> Found:
        def work(session: ImapSession) -> Found:
            raw = copies.copy(session, self._folder, mailbox, id_.uidvalidity, id_.uid)
            received_at = session.received_at(id_.uid)
            if received_at is None:
                raise no_message()
            return Found(parse(raw, self._trust, is_hidden=is_hidden), timestamp(received_at))

        return await self._run(account_id, work)

    async def raw(self, account_id: int, mailbox: str, id_: MessageId) -> Content:
        def work(session: ImapSession) -> Content:
            raw = copies.copy(session, self._folder, mailbox, id_.uidvalidity, id_.uid)
            pieces = (raw[at : at + PIECE_BYTES] for at in range(0, len(raw), PIECE_BYTES))
            return Content(len(raw), _in_threads(pieces))

        return await self._open(account_id, work)

    async def attachment(self, account_id: int, mailbox: str, id_: MessageId, part: str) -> Content:
        def work(session: ImapSession) -> Content:
            found = find_attachment(copies.copy(session, self._folder, mailbox, id_.uidvalidity, id_.uid), part)
            if found is None:
                raise no_attachment()
            shown, pieces = found
            return Content(shown.size, _in_threads(pieces), shown.filename)

        return await self._open(account_id, work)

    async def whole(self, account_id: int, mailbox: str, uid: int) -> Content:
        def work(session: ImapSession) -> Content:
            raw = copies.copy(session, self._folder, mailbox, ANY_UIDVALIDITY, uid)
            size, pieces = whole_message.encode(raw, uid, session.flags([uid]).get(uid, ()))
            return Content(size, _in_threads(pieces))

        return await self._open(account_id, work)

    async def save_sent(
        self, account_id: int, file: IO[bytes], message_id: str, looks_first: bool, /
    ) -> MessagePlace | None:
        def work(session: ImapSession) -> MessagePlace | None:
            mailbox = next((name for name, flags in session.names() if b"\\Sent" in flags), SENT)
            if looks_first and (found := session.find(mailbox, message_id)):
                return found
            with map_file(file) as message:
                return session.append(mailbox, message)

        try:
            return await self._run(account_id, work)
        except (Busy, Refused) as error:
            log.warning("no copy of a sent message", account_id=account_id, reason=error.detail)
            return None

    async def hold(self, account_id: int, mailbox: str, id_: MessageId, hidden_id: int) -> MessageId:
        """Copies a message into the INBOX of a hidden account. Raises not_found if the message is
        not there, MailUnavailable."""
        copy = partial(copies.copy, folder=self._folder, mailbox=mailbox, uidvalidity=id_.uidvalidity, uid=id_.uid)
        raw = await self._run(account_id, copy)

        def work(session: ImapSession) -> MessagePlace | None:
            return session.append(INBOX, raw)

        try:
            found = await self._run(hidden_id, work)
        except Refused:
            found = None
        if found is None:
            raise MailUnavailable("The hidden account takes no message now.", RETRY_SECONDS)
        return MessageId(found.uidvalidity, found.uid)

    async def edit(self, account_id: int, mailbox: str, id_: MessageId, wanted: Edit) -> Edited:
        return await self._run(account_id, partial(edits.edit, mailbox=mailbox, id_=id_, wanted=wanted))

    async def delete(self, account_id: int, mailbox: str, ids: Sequence[MessageId], purges: bool) -> Deletion:
        return await self._run(account_id, partial(edits.delete, mailbox=mailbox, ids=ids, purges=purges))

    async def sync(self, account_id: int, mailbox: str, uidvalidity: str, token: Token) -> Synced:
        work = partial(sync.sync, mailbox=mailbox, uidvalidity=uidvalidity, token=token)
        return await self._run(account_id, work)

    async def follow(self, account_id: int) -> Follower:
        return await self._watch.follow(account_id)

    async def _states(self, account_id: int) -> tuple[States, bool]:
        """Returns the states of an account's mailboxes, and whether they are on this machine.
        Raises as `check_number`, too."""
        is_here = not self._node or await self._door(account_id) == self._local
        found = await self._run(account_id, partial(_mailboxes, check=check_number))
        return {
            one.mailbox: MailboxState(int(one.uidvalidity), one.uidnext, one.highestmodseq, one.messages)
            for one in found
        }, is_here

    async def _open(self, account_id: int, work: Callable[[ImapSession], Content]) -> Content:
        return await self._contents.open(account_id, partial(self._run, account_id, work))

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


def _mailboxes(session: ImapSession, check: Callable[[int], None] = lambda _: None) -> list[Mailbox]:
    found = [
        Mailbox(
            name,
            next((use for use in SPECIAL_USES if use.encode() in flags), None),
            state[b"MESSAGES"],
            state[b"UNSEEN"],
            str(state[b"UIDVALIDITY"]),
            state[b"UIDNEXT"],
            state[b"HIGHESTMODSEQ"],
        )
        for name, flags, state in session.mailboxes(check)
    ]
    return sorted(found, key=lambda one: (one.mailbox != "INBOX", one.mailbox))
