"""What a stranger sends, or an owner makes, holds up a session of the API for a bounded time."""

import socket
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from postroom.errors import MailUnavailable
from postroom.mailplane.internal_addresses import delivery_name
from postroom.messages import imap_session, pages
from postroom.messages.doors import ANSWER_SECONDS, Way
from postroom.messages.imap_session import ImapSession
from postroom.messages.pages import Wanted, page
from tests.mail.platform import Mailbox, Platform
from tests.mail.reading import append, get

PLAIN = b"Subject: x\r\n\r\nhi\r\n"


class UserDoor:
    """Starts Dovecot's `imap` as the system user, as the API does."""

    def __init__(self, data: Path) -> None:
        self._data = data

    def open(self, account_id: int) -> Way:
        ours, theirs = socket.socketpair()
        ours.settimeout(ANSWER_SECONDS)
        owner = (self._data / "mail").stat()
        with theirs:
            command = ["doveadm", "-c", str(self._data / "dovecot" / "dovecot.conf"), "exec", "imap"]
            process = subprocess.Popen(
                [*command, "-u", delivery_name(account_id)],
                stdin=theirs.fileno(),
                stdout=theirs.fileno(),
                stderr=subprocess.DEVNULL,
                user=owner.st_uid,
                group=owner.st_gid,
                extra_groups=[],
            )
        return Way(ours, process)


class Clock:
    """A clock by which a command takes more than a tenth of the time for a count."""

    def __init__(self, session: "Counting") -> None:
        self._session = session

    def monotonic(self) -> float:
        return self._session.commands.count("folder_status") * imap_session.COUNT_SECONDS / 9.5


class Counting(ImapSession):
    """Notes the ranges of UIDs that it searches, and the commands that it gives."""

    def __init__(self, box: Mailbox) -> None:
        self.ranges: list[tuple[int, int]] = []
        self.commands: list[str] = []
        super().__init__(UserDoor(box.platform.service.data), box.id)

    def _run(self, command: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        self.commands.append(command.__name__)
        return super()._run(command, *arguments, **options)

    def search(self, criteria: Sequence[bytes]) -> list[int]:
        first, _, last = criteria[1].partition(b":")
        self.ranges.append((int(first), int(last)))
        return super().search(criteria)


@pytest.fixture
def box(platform: Platform) -> Mailbox:
    return platform.create()


@pytest.fixture
def session(box: Mailbox) -> Iterator[Counting]:
    found = Counting(box)
    yield found
    found.close()


def widths(session: Counting) -> list[int]:
    return [last - first + 1 for first, last in session.ranges]


def test_a_search_of_texts_widens_while_it_is_quick(
    box: Mailbox, session: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    append(box, *[PLAIN] * 60)
    monkeypatch.setattr(pages, "QUICK_SECONDS", 3600)
    page(session, Wanted("INBOX", 50, text="zzzz"))
    assert widths(session) == [8, 32, 20]
    session.ranges.clear()
    monkeypatch.setattr(pages, "QUICK_SECONDS", 0)
    page(session, Wanted("INBOX", 50, text="zzzz"))
    assert widths(session) == [8] * 7 + [4]


@pytest.mark.parametrize("after", [None, 0])
def test_a_range_of_texts_is_cut_by_bytes(
    box: Mailbox, session: Counting, monkeypatch: pytest.MonkeyPatch, after: int | None
) -> None:
    """Small messages do not lead to a range of many large ones."""
    large = PLAIN + b"word\r\n" * 2000
    append(box, *[PLAIN] * 20, *[large] * 10, *[PLAIN] * 20)
    monkeypatch.setattr(pages, "RANGE_BYTES", 3 * len(large))
    found = page(session, Wanted("INBOX", 50, text="word", after_uid=after))
    assert [item.uid for item in found.items] == [*range(30, 20, -1)]
    holding = [{*range(first, last + 1)} & {*range(21, 31)} for first, last in session.ranges]
    assert max(map(len, holding)) <= 3
    searched = [uid for first, last in session.ranges for uid in range(first, last + 1)]
    assert sorted(searched) == [*range(1, 51)]


def test_a_page_of_texts_ends_within_a_range(box: Mailbox, session: Counting, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next page goes on below the messages that were searched."""
    append(box, *[PLAIN] * 60)
    monkeypatch.setattr(pages, "SEARCH_SECONDS", 0)
    found = page(session, Wanted("INBOX", 50, text="zzzz"))
    assert (found.items, found.next) == ([], ("before_uid", 53))


@pytest.mark.parametrize(
    ("after", "shown"), [(None, [[7, 6, 5], [4, 3], [2, 1]]), (0, [[4, 3, 2, 1], [6, 5], [7]])], ids=["down", "up"]
)
def test_a_page_ends_after_large_header_fields(
    box: Mailbox, session: Counting, monkeypatch: pytest.MonkeyPatch, after: int | None, shown: list[list[int]]
) -> None:
    """The next page goes on behind the last row, and no row is missing."""
    append(box, *[PLAIN] * 2, *[b"To: " + b"a@b.example, " * 60 + PLAIN] * 4, PLAIN)
    monkeypatch.setattr(pages, "PAGE_BYTES", 1000)
    pages_seen = []
    place: dict[str, Any] = {"after_uid": after}
    while place:
        found = page(session, Wanted("INBOX", 50, **place))
        pages_seen.append([item.uid for item in found.items])
        place = dict([found.next]) if found.next else {}
    assert pages_seen == shown


def test_many_structures_that_are_too_long(box: Mailbox, session: Counting, monkeypatch: pytest.MonkeyPatch) -> None:
    """They cost few new sessions. Two of them do not hide what the others have."""
    many = b'Content-Type: multipart/mixed; boundary="b"\r\n\r\n' + b"--b\r\n\r\n\r\n" * 450 + b"--b--\r\n"
    reopened: list[None] = []
    monkeypatch.setattr(session, "_start", lambda start=session._start: (reopened.append(None), start()))
    append(box, *[PLAIN] * 30, many, *[PLAIN] * 40, many, *[PLAIN] * 20)
    found = page(session, Wanted("INBOX", 100)).items
    assert {item.uid for item in found if item.has_attachments} == {31, 72}
    assert len(reopened) <= pages.MOST_REOPENS
    append(box, *[many] * 60)
    reopened.clear()
    session.rows.clear()
    assert len(page(session, Wanted("INBOX", 60)).items) == 60
    assert len(reopened) == pages.MOST_REOPENS


def test_mailboxes_that_take_long_to_count(box: Mailbox, session: Counting, monkeypatch: pytest.MonkeyPatch) -> None:
    """A count ends within its time. Its session goes on, and so does the next count."""
    with box.login() as imap:
        for number in range(30):
            imap.create(f"f{number}")
    with monkeypatch.context() as patched:
        patched.setattr(imap_session, "time", Clock(session))
        with pytest.raises(MailUnavailable) as error:
            session.mailboxes()
        assert error.value.seconds > 0
    assert session.commands.count("folder_status") == 10
    assert len(session.mailboxes()) == 36
    assert get(box, "mailboxes")[0] == 200
