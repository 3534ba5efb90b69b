"""Folders: names with any character that RFC 9051 allows, and folders of special use (RFC 6154)."""

import base64
import imaplib

import pytest

from tests.harness.service import wait_for
from tests.mail.clients import Imap, smtp
from tests.mail.platform import Mailbox, Platform

NAMES = [
    "example.com", ".hidden", ".", "..", "...", "a..b", "a.", "~", "~root", "a~b", "%", "%s%n", "100%", "a*b",
    "\\", "\\2e", "a\\2eb", "\\5c", "a\\.b", "&", "a&b", '"quoted"', "with space ", " leading", "Ordner \xfc",
    "\u65e5\u672c.\u8a9e", "\U0001f4e7", "a/b.c/.d", "INBOX/sub.x", "cur", "new", "tmp", ".cur",
    "maildirfolder", "dovecot-uidlist", "subscriptions", "a:b", "#shared", "#news.x", "-", "+", "{5}", "(p)",
    "[x]", "x" * 250, "x" * 100 + "." + "y" * 100, "d/" * 59 + "d",
]  # fmt: skip


def utf7(name: str) -> bytes:
    """Returns a folder name as a quoted IMAP string in modified UTF-7 (RFC 3501 5.1.3)."""
    out, held = b"", ""
    for letter in [*name, ""]:
        if letter and not " " <= letter <= "~":
            held += letter
            continue
        if held:
            coded = base64.b64encode(held.encode("utf-16-be")).rstrip(b"=").replace(b"/", b",")
            out, held = out + b"&" + coded + b"-", ""
        out += b"&-" if letter == "&" else letter.encode()
    return b'"' + out.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'


def ask(imap: Imap, command: bytes) -> list[bytes]:
    """Returns the lines of the answer to a command. The last line has the status."""
    imap.send(b"t " + command + b"\r\n")
    lines = [imap.readline().rstrip()]
    while not lines[-1].startswith(b"t "):
        lines.append(imap.readline().rstrip())
    return lines


def ok(imap: Imap, command: bytes) -> list[bytes]:
    lines = ask(imap, command)
    assert lines[-1].startswith(b"t OK"), (command, lines)
    return lines[:-1]


def special(imap: Imap) -> dict[bytes, bytes]:
    """Returns the special use of each folder."""
    lines = ok(imap, b'LIST (SPECIAL-USE) "" "*"')
    return {
        line.partition(b"\\")[2].partition(b")")[0].split(b" ")[-1].lstrip(b"\\"): line.rsplit(b" ", 1)[1]
        for line in lines
    }


@pytest.mark.parametrize("name", NAMES)
def test_a_folder_has_any_name(platform: Platform, name: str) -> None:
    box = platform.create()
    with box.login() as imap:
        folder, later = utf7(name), utf7("Later." + name[:100].strip("/"))
        ok(imap, b"CREATE " + folder)
        ok(imap, b"SUBSCRIBE " + folder)
        ok(imap, b"APPEND " + folder + b" {3+}\r\nA:b")
        for question in (b"LIST", b"LSUB"):
            listed = b"".join(ok(imap, question + b' "" ' + (b'"*"' if "*" in name or "%" in name else folder)))
            assert folder in listed or folder.strip(b'"') in listed
        assert b"* 1 EXISTS" in ok(imap, b"SELECT " + folder)
        ok(imap, b"CLOSE")
        ok(imap, b"RENAME " + folder + b" " + later)
        assert b"MESSAGES 1" in b"".join(ok(imap, b"STATUS " + later + b" (MESSAGES)"))
        ok(imap, b"DELETE " + later)
        assert ask(imap, b"SELECT " + later)[-1].startswith(b"t NO")
    assert box.home.resolve() in (box.home / "Maildir" / "cur").resolve().parents  # no folder is outside the mailbox


@pytest.mark.parametrize("name", ["/leading", "a//b", "../../x", "~/x", "~root/x", "x" * 256, "a\x01b"])
def test_a_name_that_is_none(platform: Platform, name: str) -> None:
    """The name is refused, or the folder is inside the mailbox."""
    box = platform.create()
    with box.login() as imap:
        ok(imap, b"SELECT INBOX")
        before = set(box.home.parent.iterdir())
        answer = ask(imap, b"CREATE " + utf7(name).replace(b"&AAE-", b"\x01"))[-1]
        assert answer.startswith((b"t NO", b"t OK"))
        assert set(box.home.parent.iterdir()) == before
        if answer.startswith(b"t OK"):
            ok(imap, b"SELECT " + utf7(name))


def test_inbox_is_one_in_any_case(platform: Platform) -> None:
    with platform.create().login() as imap:
        for name in (b"inbox", b"Inbox", b"INBOX"):
            ok(imap, b"SELECT " + name)
            assert b"ALREADYEXISTS" in ask(imap, b"CREATE " + name)[-1]


def test_a_script_files_into_a_folder_with_a_dot(platform: Platform) -> None:
    box = platform.create()
    box.put_script(b'require ["fileinto", "mailbox"]; fileinto :create "shop.example/orders";')
    box.receive("order")
    with box.login() as imap:
        status = b'STATUS "shop.example/orders" (MESSAGES)'
        wait_for("the order", lambda: b"MESSAGES 1" in b"".join(ask(imap, status)))
        assert b"* 1 EXISTS" in ok(imap, b'SELECT "shop.example/orders"')
        assert b"shop.example/orders" in b"".join(ok(imap, b'LSUB "" "*"')), "mail clients show subscribed folders"


@pytest.mark.parametrize("folder", [b"Drafts", b"Sent", b"Archive", b"Junk", b"Trash"])
def test_a_folder_of_special_use_stays(platform: Platform, folder: bytes) -> None:
    """A client that renames or deletes such a folder is refused, so the folder keeps its use and
    its mail (decision 0153)."""
    box = platform.create()
    with box.login() as imap:
        before = special(imap)
        assert before.keys() == {b"Drafts", b"Sent", b"Archive", b"Junk", b"Trash"}
        ok(imap, b"APPEND " + folder + b" {3+}\r\nA:b")
        for command in (b"RENAME %s Other", b"RENAME %s Other/Folder", b"DELETE %s"):
            assert b"NO [NOPERM]" in ask(imap, command % folder)[-1]
        assert special(imap) == before
        assert b"MESSAGES 1" in b"".join(ok(imap, b"STATUS " + folder + b" (MESSAGES)"))
        ok(imap, b"CREATE " + folder + b"/2025")
        ok(imap, b"SELECT " + folder)
        ok(imap, b"STORE 1 +FLAGS (\\Seen \\Deleted $Label)")
        ok(imap, b"MOVE 1 " + folder + b"/2025")
        ok(imap, b"RENAME " + folder + b"/2025 Old")
        ok(imap, b"UNSUBSCRIBE " + folder)
        ok(imap, b"SUBSCRIBE " + folder)
        ok(imap, b"APPEND " + folder + b" {3+}\r\nA:b")
        ok(imap, b"STORE 1 +FLAGS \\Deleted")
        ok(imap, b"EXPUNGE")
        ok(imap, b"DELETE Old")


def test_folders_of_before_are_still_there(platform: Platform) -> None:
    """The mailbox was created before `listescape` was set."""
    box = platform.create()
    with box.login() as imap:
        for name in (b"Projects/2025", b"&ZeVnLIqe-", b"Sent"):
            ok(imap, b"CREATE " + name)
            ok(imap, b"SUBSCRIBE " + name)
    maildir = box.home / "Maildir"
    assert {".Projects.2025", ".&ZeVnLIqe-", ".Sent"} <= {path.name for path in maildir.iterdir()}
    assert b"Projects" in (maildir / "subscriptions").read_bytes()


def test_create_with_a_use_is_not_announced(platform: Platform) -> None:
    """Clients ask for a special use only if CREATE-SPECIAL-USE is announced (RFC 6154 3)."""
    with platform.create().login() as imap:
        announced = imap.capability()[1][0]
        assert b"CREATE-SPECIAL-USE" not in announced
        assert b"SPECIAL-USE" in announced


@pytest.mark.parametrize("how", ["literal", "catenate"])
def test_a_stored_message_is_no_larger_than_one_that_is_sent(platform: Platform, how: str) -> None:
    box, limit = platform.create(), 50 * 1024 * 1024
    with box.login() as imap:
        text = b"Subject: large\r\n\r\n" + (b"x" * 998 + b"\r\n") * (limit // 1000 + 200)
        begin = b"APPEND INBOX " + (b"CATENATE (TEXT " if how == "catenate" else b"")
        end = b")" if how == "catenate" else b""
        try:
            answer = ask(imap, begin + b"{%d+}\r\n" % len(text) + text + end)[-1]
        except (imaplib.IMAP4.abort, OSError):  # the server may close without reading the rest
            answer = b"t NO [LIMIT]"
        assert b"[LIMIT]" in answer
    assert box.subjects() == []


def test_what_was_delivered_at_the_limit_can_be_copied(platform: Platform) -> None:
    """The header lines that servers add in transit do not count."""
    box, limit = platform.create(), 50 * 1024 * 1024
    text = b"Subject: largest\r\n\r\n" + b"x" * 20 + b"\r\n" + (b"x" * 998 + b"\r\n") * ((limit - 400_000) // 1000)
    _deliver(box, text)
    box.wait_for("largest")
    with box.login() as imap:
        ok(imap, b"SELECT INBOX")
        ok(imap, b"COPY 1 Archive")


def _deliver(box: Mailbox, text: bytes) -> None:
    with smtp(box.platform.service) as client:
        client.sendmail("someone@elsewhere.example", box.address, text)
