"""Messages read over HTTP are those that IMAP shows, and reading leaves no trace in the mailbox."""

import json
import re
import smtplib
from concurrent.futures import ThreadPoolExecutor
from email.message import EmailMessage
from pathlib import Path

import pytest

from tests.harness.service import wait_for
from tests.mail.clients import smtp
from tests.mail.odd_messages import for_smtp, messages
from tests.mail.platform import Mailbox, Platform
from tests.mail.reading import append, by_imap, change, get, listed, read, read_events
from tests.mail.test_last_login import last_login


@pytest.fixture
def box(platform: Platform) -> Mailbox:
    return platform.create()


def letter(subject: str = "hi", sender: str = "ann@example.org", text: str = "Hello.\n") -> EmailMessage:
    made = EmailMessage()
    made["From"], made["To"], made["Subject"] = sender, "bob@demo.test", subject
    made.set_content(text)
    return made


def test_it_works(box: Mailbox) -> None:
    made = letter("Grüße", "Zoë <zoe@example.org>", "Grüße.\n")
    made.add_attachment(b"\x00\xff" * 500, maintype="application", subtype="pdf", filename="März.pdf")
    with smtp(box.platform.service) as client:
        client.send_message(made, "zoe@example.org", [box.address])
    wait_for("the message", lambda: by_imap(box))
    (raw,) = by_imap(box).values()
    (mailbox, *_) = read(box, "mailboxes")["items"]
    assert {name: mailbox[name] for name in ("mailbox", "special_use", "messages", "unseen", "uidnext")} == {
        "mailbox": "INBOX",
        "special_use": None,
        "messages": 1,
        "unseen": 1,
        "uidnext": 2,
    }
    (item,) = listed(box)
    zoe = {"name": "Zoë", "address": "zoe@example.org"}
    assert item == {
        "id": f"{mailbox['uidvalidity']}.1",
        "mailbox": "INBOX",
        "uid": 1,
        "from": zoe,
        "to": [{"name": None, "address": "bob@demo.test"}],
        "subject": "Grüße",
        "date": None,
        "received_at": item["received_at"],
        "size": len(raw),
        "flags": [],
        "preview": "Grüße.",
        "has_attachments": True,
    }
    shown = read(box, f"messages/{item['id']}")["message"]
    assert (shown["message_id"], shown["mailbox"], shown["account_id"]) == (item["id"], "INBOX", box.id)
    assert (shown["address"], shown["user_id"], shown["delivered_to"]) == (box.address, "user_123", box.address)
    assert (shown["from"], shown["subject"], shown["text"], shown["html"]) == (zoe, "Grüße", "Grüße.\n", None)
    assert shown["received_at"] == item["received_at"]
    assert (shown["size"], shown["parse_error"], shown["authentication"], shown["spam"]) == (len(raw), None, None, None)
    (attachment,) = shown["attachments"]
    assert (attachment["filename"], attachment["content_type"], attachment["size"]) == (
        "März.pdf",
        "application/pdf",
        1000,
    )
    host = f"http://127.0.0.1:{box.platform.service.ports['port']}"
    assert shown["raw_url"] == f"{host}/v2/email-accounts/{box.id}/messages/{item['id']}/raw"
    assert get(box, shown["raw_url"].removeprefix(host))[1] == raw
    status, content, headers = get(box, attachment["url"].removeprefix(host))
    assert (status, content) == (200, b"\x00\xff" * 500)
    assert headers["content-disposition"] == "attachment; filename=\"M_rz.pdf\"; filename*=UTF-8''M%C3%A4rz.pdf"


def test_reading_leaves_no_trace(box: Mailbox) -> None:
    append(box, letter().as_bytes())
    before = wait_for("the login that stored the message", lambda: last_login(box))
    (item,) = listed(box)
    for rest in ("", "/raw", "?mailbox=INBOX"):
        assert get(box, f"messages/{item['id']}{rest}")[0] == 200
    assert listed(box)[0]["flags"] == []
    assert read(box, "mailboxes")["items"][0]["unseen"] == 1
    assert read(box, "sessions")["sessions"] == []
    assert last_login(box) == before


def test_odd_messages(box: Mailbox) -> None:
    """700 messages as strangers send them: 100 by SMTP, 600 by APPEND."""
    made = [raw or b"\r\n" for raw in messages(700)]
    taken = sum(_deliver(box, for_smtp(raw)) for raw in made[:100])
    assert taken > 50
    append(box, *made[100:], *(b"\0", b"\r\n", b"a", b"Subject: x\0y\r\n\r\nz\0"))
    found = by_imap(box)
    assert len(found) > 600 + taken * 0.9
    first = listed(box, "?limit=1")[0]["id"].partition(".")[0]
    for uid, raw in found.items():
        assert get(box, f"messages/{first}.{uid}/raw")[:2] == (200, raw), uid
        shown = read(box, f"messages/{first}.{uid}")["message"]
        assert shown["size"] == len(raw)
        for attachment in shown["attachments"]:
            content = get(box, f"messages/{first}.{uid}/attachments/{attachment['part']}")
            assert (content[0], len(content[1])) == (200, attachment["size"]), (uid, attachment)
    uids = [item["uid"] for item in _all_pages(box, "?limit=90")]
    assert uids == sorted(found, reverse=True)


def _deliver(box: Mailbox, raw: bytes) -> bool:
    with smtp(box.platform.service) as client:
        try:
            client.sendmail("someone@elsewhere.example", [box.address], raw)
        except smtplib.SMTPResponseException:
            return False
    return True


def _all_pages(box: Mailbox, query: str) -> list[dict[str, object]]:
    found, path = [], f"/v2/email-accounts/{box.id}/messages{query}"
    while path:
        status, body, headers = get(box, path)
        assert status == 200, body
        found += json.loads(body)["items"]
        path = (re.findall("<(.*)>", headers.get("link", "")) or [""])[0]
    return found


@pytest.fixture
def three(box: Mailbox) -> Mailbox:
    append(
        box,
        letter("Invoice (1)", "ann@example.org", 'say "hello\\"').as_bytes(),
        letter("Grüße", "Bob <bob@example.org>", "Straße {5}").as_bytes(),
        letter("last", "carl@example.org", "nothing").as_bytes(),
    )
    with box.login() as imap:
        imap.select("INBOX")
        imap.store("1", "+FLAGS", "\\Seen \\Flagged")
    return box


@pytest.mark.parametrize(
    ("query", "uids"),
    [
        ("", [3, 2, 1]),
        ("?mailbox=inbox", [3, 2, 1]),
        ("?mailbox=Sent", []),
        ("?limit=2", [3, 2]),
        ("?before_uid=3", [2, 1]),
        ("?before_uid=1", []),
        ("?before_uid=9223372036854775807", [3, 2, 1]),
        ("?after_uid=1", [3, 2]),
        ("?after_uid=0&limit=2", [2, 1]),
        ("?after_uid=3", []),
        ("?unseen=true", [3, 2]),
        ("?unseen=false", [3, 2, 1]),
        ("?from=ann", [1]),
        ("?from=Bob", [2]),
        ("?to=bob@demo.test", [3, 2, 1]),
        ("?subject=invoice", [1]),
        ("?subject=(1)", [1]),
        ("?subject=Gr%C3%BC%C3%9Fe", [2]),
        ("?subject=Gr%C3%BC%C3%9Fe&from=bob", [2]),
        ("?q=Stra%C3%9Fe", [2]),
        ("?q=%22hello%5C%22", [1]),
        ("?q=%7B5%7D", [2]),
        ("?q=%7B5", [2]),
        ("?q=)%20ALL", []),
        ("?q=ALL", []),
        ("?subject=%22", []),
        ("?since=2020-01-01", [3, 2, 1]),
        ("?since=2999-01-01", []),
        ("?until=2020-01-01", []),
        ("?until=2999-01-01&unseen=true&q=nothing", [3]),
    ],
)
def test_filters(three: Mailbox, query: str, uids: list[int]) -> None:
    assert [item["uid"] for item in listed(three, query)] == uids


def test_pages_lead_to_all_of_them(three: Mailbox) -> None:
    append(three, *(letter(f"n{number}").as_bytes() for number in range(5)))
    assert [item["uid"] for item in _all_pages(three, "?limit=3")] == [8, 7, 6, 5, 4, 3, 2, 1]
    assert [item["uid"] for item in _all_pages(three, "?limit=3&subject=n")] == [8, 7, 6, 5, 4, 1]
    assert [item["uid"] for item in _all_pages(three, "?after_uid=2&limit=2")] == [4, 3, 6, 5, 8, 7]
    assert [item["flags"] for item in listed(three, "?before_uid=2")] == [["\\Flagged", "\\Seen"]]


@pytest.mark.parametrize(
    "query",
    [
        "?before_uid=1&after_uid=1",
        "?before_uid=0",
        "?since=yesterday",
        "?since=20260131",
        "?until=2026-02-30",
        "?unseen=yes",
        "?q=a%0D%0Ab",
        "?from=",
        "?subject=" + "a" * 1001,
        "?mailbox=a%0Ab",
    ],
)
def test_what_cannot_be_asked(box: Mailbox, query: str) -> None:
    status, body, _ = get(box, f"messages{query}")
    assert (status, json.loads(body)["code"]) == (400, "invalid_request")


@pytest.mark.parametrize(
    "rest",
    [
        "messages?mailbox=Nowhere",
        "messages?mailbox=..%2F..%2Fetc",
        "messages?mailbox=%22%20%7B3%7D",
        "messages?mailbox=*",
        "messages/{validity}.9",
        "messages/{other}.1",
        "messages/{validity}.1?mailbox=Sent",
        "messages/{validity}.01",
        "messages/{validity}.0",
        "messages/{validity}.1.1",
        "messages/1",
        "messages/x.y",
        "messages/99999999999.1",
        "messages/{validity}.1/attachments/1",
        "messages/{validity}.1/attachments/9",
        "messages/{validity}.1/attachments/x",
        "messages/{validity}.1/attachments/..%2F1",
    ],
)
def test_what_is_not_there(three: Mailbox, rest: str) -> None:
    validity = int(listed(three)[0]["id"].partition(".")[0])
    status, body, _ = get(three, rest.format(validity=validity, other=validity + 1))
    problem = json.loads(body)
    assert (status, problem["code"]) == (404, "not_found"), body
    field = "mailbox" if rest.startswith("messages?") else "part" if "attachments" in rest else "message_id"
    assert [(one["field"], one["code"]) for one in problem["errors"]] == [(field, "unknown")]


def test_folders_of_any_name(box: Mailbox) -> None:
    names = ["Projekte/Grüße", "a b", 'q"uote', "50%25"]
    with box.login() as imap:
        for name in names:
            imap.create(_quoted(name))
        imap.append(_quoted(names[2]), "", "", letter().as_bytes())
    found = [one["mailbox"] for one in read(box, "mailboxes")["items"]]
    assert found[0] == "INBOX"
    assert {*names, "Sent", "Trash"} <= set(found)
    (item,) = listed(box, "?mailbox=q%22uote")
    shown = read(box, f"messages/{item['id']}?mailbox=q%22uote")["message"]
    assert get(box, shown["raw_url"].partition(str(box.platform.service.ports["port"]))[2])[0] == 200
    for name in ("Projekte%2FGr%C3%BC%C3%9Fe", "a%20b", "50%2525"):
        assert listed(box, f"?mailbox={name}") == []


def _quoted(name: str) -> str:
    text = name.encode("utf-7").decode().replace("+", "&") if not name.isascii() else name
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def test_a_content_never_runs_in_a_browser(box: Mailbox) -> None:
    made = letter()
    made.add_attachment("<script>alert(1)</script>", subtype="html", filename='a"é%.html')
    made.add_attachment(b"<svg/>", maintype="image", subtype="svg+xml", filename="x.svg")
    append(box, made.as_bytes())
    (item,) = listed(box)
    for rest in ("raw", "attachments/2", "attachments/3"):
        status, _, headers = get(box, f"messages/{item['id']}/{rest}")
        assert status == 200
        assert headers["content-type"] == ("message/rfc822" if rest == "raw" else "application/octet-stream")
        assert headers["content-disposition"].startswith("attachment; filename=")
        assert headers["content-security-policy"] == "sandbox; default-src 'none'"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"
    headers = get(box, f"messages/{item['id']}/attachments/2")[2]
    assert headers["content-disposition"] == "attachment; filename=\"a___.html\"; filename*=UTF-8''a%22%C3%A9%25.html"


def test_head_has_no_body(box: Mailbox) -> None:
    append(box, letter().as_bytes())
    (item,) = listed(box)
    for rest in ("", "/raw"):
        whole, head = (get(box, f"messages/{item['id']}{rest}", method=method) for method in ("GET", "HEAD"))
        assert (head[0], head[1], head[2]["content-length"]) == (200, b"", str(len(whole[1])))


def test_an_event_tells_once_an_hour(platform: Platform) -> None:
    box, other = platform.create(), platform.create("other")
    append(box, letter().as_bytes())
    read(box, "mailboxes")
    read(box, "messages?q=nothing")
    assert read_events(box) == 0
    with ThreadPoolExecutor(12) as threads:
        pages = [*threads.map(lambda _: listed(box), range(24))]
    assert all(len(page) == 1 for page in pages)
    (id_,) = {page[0]["id"] for page in pages}
    for rest in ("", "/raw"):
        get(box, f"messages/{id_}{rest}")
    assert (read_events(box), read_events(other)) == (1, 0)
    platform.sql("UPDATE message_reads SET told_at = told_at - 3600001 WHERE account_id = :id RETURNING 1", id=box.id)
    with ThreadPoolExecutor(12) as threads:
        found = [*threads.map(lambda _: get(box, f"messages/{id_}")[0], range(24))]
    assert found == [200] * 24
    assert read_events(box) == 2


@pytest.mark.parametrize("status", ["suspended", "disabled"])
def test_the_platform_reads_what_the_owner_cannot(box: Mailbox, status: str) -> None:
    append(box, letter().as_bytes())
    box.update(status=status)
    assert not box.can_login()
    assert len(listed(box)) == 1


def test_a_deleted_account_has_no_messages(box: Mailbox) -> None:
    append(box, letter().as_bytes())
    (item,) = listed(box)
    box.delete()
    for rest in ("mailboxes", "messages", f"messages/{item['id']}", f"messages/{item['id']}/raw"):
        assert get(box, rest)[0] == 404
    box.platform.call("POST", f"/v2/email-accounts/{box.id}/restore", {})
    assert listed(box) == [item]


def test_nobody_else_reads(platform: Platform, box: Mailbox) -> None:
    append(box, letter().as_bytes())
    (item,) = listed(box)
    foreign = Platform.new(platform.service)
    narrow = platform.call("POST", "/v2/keys", {"user_id": "other", "scopes": ["messages:read"]})["api_key"]
    own = platform.call("POST", "/v2/keys", {"user_id": "user_123", "scopes": ["messages:read"]})["api_key"]
    usual = platform.call("POST", "/v2/keys", {})["api_key"]
    for rest in ("mailboxes", "messages", f"messages/{item['id']}", f"messages/{item['id']}/raw"):
        answers = [get(box, rest, key)[0] for key in (foreign.key, narrow, usual, own)]
        assert answers == [404, 404, 403, 200]
    assert get(box, "messages?user_id=other")[0] == 404


def test_no_log_has_what_a_message_says(box: Mailbox) -> None:
    words = ("canary-subject", "canary-body", "canary-sender", "canary-folder", "canary-query")
    append(box, letter("canary-subject", "canary-sender@example.org", "canary-body").as_bytes())
    (item,) = listed(box)
    read(box, f"messages/{item['id']}")
    get(box, "messages?mailbox=canary-folder-%C3%BC")
    listed(box, "?q=canary-query&from=canary-sender&subject=canary-subject")
    for path in Path(box.platform.service.data / "log").iterdir():
        text = path.read_text(errors="replace")
        assert not [word for word in words if word in text], path


@pytest.mark.parametrize("query", ["since=0001-01-01", "until=0999-12-31", "since=9999-12-31", "until=9999-12-31"])
def test_days_that_no_message_has(box: Mailbox, query: str) -> None:
    append(box, letter().as_bytes())
    assert len(listed(box, f"?{query}")) == (1 if query in ("since=0001-01-01", "until=9999-12-31") else 0)


def test_what_is_missing_leaves_the_session_usable(box: Mailbox) -> None:
    append(box, letter().as_bytes())
    for missing in ("messages?mailbox=Nowhere", "messages/1.1?mailbox=Nowhere"):
        assert len(listed(box)) == 1
        assert get(box, missing)[0] == 404
        assert read(box, "mailboxes")["items"][0]["messages"] == 1


def test_keywords_that_look_like_numbers_or_nil(box: Mailbox) -> None:
    """IMAP allows such flags (RFC 9051, 9)."""
    append(box, *[letter().as_bytes()] * 2)
    with box.login() as imap:
        imap.select("INBOX")
        for uid, flag in (("1", "123"), ("2", "NIL")):
            assert imap.uid("STORE", uid, "+FLAGS", f"({flag})")[0] == "OK"
    items = listed(box)
    assert [one["flags"] for one in items] == [["NIL"], ["123"]]
    assert len(change(box, "POST", "messages/sync", {})[1]["changes"]["added"]) == 2
    status, answer = change(box, "PUT", f"messages/{items[0]['id']}", {"flags": {"seen": True}})
    assert (status, set(answer["message"]["flags"])) == (200, {"NIL", "\\Seen"})
    assert change(box, "POST", "messages/delete", {"ids": [one["id"] for one in items]})[0] == 200
