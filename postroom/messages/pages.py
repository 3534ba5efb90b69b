"""Lists of messages: which messages of a mailbox match, newest first, and what a list shows of
each.

A search looks at ranges of UIDs, each larger than the one before, so that the newest messages are
found without a look at all. After SEARCH_SECONDS or PAGE_BYTES a page ends early, with the place to
go on from (decisions 0306, 0344).
"""

import time
from collections.abc import Iterator, Sequence
from datetime import date
from typing import Any

import msgspec
from imapclient.datetime_util import format_criteria_date

from postroom.messages.charsets import clean
from postroom.messages.headers import Fields, timestamp
from postroom.messages.imap_session import ImapSession, LineTooLong, Opened, flags_of
from postroom.messages.parsed import MailAddress
from postroom.messages.parser import BODIES

SEARCH_SECONDS = 5.0
# The first day that IMAP can write, which has a year of four digits.
EARLIEST_DAY = date(1000, 1, 1)
# Numbers of UIDs in one search: the first, and the largest by what is searched. A range that took
# longer than QUICK_SECONDS is followed by none that is wider.
FIRST_RANGE = 256
WIDEST_RANGE = 50_000
WIDEST_OF_HEADERS = 5_000
QUICK_SECONDS = 1.0
# Every message must be read to search its text, and nothing stops a search that has begun. So a
# range of texts has at most this number of bytes, or one message.
FIRST_OF_TEXTS = 8
WIDEST_OF_TEXTS = 500
RANGE_BYTES = 16 * 1024 * 1024
FIELDS = "BODY.PEEK[HEADER.FIELDS (FROM TO SUBJECT DATE)]<0.65536>"
FIELDS_KEY = b"BODY[HEADER.FIELDS (FROM TO SUBJECT DATE)]<0>"
# Longest BODYSTRUCTURE that is read, in bytes: reading more takes long.
STRUCTURE_BYTES = 32 * 1024
# Rows that a session keeps, and the largest size of the header fields of one, in bytes, and number
# of its recipients. All of a message but its flags stays as it is (RFC 9051, 2.3.1.1).
MOST_ROWS = 200
ROW_BYTES, ROW_RECIPIENTS = 1024, 10
# Rows that are asked for at once, and new sessions that this may cost: each structure that is too
# long costs some. A page ends early after rows with so many bytes of header fields.
ROWS_AT_ONCE = 100
MOST_REOPENS = 16
PAGE_BYTES = 1024 * 1024
ITEMS = ("FLAGS", "INTERNALDATE", "RFC822.SIZE", "PREVIEW", FIELDS)


class Wanted(msgspec.Struct, frozen=True):
    """Which messages of a mailbox a list shows. `since` and `until` are days in UTC on which a
    message was received; `until` itself is not among them. At least one of the two UIDs is None."""

    mailbox: str
    limit: int
    before_uid: int | None = None
    after_uid: int | None = None
    unseen: bool = False
    from_: str | None = None
    to: str | None = None
    subject: str | None = None
    since: date | None = None
    until: date | None = None
    text: str | None = None

    @property
    def criteria(self) -> list[bytes]:
        """The search keys of IMAP (RFC 9051, 6.4.4), but for the range of UIDs."""
        texts = (b"FROM", self.from_), (b"TO", self.to), (b"SUBJECT", self.subject), (b"TEXT", self.text)
        days = (b"SINCE", self.since), (b"BEFORE", self.until)
        found = [b"UNSEEN"] * self.unseen
        for key, day in days:
            found += [key, format_criteria_date(max(day, EARLIEST_DAY))] if day else []
        for key, text in texts:
            found += [key, _quoted(text)] if text else []
        return found

    @property
    def widths(self) -> tuple[int, int]:
        """The numbers of UIDs in the first range and in the widest."""
        if self.text:
            return FIRST_OF_TEXTS, WIDEST_OF_TEXTS
        return FIRST_RANGE, WIDEST_OF_HEADERS if self.from_ or self.to or self.subject else WIDEST_RANGE


class ListedMessage(msgspec.Struct, frozen=True, rename={"from_": "from"}):
    """A message in a list. What its sender chose is not checked. `flags` are those of IMAP;
    `preview` is the beginning of the text."""

    id: str
    mailbox: str
    uid: int
    from_: MailAddress | None
    to: tuple[MailAddress, ...]
    subject: str | None
    date: str | None
    received_at: str
    size: int
    flags: tuple[str, ...]
    preview: str
    has_attachments: bool


class MessagePage(msgspec.Struct, frozen=True):
    """A page, newest first; `next` is where the next page begins: `before_uid` or `after_uid`, and
    its value."""

    items: list[ListedMessage]
    next: tuple[str, int] | None = None


def page(session: ImapSession, wanted: Wanted) -> MessagePage:
    """Returns the newest messages that match; with `after_uid` the oldest after it, also newest
    first. Raises not_found, Lost."""
    opened = session.open(wanted.mailbox)
    uids, edge = _search(session, wanted, opened)
    shown = uids[: wanted.limit]
    if len(uids) > wanted.limit:
        edge = shown[-1]
    rows, looked = _summaries(session, opened, shown)
    if looked < len(shown):
        edge = shown[looked - 1]
    way = "before_uid" if wanted.after_uid is None else "after_uid"
    items = sorted(rows, key=lambda row: row.uid, reverse=True)
    return MessagePage(items, (way, edge) if edge is not None else None)


def _search(session: ImapSession, wanted: Wanted, opened: Opened) -> tuple[list[int], int | None]:
    """Returns limit + 1 UIDs or more, fewer if there are no more, in the order of the search; and
    the UID at which the search stopped because time was up."""
    last, (width, widest) = opened.uidnext - 1, wanted.widths
    is_upward = wanted.after_uid is not None
    low = (wanted.after_uid or 0) + 1
    high = last if wanted.before_uid is None else min(wanted.before_uid - 1, last)
    found: list[int] = []
    until = time.monotonic() + SEARCH_SECONDS
    while low <= high and len(found) <= wanted.limit:
        began = time.monotonic()
        first, end = (low, min(low + width - 1, high)) if is_upward else (max(high - width + 1, low), high)
        if wanted.text:
            first, end = _within_bytes(session, first, end, is_upward)
        matched = session.search([b"UID", b"%d:%d" % (first, end), *wanted.criteria])
        found += matched if is_upward else reversed(matched)
        low, high = (end + 1, high) if is_upward else (low, first - 1)
        now = time.monotonic()
        if now - began < QUICK_SECONDS:
            width = min(4 * width, widest)
        if now > until and low <= high:
            return found, end if is_upward else first
    return found, None


def _within_bytes(session: ImapSession, first: int, end: int, is_upward: bool) -> tuple[int, int]:
    """Cuts a range of UIDs where its messages have more than RANGE_BYTES; at least one stays."""
    total = 0
    for uid, size in sorted(session.sizes(first, end).items(), reverse=not is_upward):
        if total and total + size > RANGE_BYTES:
            return (first, uid - 1) if is_upward else (uid + 1, end)
        total += size
    return first, end


def _summaries(session: ImapSession, opened: Opened, uids: Sequence[int]) -> tuple[list[ListedMessage], int]:
    """Returns the rows of messages, without those that are gone, and how many of the UIDs were
    looked at before the page was full. A session keeps rows that it has shown, and asks for their
    flags only (decision 0341)."""
    keys = {uid: (opened.name, opened.uidvalidity, uid) for uid in uids}
    kept = {uid: session.rows[key] for uid, key in keys.items() if key in session.rows}
    flags = session.flags(kept)
    rows = {uid: msgspec.structs.replace(row, flags=_shown(flags[uid])) for uid, row in kept.items() if uid in flags}
    fresh = [uid for uid in uids if uid not in kept]
    looked = len(uids)
    read = 0
    for number, (row, size) in enumerate(_fetched(session, opened, fresh), 1):
        read += size
        if row is not None:
            rows[row.uid] = row
            if size <= ROW_BYTES and len(row.to) <= ROW_RECIPIENTS:
                kept[row.uid] = row
        if number < len(fresh) and read > PAGE_BYTES:
            looked = uids.index(fresh[number])
            break
    for uid in sorted(kept):  # what is used now stands at the end, and is dropped last
        session.rows.pop(keys[uid], None)
        session.rows[keys[uid]] = kept[uid]
    for key in list(session.rows)[:-MOST_ROWS]:
        del session.rows[key]
    return [rows[uid] for uid in uids[:looked] if uid in rows], looked


def _fetched(session: ImapSession, opened: Opened, uids: Sequence[int]) -> Iterator[tuple[ListedMessage | None, int]]:
    """Yields the row of each message, with the size of its header fields in bytes; None if it is
    gone."""
    for first in range(0, len(uids), ROWS_AT_ONCE):
        some = uids[first : first + ROWS_AT_ONCE]
        found = session.fetch(some, ITEMS)
        structures = _structures(session, some)
        for uid in some:
            items = found.get(uid, {})
            if FIELDS_KEY in items:
                yield _summary(opened, uid, items, structures.get(uid, True)), len(items[FIELDS_KEY] or b"")
            else:
                yield None, 0


def _shown(flags: frozenset[str]) -> tuple[str, ...]:
    return tuple(sorted(flags))


def _summary(opened: Opened, uid: int, items: dict[bytes, Any], has_attachments: bool) -> ListedMessage:
    fields = Fields(items[FIELDS_KEY] or b"")
    return ListedMessage(
        id=f"{opened.uidvalidity}.{uid}",
        mailbox=opened.name,
        uid=uid,
        from_=next(iter(fields.addresses("from")), None),
        to=fields.addresses("to"),
        subject=fields.text("subject"),
        date=fields.date(),
        received_at=timestamp(items[b"INTERNALDATE"]),
        size=items[b"RFC822.SIZE"],
        flags=_shown(flags_of(items)),
        preview=clean((items.get(b"PREVIEW") or b"").decode("utf-8", "replace")),
        has_attachments=has_attachments,
    )


def _structures(session: ImapSession, uids: Sequence[int]) -> dict[int, bool]:
    """Returns which messages have attachments. A message with so many parts that nobody should read
    what they are is missing, and so are some beside many such messages."""
    found: dict[int, bool] = {}
    left, waiting = MOST_REOPENS, [uids]
    while waiting and left:
        some = waiting.pop()
        try:
            answer = session.fetch(some, ("BODYSTRUCTURE",), STRUCTURE_BYTES)
        except LineTooLong:
            session.reopen()
            left -= 1
            middle = len(some) // 2
            waiting += [half for half in (some[:middle], some[middle:]) if middle]
            continue
        found |= {
            uid: _has_attachments(one[b"BODYSTRUCTURE"]) for uid, one in answer.items() if b"BODYSTRUCTURE" in one
        }
    return found


def _has_attachments(part: Any) -> bool:
    """Whether a part of a BODYSTRUCTURE is or has an attachment, as parser.py sees it. What is no
    such structure may have one."""
    try:
        return _is_attachment(part)
    except (IndexError, TypeError, AttributeError, ValueError):
        return True


def _is_attachment(part: Any) -> bool:
    if isinstance(part[0], list):
        return any(map(_is_attachment, part[0]))
    if f"{_word(part[0])}/{_word(part[1])}" not in BODIES:
        return True
    disposition = part[9] if len(part) > 9 else None
    kind, more = disposition or (b"", ())
    return _word(kind) == "attachment" or bool({b"filename", b"filename*", b"name", b"name*"} & _names(part[2], more))


def _names(*parameters: Any) -> set[bytes]:
    return {name.lower().partition(b"*0")[0] for each in parameters for name in (each or ())[::2] if name}


def _word(text: bytes | None) -> str:
    return (text or b"").decode("ascii", "replace").lower()


def _quoted(text: str) -> bytes:
    """A text as an argument: ASCII in quotes; other text is sent as a literal."""
    return b'"%b"' % text.replace("\\", "\\\\").replace('"', '\\"').encode() if text.isascii() else text.encode()
