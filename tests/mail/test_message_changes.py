"""A stream tells of each change in an account's mailboxes, and ends when its client must go."""

import base64
import itertools
import json
import shutil
import socket
import zlib
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from postroom.api.event_stream import MOST_OF_ACCOUNT
from postroom.messages.mailbox_watch import MOST_MAILBOXES
from tests.api.test_proxies import PROXIES
from tests.harness.service import wait_for
from tests.mail.following import following, is_of
from tests.mail.platform import Mailbox, Platform
from tests.mail.reading import append, get
from tests.mail.test_message_sync import SMALL, synced


@pytest.fixture
def box(platform: Platform) -> Mailbox:
    return platform.create()


def test_it_works(box: Mailbox) -> None:
    """A message is delivered; the token of the event is that of a client that has synced."""
    with following(box) as stream:
        first = stream.wait_for(is_of("INBOX", "state"))
        box.receive("hello")
        event = stream.wait_for(is_of("INBOX", "added"))
        now = synced(box)
        assert event == {
            "type": "mailbox_changed",
            "mailbox": "INBOX",
            "uidvalidity": now["uidvalidity"],
            "token": now["token"],
            "eventType": "added",
        }
        assert first["token"] != event["token"]
        since = synced(box, uidvalidity=first["uidvalidity"], token=first["token"])
        assert since["changes"]["added"] == [{"uid": 1}]


def test_each_kind_of_change(box: Mailbox) -> None:
    synced(box)  # a session of the API has the INBOX open
    with following(box) as stream, box.login() as imap:
        stream.wait_for(is_of("INBOX", "state"))
        imap.append("INBOX", "", "", SMALL)
        stream.wait_for(is_of("INBOX", "added"))
        imap.select("INBOX")
        imap.uid("STORE", "1", "+FLAGS", "(\\Seen)")
        stream.wait_for(is_of("INBOX", "updated"))
        imap.uid("MOVE", "1", "Archive")
        stream.wait_for(is_of("INBOX", "removed"))
        stream.wait_for(is_of("Archive", "added"))
        imap.create("Work")
        stream.wait_for(is_of("Work", "created"))
        imap.append("Work", "", "", SMALL)
        stream.wait_for(is_of("Work", "added"))
        imap.rename("Work", "Play")
        stream.wait_for(is_of("Play", "created"))
        assert stream.wait_for(is_of("Work", "deleted"))["token"] == ""
        imap.delete("Play")
        stream.wait_for(is_of("Play", "deleted"))


def test_who_comes_back_misses_nothing(box: Mailbox) -> None:
    with following(box) as stream:
        stream.wait_for(is_of("Trash", "state"))
        known = len(stream.events)
    last_id = stream.last_id
    assert last_id
    with following(box, last_id) as stream:
        append(box, SMALL, mailbox="Sent")
        stream.wait_for(is_of("Sent", "added"))
        assert len(stream.events) == 1, "it tells what the client knew"
    last_id = stream.last_id
    with box.login() as imap:
        imap.create("Work")
        imap.append("INBOX", "", "", SMALL)
        imap.delete("Work")
        imap.create("Play")
    for header, query in ((last_id, ""), ("", f"?last_event_id={last_id}")):
        with following(box, header, query=query) as stream:
            stream.wait_for(is_of("INBOX", "added"))
            stream.wait_for(is_of("Play", "created"))
            assert len(stream.events) == 2
    with box.login() as imap:
        imap.delete("Play")
    with following(box, stream.last_id) as stream:
        stream.wait_for(is_of("Play", "deleted"))
        assert len(stream.events) == 1
    nested = base64.urlsafe_b64encode(zlib.compress(b'{"a":[1,2,3,4,' + b"[" * 100_000)).decode()
    for nonsense in ("-", "x", "eJwDAAAAAAE", "a" * 9000, *[nested] * (MOST_OF_ACCOUNT + 1)):
        with following(box, nonsense) as stream:
            stream.wait_for(is_of("Trash", "state"))
            assert len(stream.events) == known


@pytest.mark.parametrize("status", ["suspended", "disabled"])
def test_a_suspension_ends_a_stream(box: Mailbox, status: str) -> None:
    """The platform may read the account further, and so may follow it anew."""
    with following(box) as stream:
        stream.wait_for(is_of("INBOX", "state"))
        box.update(status=status)
        stream.wait_for_end()
    with following(box) as stream:
        stream.wait_for(is_of("INBOX", "state"))
        box.delete()
        stream.wait_for_end()
    assert get(box, "changes")[0] == 404


def test_a_revoked_key_ends_its_streams(box: Mailbox) -> None:
    made = box.platform.call("POST", "/v2/keys", {"scopes": ["messages:read"]})
    with following(box, key=made["api_key"]) as stream, following(box) as other:
        stream.wait_for(is_of("INBOX", "state"))
        other.wait_for(is_of("INBOX", "state"))
        box.platform.call("POST", "/v2/keys/delete", {"id": made["key"]["id"]})
        stream.wait_for_end()
        append(box, SMALL)
        other.wait_for(is_of("INBOX", "added"))
    assert get(box, "changes", made["api_key"])[0] == 401


def test_the_number_of_streams_has_a_bound(box: Mailbox) -> None:
    """A stream that has ended gives its place to another."""
    with ExitStack() as streams:
        for _ in range(MOST_OF_ACCOUNT):
            streams.enter_context(following(box)).wait_for(is_of("INBOX", "state"))
        status, body, headers = get(box, "changes")
        assert (status, json.loads(body)["code"], headers["retry-after"]) == (429, "too_many_requests", "5")
        assert get(box.platform.create("other"), "changes", method="HEAD")[0] == 200
    wait_for("a place", lambda: get(box, "changes", method="HEAD")[0] == 200)
    for _ in range(MOST_OF_ACCOUNT + 1):
        wait_for("a place", lambda: get(box, "changes", method="HEAD")[0] == 200)


def test_an_account_of_many_mailboxes_is_not_followed(box: Mailbox) -> None:
    with following(box) as stream:
        stream.wait_for(is_of("INBOX", "state"))
        inbox = box.home / "Maildir"
        for number in range(MOST_MAILBOXES):  # over IMAP it takes half a minute
            for name in ("", "cur", "new", "tmp"):
                made = inbox / f".f{number}" / name
                made.mkdir(mode=0o700)
                shutil.chown(made, inbox.stat().st_uid, inbox.stat().st_gid)
        with box.login() as imap:
            names = itertools.count()

            def is_over() -> bool:
                imap.create(f"more{next(names)}")  # Dovecot looks again at the names
                return stream.is_over

            wait_for("the end of the stream", is_over)
    status, body, _ = get(box, "changes")
    answer = json.loads(body)
    assert (status, answer["code"], answer["limit"]) == (409, "limit_reached", MOST_MAILBOXES)
    assert answer["errors"][0]["field"] == "mailboxes"


def test_what_a_stream_says_of_itself(box: Mailbox) -> None:
    status, body, headers = get(box, "changes", method="HEAD")
    assert (status, body) == (200, b"")
    assert headers["content-type"] == "text/event-stream"
    assert headers["cache-control"] == "no-store"
    assert headers["x-accel-buffering"] == "no"


def test_a_slow_reader_holds_nobody(box: Mailbox) -> None:
    """A client that reads nothing is told nothing more, and the others are."""
    with closing(socket.create_connection(("127.0.0.1", box.platform.service.ports["port"]))) as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
        path = f"/v2/email-accounts/{box.id}/changes"
        slow.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nx-api-key: {box.platform.key}\r\n\r\n".encode())
        with following(box) as stream:
            stream.wait_for(is_of("INBOX", "state"))
            for _ in range(5):
                append(box, SMALL)
                token = synced(box)["token"]
                stream.wait_for(lambda event, wanted=token: bool(event["token"] == wanted))  # type: ignore[misc]


@pytest.mark.parametrize("name", PROXIES)
def test_it_works_behind_a_proxy(box: Mailbox, name: str, tmp_path: Path) -> None:
    """Nothing is held back, and the end comes too."""
    with PROXIES[name](box.platform.service, tmp_path) as port, following(box, port=port) as stream:
        stream.wait_for(is_of("INBOX", "state"))
        append(box, SMALL)
        stream.wait_for(is_of("INBOX", "added"))
        box.update(status="suspended")
        stream.wait_for_end()
