"""Rows of lists that a session keeps: a list shows the mailbox as it is now all the same."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import pytest

from postroom.messages import pages
from postroom.messages.imap_session import Opened
from postroom.messages.pages import FIELDS_KEY, MOST_ROWS, ROW_BYTES, ROW_RECIPIENTS, Wanted
from tests.mail.platform import Mailbox, Platform
from tests.mail.reading import append, listed


@pytest.fixture
def box(platform: Platform) -> Mailbox:
    return platform.create()


def letter(subject: str) -> bytes:
    return f"From: Ann <ann@example.org>\r\nSubject: {subject}\r\n\r\nHello {subject}.\r\n".encode()


def test_a_list_shows_the_mailbox_as_it_is_now(box: Mailbox) -> None:
    append(box, *(letter(f"m{number}") for number in range(1, 4)))
    first = listed(box)
    assert [item["preview"] for item in first] == ["Hello m3.", "Hello m2.", "Hello m1."]
    assert listed(box) == first
    with box.login() as imap:
        imap.select("INBOX")
        imap.uid("STORE", "2", "+FLAGS", "(\\Seen later)")
        imap.uid("STORE", "1", "+FLAGS", "(\\Deleted)")
        imap.expunge()
    append(box, letter("m4"))
    now = listed(box)
    assert [(item["uid"], item["flags"]) for item in now] == [(4, []), (3, []), (2, ["\\Seen", "later"])]
    assert now[1] == first[0]
    assert now[2] | {"flags": []} == first[1]
    with box.login() as imap:
        imap.select("INBOX")
        imap.uid("STORE", "2", "-FLAGS", "(\\Seen)")
    assert [item["flags"] for item in listed(box)] == [[], [], ["later"]]


def test_mailboxes_are_not_mixed_up(box: Mailbox) -> None:
    """Neither two at a time, nor one that has been made again, nor one under a new name."""
    append(box, letter("in the inbox"))
    with box.login() as imap:
        imap.create("Other")
    append(box, letter("elsewhere"), mailbox="Other")
    for _ in range(2):
        assert [item["subject"] for item in listed(box)] == ["in the inbox"]
        assert [item["subject"] for item in listed(box, "?mailbox=Other")] == ["elsewhere"]
    with box.login() as imap:
        imap.rename("Other", "Third")
        imap.create("Other")
    append(box, letter("again"), mailbox="Other")
    assert [(item["subject"], item["mailbox"]) for item in listed(box, "?mailbox=Other")] == [("again", "Other")]
    assert [(item["subject"], item["mailbox"]) for item in listed(box, "?mailbox=Third")] == [("elsewhere", "Third")]
    assert [item["mailbox"] for item in listed(box, "?mailbox=inbox")] == ["INBOX"]


class Session:
    """A session with a mailbox of `number` messages with these header fields. `asked` are the UIDs
    of each FETCH of more than flags."""

    def __init__(self, number: int, fields: bytes = b"Subject: x\r\n") -> None:
        self.number, self.fields = number, fields
        self.rows: dict[Any, Any] = {}
        self.asked: list[list[int]] = []

    def open(self, name: str) -> Opened:
        return Opened(name, 7, self.number + 1, self.number, 1)

    def search(self, criteria: list[bytes]) -> list[int]:
        first, last = map(int, criteria[1].split(b":"))
        return list(range(first, min(last, self.number) + 1))

    def flags(self, uids: Iterable[int]) -> dict[int, frozenset[str]]:
        return {uid: frozenset({"\\Seen"}) for uid in uids if uid != 2}

    def fetch(self, uids: list[int], items: tuple[str, ...], *_: int) -> dict[int, dict[bytes, Any]]:
        if items == ("BODYSTRUCTURE",):
            return {}
        self.asked.append(list(uids))
        known = {b"FLAGS": (), b"INTERNALDATE": datetime(2026, 1, 1, tzinfo=UTC), b"RFC822.SIZE": 9}
        return {uid: {FIELDS_KEY: self.fields, **known} for uid in uids}


def shown(session: Session, limit: int = 500, before_uid: int | None = None) -> list[tuple[int, tuple[str, ...]]]:
    items = pages.page(session, Wanted("INBOX", limit, before_uid)).items  # type: ignore[arg-type]
    return [(item.uid, item.flags) for item in items]


def test_what_a_session_keeps_is_bounded() -> None:
    """The rows that were used last stay, and of a long page the newest."""
    session = Session(MOST_ROWS + 50)
    shown(session)
    assert sorted(uid for *_, uid in session.rows) == list(range(51, MOST_ROWS + 51))
    for number in range(1, 6):
        shown(session, 50, before_uid=51 * number)
        shown(session, 50)
    assert len(session.rows) == MOST_ROWS
    asked = len(session.asked)
    shown(session, 50)
    assert len(session.asked) == asked


@pytest.mark.parametrize(
    "fields", [b"Subject: x\r\n".ljust(ROW_BYTES + 1), b"To: " + b"a@b," * ROW_RECIPIENTS + b"c@d\r\n"]
)
def test_large_rows_are_not_kept(fields: bytes) -> None:
    session = Session(3, fields)
    shown(session)
    shown(session)
    assert (session.rows, session.asked) == ({}, [[3, 2, 1]] * 2)


def test_only_flags_are_asked_for() -> None:
    """And a message that has none any more is gone."""
    session = Session(3)
    assert shown(session) == [(3, ()), (2, ()), (1, ())]
    assert shown(session) == [(3, ("\\Seen",)), (1, ("\\Seen",))]
    assert session.asked == [[3, 2, 1]]
