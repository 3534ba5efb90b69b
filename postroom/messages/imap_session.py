"""An IMAP session with an account's mail. Dovecot's `imap` runs as the user who owns the mail, so
no password is needed and no login is counted (decision 0302).

To read, a mailbox is opened with EXAMINE and content fetched with BODY.PEEK, so reading changes no
flag. These methods block: the threads of imap_sessions.py call them.
"""

import contextlib
import imaplib
import logging
import mmap
import re
import socket
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from imapclient import IMAPClient, SocketTimeout
from imapclient.exceptions import ProtocolError
from imapclient.response_parser import parse_fetch_response

from postroom.errors import MailUnavailable, Refused
from postroom.messages.doors import ANSWER_SECONDS, Door
from postroom.messages.missing import no_mailbox
from postroom.messages.shown import INBOX

# Longest line of an answer, in bytes. Texts are no part of a line.
LINE_BYTES = 1024 * 1024
# What the server says if a mailbox is there, but cannot be opened now (RFC 5530).
NOT_NOW = ("[SERVERBUG]", "[UNAVAILABLE]", "[INUSE]", "[CONTACTADMIN]", "[LIMIT]")
TRASH = "Trash"
STATUS = ("MESSAGES", "UNSEEN", "UIDVALIDITY", "UIDNEXT", "HIGHESTMODSEQ")
# Seconds in which the mailboxes of an account are counted.
COUNT_SECONDS = 5.0
RETRY_SECONDS = 5

_APPENDED = re.compile(rb"\[APPENDUID ([0-9]+) ([0-9]+)\]")

# The library logs what the server says, and so the names of mailboxes.
logging.getLogger("imapclient").setLevel(logging.CRITICAL + 1)


class Lost(Exception):
    """The session is over. The text says why."""


class LineTooLong(Lost):
    """An answer had a line that nobody should read."""


class Opened(NamedTuple):
    """A mailbox that is open, and its state."""

    name: str
    uidvalidity: int
    uidnext: int
    exists: int
    highestmodseq: int


class MessagePlace(NamedTuple):
    """Where a message was stored."""

    mailbox: str
    uidvalidity: int
    uid: int


class ImapSession:
    """A session that is open until `close`."""

    def __init__(self, door: Door, account_id: int) -> None:
        self.door, self._account_id = door, account_id
        self._opened: tuple[str, bool] | None = None
        # What is known of messages by mailbox, UIDVALIDITY and UID: see pages.py.
        self.rows: dict[tuple[str, int, int], Any] = {}
        self._start()

    def _start(self) -> None:
        try:
            self._way = self.door.open(self._account_id)
        except OSError as error:
            raise Lost(type(error).__name__) from error
        try:
            self._client = _Client(self._way.socket)
            self._client.enable("QRESYNC")  # for `changed_since`; possible only while no mailbox is open
        except (imaplib.IMAP4.error, _TooLong, OSError) as error:
            raise self._lost(error) from error

    def reopen(self) -> None:
        """Starts a new session in place of one that was lost, with the same mailbox open."""
        self._start()
        if self._opened is not None:
            self.open(*self._opened)

    def is_alive(self) -> bool:
        """Whether the server still answers. A session that is lost is ended."""
        try:
            self._run(self._client.noop)
        except Lost:
            return False
        return True

    def close(self) -> None:
        """Ends the session."""
        with contextlib.suppress(OSError):
            self._client.close()
        self._way.end()

    def _lost(self, error: Exception) -> Lost:
        """Ends the session. What the server says of a message or a name may be private, so only the
        kind of the error is told, and what the process says at its end."""
        reason = f"{type(error).__name__} {self._way.last_words()}".strip()
        return LineTooLong(reason) if isinstance(error, _TooLong) else Lost(reason)

    def _run(
        self, command: Callable[..., Any], *arguments: Any, line: int = LINE_BYTES, may_refuse: bool = False
    ) -> Any:
        """Runs a method of the client. Raises Lost; with `may_refuse`, _Refused if the server says
        no."""
        self._client.longest_line = line
        try:
            return command(*arguments)
        except (imaplib.IMAP4.error, _TooLong, ProtocolError, OSError, ValueError) as error:
            is_refusal = isinstance(error, imaplib.IMAP4.error) and not isinstance(error, imaplib.IMAP4.abort)
            if may_refuse and is_refusal and not any(code in str(error) for code in NOT_NOW):
                raise _Refused(str(error)) from None
            raise self._lost(error) from error

    def names(self) -> list[tuple[str, tuple[bytes, ...]]]:
        """Returns the name and the attributes of each mailbox that can be opened."""
        return [
            (name, flags)
            for flags, _, name in self._run(self._client.list_folders)
            if b"\\Noselect" not in flags and b"\\NonExistent" not in flags and isinstance(name, str)
        ]

    def mailboxes(
        self, check: Callable[[int], None] = lambda _: None
    ) -> list[tuple[str, tuple[bytes, ...], dict[bytes, int]]]:
        """Returns the name, the attributes and the state of each mailbox. Of an open mailbox the
        server would tell the state in which this session has seen it, so none stays open. `check`
        is told their number before they are asked about. Raises what `check` raises, and
        MailUnavailable after COUNT_SECONDS: Dovecot keeps what it has counted, so the next try gets
        further (decision 0344)."""
        if self._opened is not None:
            self._run(self._client.unselect_folder)
            self._opened = None
        found = []
        until = time.monotonic() + COUNT_SECONDS
        names = self.names()
        check(len(names))
        for name, flags in names:
            if time.monotonic() > until:
                raise MailUnavailable(
                    "The mailboxes take too long to count. Try again: it gets quicker.", RETRY_SECONDS
                )
            try:
                found.append((name, flags, self._run(self._client.folder_status, name, STATUS, may_refuse=True)))
            except _Refused:  # deleted in the meantime
                continue
        return found

    def open(self, name: str, is_writable: bool = False) -> Opened:
        """Opens a mailbox anew, so that its state is that of now. Raises not_found."""
        name = canonical(name)
        self._opened = None  # also after a refusal: it closes what was open (RFC 9051, 6.3.2)
        try:
            state = self._run(self._client.select_folder, name, not is_writable, may_refuse=True)
        except _Refused:
            raise no_mailbox() from None
        self._opened = name, is_writable
        modseq = state.get(b"HIGHESTMODSEQ", 0)  # a mailbox whose index cannot be written has none
        return Opened(name, state[b"UIDVALIDITY"], state[b"UIDNEXT"], state[b"EXISTS"], modseq)

    def search(self, criteria: Sequence[bytes]) -> list[int]:
        """Returns the UIDs that match, in ascending order. An argument of 8-bit bytes is sent as a
        literal; the others must be quoted."""
        data = self._run(self._client.search_raw, [b"CHARSET", b"UTF-8", *criteria])
        return sorted(data)

    def fetch(self, uids: Iterable[int], items: Sequence[str], line: int = LINE_BYTES) -> dict[int, dict[bytes, Any]]:
        """Returns the items of messages by UID; a message that is gone is missing. `line` is the
        longest line of the answer that is read, in bytes."""
        return dict(self._run(self._client.fetch, list(uids), items, line=line))

    def sizes(self, first: int, last: int) -> dict[int, int]:
        """Returns the sizes of the messages with a UID in this range, in bytes by UID."""
        found = self._run(self._client.fetch_range, f"{first}:{last}", "(RFC822.SIZE)")
        return {uid: items[b"RFC822.SIZE"] for uid, items in found.items() if b"RFC822.SIZE" in items}

    def piece(self, uid: int, start: int, length: int) -> bytes | None:
        """Returns bytes of a message from `start` on; None if there is no such message."""
        found = self.fetch([uid], [f"BODY.PEEK[]<{start}.{length}>"])
        return found[uid].get(b"BODY[]<%d>" % start) or b"" if uid in found else None

    def received_at(self, uid: int) -> datetime | None:
        """Returns when the message was received; None if there is no such message."""
        found = self.fetch([uid], ["INTERNALDATE"])
        return found[uid].get(b"INTERNALDATE") if uid in found else None

    def find(self, mailbox: str, message_id: str) -> MessagePlace | None:
        """Returns the place of the newest message with this Message-ID; None if there is none, or
        no such mailbox."""
        try:
            opened = self.open(mailbox)
        except Refused:
            return None
        found = self.search([b"HEADER", b"MESSAGE-ID", b'"%b"' % message_id.encode()])
        return MessagePlace(mailbox, opened.uidvalidity, found[-1]) if found else None

    def append(self, mailbox: str, message: bytes | mmap.mmap) -> MessagePlace | None:
        """Stores a message as read; creates a mailbox that does not exist. Returns None if the
        server stores nothing, as in a full mailbox."""
        try:
            told = self._run(self._client.append_raw, mailbox, message, may_refuse=True)
        except _Refused as refused:
            if "TRYCREATE" not in str(refused):
                return None
            self._run(self._client.create_folder, mailbox)
            self._run(self._client.subscribe_folder, mailbox)
            told = self._run(self._client.append_raw, mailbox, message)
        return MessagePlace(mailbox, *told)

    def flags(self, uids: Iterable[int]) -> dict[int, frozenset[str]]:
        """Returns the flags of messages by UID; a message that is gone is missing."""
        wanted = list(uids)
        found = self.fetch(wanted, ["FLAGS"]) if wanted else {}
        return {uid: flags_of(items) for uid, items in found.items() if b"FLAGS" in items}

    def set_flags(self, uids: Iterable[int], flags: Iterable[str], is_set: bool) -> None:
        """Sets flags of messages, or removes them."""
        command = self._client.add_flags if is_set else self._client.remove_flags
        self._run(command, list(uids), list(flags), True)

    def move(self, uids: Iterable[int], name: str) -> tuple[int, dict[int, int]]:
        """Moves messages to another mailbox. Returns the UIDVALIDITY there, and the new UID of each
        that was moved (RFC 4315). Raises not_found."""
        try:
            told: bytes | None = self._run(self._client.move_told, list(uids), name, may_refuse=True)
        except _Refused:
            raise no_mailbox() from None
        if told is None:
            return 0, {}
        uidvalidity, before, after = told.split()
        return int(uidvalidity), dict(zip(_numbers(before), _numbers(after), strict=True))

    def expunge(self, uids: Iterable[int]) -> None:
        """Erases these messages, and no other that is marked as deleted (RFC 4315)."""
        uids = list(uids)
        self.set_flags(uids, ("\\Deleted",), True)
        self._run(self._client.uid_expunge, uids)

    def has(self, name: str) -> bool:
        """Whether there is a mailbox that can hold messages."""
        try:
            self._run(self._client.folder_status, name, ("UIDVALIDITY",), may_refuse=True)
        except _Refused:
            return False
        return True

    def trash(self) -> str:
        """Returns the name of the mailbox of deleted messages, which is created if there is
        none."""
        for flags, _, name in self._run(self._client.list_folders):
            if b"\\Trash" in flags and isinstance(name, str):
                return name
        with contextlib.suppress(_Refused):  # another client was faster
            self._run(self._client.create_folder, TRASH, may_refuse=True)
        return TRASH

    def changed_since(self, first: int, last: int, modseq: int) -> tuple[dict[int, dict[bytes, Any]], list[int]]:
        """Of the messages with a UID in this range, returns the FLAGS and the MODSEQ of those that
        have changed since, and the UIDs of those that are gone (RFC 7162)."""
        found, gone = self._run(self._client.fetch_changed, f"{first}:{last}", modseq)
        return found, [uid for uids in gone for uid in _numbers(uids.rpartition(b" ")[2])]


def canonical(name: str) -> str:
    """Returns the name of a mailbox as the server lists it: INBOX has any case (RFC 9051, 5.1)."""
    return INBOX if name.upper() == INBOX else name


def flags_of(items: dict[bytes, Any]) -> frozenset[str]:
    """Returns the flags in the answer to a FETCH. \\Recent says nothing about a message."""
    return frozenset(_flag(flag) for flag in items[b"FLAGS"] if flag != b"\\Recent")


def _flag(parsed: bytes | int | None) -> str:
    """Returns a flag, which imapclient takes for a number or for NIL if a user named it so."""
    if isinstance(parsed, bytes):
        return parsed.decode("ascii", "replace")
    return "NIL" if parsed is None else str(parsed)


def _numbers(sequence: bytes) -> list[int]:
    """Returns the numbers of a set like 1:3,7 in its order."""
    found: list[int] = []
    for part in sequence.split(b","):
        first, _, last = part.partition(b":")
        low, high = int(first), int(last or first)
        found += range(low, high + 1) if low <= high else range(low, high - 1, -1)
    return found


class _TooLong(Exception):
    """Not imaplib's error, which imaplib would replace by another."""


class _Refused(Exception):
    """The server has refused a command, and the session goes on."""


class _Imap(imaplib.IMAP4):
    """A session over a socket that is connected already."""

    longest_line = LINE_BYTES

    def __init__(self, connected: socket.socket) -> None:
        self._connected = connected
        super().__init__()

    def _create_socket(self, timeout: float | None) -> socket.socket:  # noqa: ARG002 - imaplib's
        return self._connected

    def readline(self) -> bytes:
        line = self.file.readline(self.longest_line + 1)
        if len(line) > self.longest_line:
            raise _TooLong
        return bytes(line)  # type: ignore[arg-type]


class _Client(IMAPClient):  # type: ignore[misc]
    def __init__(self, connected: socket.socket) -> None:
        self._connected = connected
        super().__init__("", ssl=False, timeout=SocketTimeout(ANSWER_SECONDS, ANSWER_SECONDS))
        self._imap.debug = 0  # IMAPClient logs every line otherwise
        self.normalise_times = False

    def _create_IMAP4(self) -> _Imap:
        return _Imap(self._connected)

    @property
    def longest_line(self) -> int:
        found: int = self._imap.longest_line
        return found

    @longest_line.setter
    def longest_line(self, length: int) -> None:
        self._imap.longest_line = length

    def search_raw(self, criteria: list[bytes]) -> list[int]:
        """Like `search`, which quotes only what has a space."""
        data = self._raw_command_untagged(b"SEARCH", criteria)
        return [int(number) for line in data if line for number in line.split()]

    def append_raw(self, mailbox: str, message: bytes | mmap.mmap) -> tuple[int, int]:
        """Like `append`, which looks at every line of the message. Returns UIDVALIDITY and UID (RFC
        4315)."""
        self._imap.literal = message
        said, data = self._imap._simple_command("APPEND", self._normalise_folder(mailbox), "(\\Seen)")
        self._checkok("append", said, data)
        found = _APPENDED.search(data[0])
        if found is None:
            raise ProtocolError("APPEND without UIDPLUS")
        return int(found[1]), int(found[2])

    def move_told(self, uids: list[int], name: str) -> bytes | None:
        """Moves messages, and returns what the server tells of their new numbers."""
        self._imap.response("COPYUID")
        self.move(uids, name)
        told: bytes | None = self._imap.response("COPYUID")[1][-1]
        return told

    def fetch_changed(self, uids: str, modseq: int) -> tuple[dict[int, dict[bytes, Any]], list[bytes]]:
        """Like `fetch_range`, and with what the server says is gone."""
        self._imap.response("VANISHED")
        found = self.fetch_range(uids, "(FLAGS MODSEQ)", f"(CHANGEDSINCE {modseq} VANISHED)")
        return found, [told for told in self._imap.response("VANISHED")[1] if told]

    def fetch_range(self, uids: str, *arguments: str) -> dict[int, dict[bytes, Any]]:
        """Like `fetch`, which takes no range of UIDs."""
        answer = self._imap.uid("FETCH", uids, *arguments)
        self._checkok("fetch", *answer)
        return dict(parse_fetch_response(answer[1], self.normalise_times, self.use_uid))

    def close(self) -> None:
        """Closes the connection, at which Dovecot's process ends."""
        self._imap.shutdown()
