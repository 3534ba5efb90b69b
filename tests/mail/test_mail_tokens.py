"""A mail token reads, changes, sends and follows the mail of its user, in a real Dovecot."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.harness.service import wait_for
from tests.mail.following import following, is_of
from tests.mail.platform import Mailbox, Platform
from tests.mail.reading import append, by_imap, change, flags_by_imap, get, read, read_events

SCOPES = ["messages:read", "messages:write", "messages:send"]
BOUNDARY = (
    b"Subject: photo\r\nFrom: Ann <ann@example.org>\r\nMessage-ID: <1@example.org>\r\nMIME-Version: 1.0\r\n"
    b"Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\nContent-Type: multipart/alternative; boundary=y\r\n\r\n"
    b"--y\r\n\r\nhi\r\n--y\r\nContent-Type: text/html; charset=utf-8\r\n\r\n<p>hi\r\n--y--\r\n--x\r\n"
    b"Content-Type: image/png\r\nContent-Disposition: attachment; filename=a.png\r\n"
    b"Content-Transfer-Encoding: base64\r\n\r\niVBORw0KGgo=\r\n--x--\r\n"
)


@pytest.fixture
def box(platform: Platform) -> Mailbox:
    return platform.create()


def token_for(box: Mailbox, **fields: Any) -> str:
    body = {"user_id": "user_123", "scopes": SCOPES, **fields}
    token: str = box.platform.call("POST", "/v2/mail-tokens", body)["token"]
    return token


def whole(box: Mailbox, token: str, uid: int, mailbox: str = "INBOX") -> Any:
    status, body, _ = get(box, f"/mail/message?mailbox={mailbox}&uid={uid}", token)
    assert status == 200, body
    return json.loads(body)


def test_it_works(box: Mailbox) -> None:
    append(box, BOUNDARY)
    token = token_for(box)
    _, first = change(box, "POST", "/mail/sync", {"mailbox": "INBOX"}, token)
    assert first["changes"] == {"added": [{"uid": 1}], "updated": [], "removed": []}
    assert sorted(first) == ["changes", "mailbox", "token", "uidvalidity"]
    message = whole(box, token, 1)
    assert message["rfc822"].encode() == by_imap(box)[1]
    assert message["flags"] == []
    assert message["envelope"]["from"] == [{"name": "Ann", "address": "ann@example.org"}]
    assert (message["envelope"]["messageId"], message["envelope"]["inReplyTo"]) == ("<1@example.org>", None)
    assert message["bodyStructure"] == {
        "type": "multipart/mixed",
        "childNodes": [
            {
                "type": "multipart/alternative",
                "part": "1",
                "childNodes": [
                    {"type": "text/plain", "part": "1.1", "encoding": "7bit", "size": 2},
                    {
                        "type": "text/html",
                        "part": "1.2",
                        "parameters": {"charset": "utf-8"},
                        "encoding": "7bit",
                        "size": 5,
                    },
                ],
            },
            {
                "type": "image/png",
                "part": "2",
                "encoding": "base64",
                "size": 12,
                "disposition": "attachment",
                "dispositionParameters": {"filename": "a.png"},
            },
        ],
    }
    status, content, headers = get(box, "/mail/attachment?uid=1&part=2", token)
    assert (status, content, headers["content-type"]) == (200, b"\x89PNG\r\n\x1a\n", "application/octet-stream")
    id_ = f"{first['uidvalidity']}.1"
    assert change(box, "PUT", f"messages/{id_}", {"flags": {"seen": True}}, token)[0] == 200
    _, later = change(box, "POST", "/mail/sync", {"uidvalidity": first["uidvalidity"], "token": first["token"]}, token)
    ((one,)) = later["changes"]["updated"]
    assert (one["uid"], one["flags"]) == (1, ["\\Seen"])
    assert whole(box, token, 1)["flags"] == ["\\Seen"]
    status, sent = change(box, "POST", "messages/send", {"to": [box.address], "subject": "sent", "text": "x"}, token)
    assert (status, sent["message"]["mailbox"]) == (202, "Sent")
    box.wait_for("sent")
    assert flags_by_imap(box)[1] == {"\\Seen"}


@pytest.mark.parametrize(
    ("missing", "field"),
    [
        ("mailbox=INBOX&uid=2", "uid"),
        (f"uid={2**32}", "uid"),
        ("mailbox=Trash&uid=1", "uid"),
        ("mailbox=Nothing&uid=1", "mailbox"),
    ],
)
def test_what_is_not_there(box: Mailbox, missing: str, field: str) -> None:
    append(box, BOUNDARY)
    token = token_for(box)
    for path, name in (
        (f"/mail/message?{missing}", field),
        (f"/mail/attachment?{missing}&part=2", field),
        ("/mail/attachment?uid=1&part=9", "part"),
    ):
        status, body, _ = get(box, path, token)
        problem = json.loads(body)
        assert (status, problem["code"]) == (404, "not_found")
        assert [(one["field"], one["code"]) for one in problem["errors"]] == [(name, "unknown")]
    assert change(box, "POST", "/mail/sync", {"mailbox": "Nothing"}, token)[0] == 404


def test_a_message_of_any_bytes(box: Mailbox) -> None:
    """Also a large one, which is read from a file."""
    every = bytes(range(1, 256)).replace(b"\n", b"").replace(b"\r", b"")
    texts = [
        b"Subject: a\r\n\r\n" + every + b"\r\n",
        b'Subject: b\r\n\r\n","rfc822":"\\"}\r\n' + "ä€😀".encode() + b"\r\n",
        b"Subject: c\r\n\r\n" + ("ä€😀" * 100 + "\r\n").encode() * 3000,
        b"Subject: d\r\n\r\n" + (b"x" * 70 + b"\xff\r\n") * 30_000,
    ]
    append(box, *texts)
    token = token_for(box)
    kept = by_imap(box)
    for uid, encoding in enumerate(("latin-1", None, None, "latin-1"), 1):
        found = whole(box, token, uid)
        assert found.get("rfc822_encoding") == encoding
        assert found["rfc822"].encode(encoding or "utf-8") == kept[uid] == texts[uid - 1]


ENDS: dict[str, Callable[[Mailbox, int], Any]] = {
    "its key": lambda box, key: box.platform.call("POST", "/v2/keys/delete", {"id": key}),
    "a suspension": lambda box, key: box.update(status="suspended"),
    "a deletion": lambda box, key: box.delete(),
    "a reset": lambda box, key: box.reset(),
}


@pytest.mark.parametrize("end", ENDS)
def test_the_end_of_a_token_ends_its_streams(box: Mailbox, end: str) -> None:
    made = box.platform.call("POST", "/v2/keys", {"scopes": SCOPES})
    status, answer = change(box, "POST", "/v2/mail-tokens", {"user_id": "user_123"}, made["api_key"])
    assert status == 201
    with following(box, key=answer["token"]) as stream:
        stream.wait_for(is_of("INBOX", "state"))
        append(box, BOUNDARY)
        stream.wait_for(is_of("INBOX", "added"))
        ENDS[end](box, made["key"]["id"])
        stream.wait_for_end()
    assert get(box, "changes", answer["token"])[0] == 401
    assert get(box, "/mail/message?uid=1", answer["token"])[0] == 401


def test_a_stream_of_one_of_two_accounts(box: Mailbox, platform: Platform) -> None:
    """A reset of one account leaves the token its other account."""
    second = platform.create("second")
    token = token_for(box)
    with following(second, key=token) as closed, following(box, key=token) as stream:
        for one in (closed, stream):
            one.wait_for(is_of("INBOX", "state"))
        second.reset()
        closed.wait_for_end()
        append(box, BOUNDARY)
        stream.wait_for(is_of("INBOX", "added"))
    assert (get(second, "mailboxes", token)[0], get(box, "mailboxes", token)[0]) == (404, 200)


def test_a_token_ends_where_its_key_ends(box: Mailbox) -> None:
    """The account moves to a domain to which the key of the token is not bound."""
    key = box.platform.call("POST", "/v2/keys", {"scopes": SCOPES, "domains": [box.platform.domain]})["api_key"]
    status, made = change(box, "POST", "/v2/mail-tokens", {"user_id": "user_123"}, key)
    assert status == 201
    assert change(box, "POST", "/mail/sync", {}, made["token"])[0] == 200
    other = f"other-{box.platform.domain}"
    box.platform.new_domain(other)
    box.update(domain=other)
    assert change(box, "POST", "/mail/sync", {}, made["token"])[0] == 404
    assert get(box, "/mail/message?uid=1", made["token"])[0] == 404
    assert get(box, "messages", made["token"])[0] == 404


def test_a_retry_with_a_new_token_sends_once(box: Mailbox) -> None:
    """The first token has expired, or the browser has lost it."""
    body = {"to": [box.address], "subject": "once", "text": "x"}
    name = {"idempotency-key": "0f8fad5b-d9cb-469f-a165-70867728950e"}
    answers = [change(box, "POST", "messages/send", body, token_for(box), **name) for _ in range(2)]
    assert answers[0][0] == 202
    assert answers[0] == answers[1]
    assert change(box, "POST", "messages/send", {**body, "text": "y"}, token_for(box), **name)[0] == 422
    assert change(box, "POST", "messages/send", body, **name)[0] == 202, "the key itself is another sender"
    wait_for("both messages", lambda: len(by_imap(box)) == 2)
    assert len(by_imap(box, "Sent")) == 2


def test_only_a_reader_answers(box: Mailbox) -> None:
    """The subject of a message comes out with an answer to it."""
    append(box, BOUNDARY)
    id_ = f"{read(box, 'mailboxes')['items'][0]['uidvalidity']}.1"
    before = read_events(box)
    body = {"to": [box.address], "text": "x", "in_reply_to_id": id_}
    status, problem = change(box, "POST", "messages/send", body, token_for(box, scopes=["messages:send"]))
    assert (status, problem["code"]) == (403, "forbidden")
    assert "messages:read" in problem["detail"]
    assert read_events(box) == before
    assert change(box, "POST", "messages/send", body, token_for(box))[0] == 202
    assert read_events(box) == before + 1
