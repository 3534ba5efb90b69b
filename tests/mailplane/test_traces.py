"""What tells of a delivery: Dovecot's log, and the Received field of its LMTP."""

import os
from pathlib import Path

import pytest

from postroom.mailplane.dovecot.maildir import changes, home_of
from postroom.mailplane.dovecot.traces import Deliveries, delivered, trace

STORED = "2026-11-30 08:33:02.680488 lmtp(2@acct.internal)<25193><zdX/Ib40DWtpYgAAqLhr7Q>: Info: sieve: "
FIELD = (
    "from mail.postroom.test\n\tby mail.postroom.test with LMTP\n\tid zdX/Ib40DWtpYgAAqLhr7Q\n\t"
    "(envelope-from <x@outside.test>); Mon, 30 Nov 2026 08:33:02 +0000"
)


@pytest.mark.parametrize(
    ("line", "account"),
    [
        (STORED + "msgid=<1@x>: stored mail into mailbox 'INBOX'", 2),
        (STORED.replace("2@acct", "17@inbox.acct") + "msgid=unspecified: stored mail into mailbox 'a: b'", 17),
        (STORED + "msgid=<x>: stored mail into mailbox 'x' \xff", 2),
        (STORED + "msgid=<stored mail into mailbox>: discarded duplicate", 2),  # a hint too many does no harm
        (STORED + "msgid=<1@x>: forwarded to <a@b.example>", None),
        (STORED.replace("lmtp(2@", "lmtp(0@") + "msgid=<1@x>: stored mail into mailbox 'INBOX'", None),
        (STORED.replace("acct.internal", "acct.example") + "msgid=<1@x>: stored mail into mailbox 'INBOX'", None),
        ("2026-11-30 08:33:02.680488 imap(2@acct.internal)<1><x>: Info: stored mail into mailbox", None),
        ("lmtp(2@acct.internal)<25193><x>: Info: sieve: stored mail into mailbox 'INBOX'", None),
    ],
)
def test_a_line(line: str, account: int | None) -> None:
    assert delivered(line.encode("latin-1") + b"\n") == account


def test_the_log_is_read_on(tmp_path: Path) -> None:
    log = tmp_path / "dovecot.log"
    read = Deliveries(log)
    line = STORED + "msgid=<1@x>: stored mail into mailbox 'INBOX'\n"
    assert read() == set()
    log.write_text(line)
    assert (read(), read()) == ({2}, set())
    with log.open("a") as file:
        file.write(line.replace("(2@", "(3@") + "half a line")
    assert read() == {3}


@pytest.mark.parametrize("rest", ["", "\nfrom x by y with LMTP id 0123456789012345678901; no date", "\r\nforged"])
@pytest.mark.parametrize("sender", ["x@outside.test", "", '"a>); Mon, 01 Jan 2024 00:00:00 +0000"@b.example'])
def test_a_field(rest: str, sender: str) -> None:
    found = trace(FIELD.replace("x@outside.test", sender) + rest)
    assert found == ("mail.postroom.test", "zdX/Ib40DWtpYgAAqLhr7Q", 1796027582000)


def test_a_further_message_of_a_session_has_an_id_of_its_own() -> None:
    found = trace(FIELD.replace("qLhr7Q", "qLhr7Q:2"))
    assert found is not None
    assert found.id == "zdX/Ib40DWtpYgAAqLhr7Q:2"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("LMTP", "ESMTP"),
        ("from mail.postroom.test", "from other.test"),
        ("08:33:02", "25:33:02"),
        ("2026", "1969"),
        ("zdX/Ib40DWtpYgAAqLhr7Q", "short"),
        ("; Mon", " Mon"),
        ("+0000", "+0000 and more"),
        ("from", "x from"),
    ],
)
def test_what_is_none(old: str, new: str) -> None:
    assert trace(FIELD.replace(old, new, 1)) is None
    assert trace("from client.example by mail.postroom.test (Postfix) with ESMTP id X; date\n" + FIELD) is None


def test_a_folder_that_gets_mail_has_changed(tmp_path: Path) -> None:
    inbox = home_of(tmp_path, 7) / "Maildir"
    assert changes(tmp_path, 7)[0] == 0
    for folder in (inbox, inbox / ".Junk"):
        for name in ("new", "cur"):
            (folder / name).mkdir(parents=True)
    seen = [changes(tmp_path, 7)]
    now = seen[0][0] // 10**9
    for place in ("new", "cur", ".Junk/new", ".Junk/cur"):
        os.utime(inbox / place, (now + len(seen), now + len(seen)))
        seen.append(changes(tmp_path, 7))
    assert len({number for _, number in seen}) == 5
    assert [newest // 10**9 for newest, _ in seen] == [now, now + 1, now + 2, now + 3, now + 4]
