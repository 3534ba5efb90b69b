"""Mail for webhooks: from SMTP to a signed POST, with the real daemons."""

import os
import signal
import time
from contextlib import closing
from email.message import EmailMessage
from http.client import HTTPConnection
from typing import Any

import pytest
from standardwebhooks import Webhook as Verifier

from tests.harness.service import Service, wait_for
from tests.harness.stopped_worker import stop_the_worker
from tests.mail.clients import message, smtp
from tests.mail.platform import Mailbox, Platform
from tests.webhooks.endpoint import Endpoint, answers

OUTSIDE = "someone@elsewhere.example"


@pytest.fixture
def platform(private_service: Service) -> Platform:
    return Platform.new(private_service)


def hook(platform: Platform, endpoint: Endpoint, **fields: Any) -> dict[str, Any]:
    body = {"url": endpoint.url(), "events": ["message.received"], **fields}
    made: dict[str, Any] = platform.call("POST", "/v2/webhooks/create", body)
    return made["webhook"] | {"secret": made["secret"]}


def send(platform: Platform, text: bytes, *to: str) -> None:
    """Delivers these bytes by SMTP from outside."""
    with smtp(platform.service) as client:
        client.sendmail(OUTSIDE, to, text)


def subjects(endpoint: Endpoint) -> list[str]:
    """The subjects that were POSTed; each webhook-id counts once."""
    return [post.json["data"]["subject"] for post in {post.id: post for post in list(endpoint.posts)}.values()]


def until(endpoint: Endpoint, subject: str) -> list[str]:
    """Waits for a message, and returns the subjects that were POSTed up to it, in order."""
    endpoint.wait(lambda found: subject in subjects(found))
    return sorted(subjects(endpoint))


def fetched(platform: Platform, url: str) -> bytes:
    """What the API answers to a link in a delivery, to a client with the platform's key."""
    base = f"http://127.0.0.1:{platform.service.ports['port']}"
    assert url.startswith(f"{base}/v2/"), url
    with closing(HTTPConnection("127.0.0.1", platform.service.ports["port"], timeout=60)) as connection:
        connection.request("GET", url.removeprefix(base), headers={"x-api-key": platform.key})
        answer = connection.getresponse()
        body = answer.read()
        assert answer.status == 200, body
        return body


def next_second() -> None:
    """Waits for the next second: the second in which a webhook began counts."""
    now = int(time.time())
    wait_for("the next second", lambda: int(time.time()) > now)


def rich(to: str) -> bytes:
    """A message with a text, HTML and an attachment."""
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = f"Someone <{OUTSIDE}>", to, "Grüße"
    mail["Message-ID"], mail["Date"] = "<1@elsewhere.example>", "Mon, 30 Nov 2026 08:00:00 +0100"
    mail["References"] = "<0@elsewhere.example>"
    mail.set_content("Straße\n")
    mail.add_alternative("<p>Straße</p>\n", subtype="html")
    mail.add_attachment(b"\x00\xff" * 10, maintype="application", subtype="pdf", filename="bill.pdf")
    return mail.as_bytes()


def test_it_works(platform: Platform, anna: Mailbox, endpoint: Endpoint) -> None:
    """A message that arrives by SMTP is POSTed, signed, with links to its contents."""
    made = hook(platform, endpoint)
    send(platform, rich(anna.address), anna.address)
    endpoint.wait(lambda found: found.posts)
    (post,) = endpoint.posts
    body = Verifier(made["secret"]).verify(post.body, post.headers)
    data = body["data"]
    assert post.id.startswith("msg_")
    assert set(body) == {"type", "timestamp", "data"}
    assert body["type"] == "message.received"
    ((uidvalidity, uid),) = [data["message_id"].split(".")]
    (attachment,) = data.pop("attachments")
    raw = fetched(platform, data.pop("raw_url"))
    assert fetched(platform, attachment.pop("url")) == b"\x00\xff" * 10
    assert attachment == {
        "part": "2",
        "filename": "bill.pdf",
        "content_type": "application/pdf",
        "size": 20,
        "content_id": None,
        "inline": False,
    }
    assert b"Subject:" in raw
    assert abs(time.time() - time.mktime(time.strptime(data.pop("received_at")[:19], "%Y-%m-%dT%H:%M:%S"))) < 86_400
    assert data == said(anna) | {"message_id": f"{uidvalidity}.{uid}", "size": len(raw)}
    (item,) = platform.call("GET", f"/v2/webhooks/{made['id']}/deliveries", None)["items"]
    assert (item["type"], item["event_id"]) == ("message.received", None)
    assert item["message"] == {"account_id": anna.id, "id": data["message_id"]}


def said(anna: Mailbox) -> dict[str, Any]:
    """What is told of the message `rich`, but for its id, size, time and links."""
    return {
        "account_id": anna.id,
        "address": anna.address,
        "user_id": "a",
        "mailbox": "INBOX",
        "rfc_message_id": "<1@elsewhere.example>",
        "in_reply_to": None,
        "references": ["<0@elsewhere.example>"],
        "from": {"name": "Someone", "address": OUTSIDE},
        "to": [{"name": None, "address": anna.address}],
        "cc": [],
        "reply_to": None,
        "delivered_to": anna.address,
        "subject": "Grüße",
        "date": "2026-11-30T07:00:00.000Z",
        "text": "Straße\n",
        "html": "<p>Straße</p>\n",
        "text_truncated": False,
        "html_truncated": False,
        "authentication": None,
        "spam": None,
        "parse_error": None,
    }


def test_only_what_was_delivered_counts(platform: Platform, anna: Mailbox, endpoint: Endpoint) -> None:
    """A message that a client stores, copies or moves is not sent, and neither is a message from
    before the webhook."""
    anna.receive("before")
    stored = anna.wait_for("before")
    next_second()
    hook(platform, endpoint)
    anna.receive("first")
    until(endpoint, "first")
    with anna.login() as imap:
        imap.append("INBOX", "", "", message("me@elsewhere.example", anna.address, "stored").as_bytes())
        imap.append("INBOX", "", "", stored)
        imap.select("INBOX")
        imap.copy("1:*", "Archive")
        imap.copy("1:*", "INBOX")
        imap.uid("MOVE", "1:2", "Trash")
        imap.create("New")
        imap.copy("1:*", "New")
        imap.rename("New", "Newer")
    anna.receive("last")
    assert until(endpoint, "last") == ["first", "last"]
    assert len(endpoint.posts) == 2


def test_folders(platform: Platform, anna: Mailbox, endpoint: Endpoint) -> None:
    """Mail that a script files is sent with its folder, and a second copy of it is not."""
    hook(platform, endpoint)
    anna.put_script(
        b'require ["fileinto", "copy", "mailbox"];\r\n'
        b'if header :contains "Subject" "bill" { fileinto :copy :create "Bills & more/2026"; }\r\n'
        b'if header :contains "Subject" "away" { discard; stop; }\r\n'
        b'if header :contains "Subject" "junk" { fileinto "Junk"; }\r\n'
    )
    for subject in ("a bill", "away", "junk", "last"):
        anna.receive(subject)
    assert until(endpoint, "last") == ["a bill", "junk", "last"] or until(endpoint, "a bill")
    endpoint.wait(lambda found: len(found.posts) == 3)
    at = {post.json["data"]["subject"]: post.json["data"] for post in endpoint.posts}
    assert at["junk"]["mailbox"] == "Junk"
    assert at["last"]["mailbox"] == "INBOX"
    assert at["a bill"]["mailbox"] in ("INBOX", "Bills & more/2026")
    assert b"a bill" in fetched(platform, at["a bill"]["raw_url"])
    assert b"junk" in fetched(platform, at["junk"]["raw_url"])


def test_whose_mail(platform: Platform, anna: Mailbox, endpoint: Endpoint) -> None:
    """A webhook of a user, of a domain or of an account gets the mail of these, and nobody gets the
    mail of another organization. Mail to an alias says for whom it was."""
    bert, foreign = platform.create("bert", user_id="b"), Platform.new(platform.service)
    stranger = foreign.create("x", user_id="a")
    platform.new_domain("other-" + platform.domain)
    other = platform.call(
        "POST",
        "/v2/email-accounts/create",
        {"domain": "other-" + platform.domain, "local_part": "o", "user_id": "a"},
    )["account"]
    platform.call(
        "POST",
        "/v2/email-aliases/create",
        {"domain": platform.domain, "local_part": "team", "account_ids": [bert.id], "user_id": "b"},
    )
    bounds: dict[str, dict[str, Any]] = {
        "all": {},
        "user": {"user_id": "a"},
        "domain": {"domain": platform.domain},
        "one": {"account_id": bert.id},
    }
    for name, fields in bounds.items():
        hook(platform, endpoint, url=endpoint.url(f"/{name}"), **fields)
    hook(foreign, endpoint, url=endpoint.url("/foreign"))
    for number, to in enumerate((anna.address, f"team@{platform.domain}", other["address"], stranger.address)):
        send(platform, message(OUTSIDE, to, str(number)).as_bytes(), to)
    endpoint.wait(lambda found: len({post.id + post.path for post in found.posts}) == 9)
    got = {
        path: sorted(post.json["data"]["subject"] for post in endpoint.of(f"/{path}")) for path in (*bounds, "foreign")
    }
    assert got == {"all": ["0", "1", "2"], "user": ["0", "2"], "domain": ["0", "1"], "one": ["1"], "foreign": ["3"]}
    (to_alias,) = endpoint.of("/one")
    assert to_alias.json["data"]["delivered_to"] == f"team@{platform.domain}"
    assert to_alias.json["data"]["address"] == bert.address


def test_a_worker_that_was_away_misses_nothing(platform: Platform, anna: Mailbox, endpoint: Endpoint) -> None:
    """Mail arrives without a worker, and the log is emptied. The next worker finds it once."""
    hook(platform, endpoint)
    anna.receive("first")
    until(endpoint, "first")
    service = platform.service
    worker = stop_the_worker(service)
    anna.receive("away")
    anna.wait_for("away")
    os.truncate(service.data / "log" / "dovecot.log", 0)
    os.kill(worker, signal.SIGKILL)
    assert until(endpoint, "away") == ["away", "first"]
    anna.receive("last")
    assert until(endpoint, "last") == ["away", "first", "last"]
    assert len({post.id for post in endpoint.posts}) == 3


def test_a_dead_endpoint_delays_no_mail(platform: Platform, anna: Mailbox, endpoint: Endpoint) -> None:
    """The message is in the mailbox. What is sent later is the message as it is then, wherever its
    owner has moved it, with the same id. A redirect is refused."""
    made = hook(platform, endpoint)
    endpoint.answer = answers(302, f"Location: {endpoint.url('/elsewhere')}")
    anna.receive("moved")
    anna.wait_for("moved")
    path = f"/v2/webhooks/{made['id']}"
    wait_for("a failed attempt", lambda: items(platform, path) and items(platform, path)[0]["attempts"])
    (item,) = items(platform, path)
    assert (item["status"], item["last_error"]) == ("pending", "Redirects are not followed.")
    with anna.login() as imap:
        imap.select("INBOX")
        imap.uid("MOVE", "1:*", "Archive")
    endpoint.answer = answers(200)
    platform.call("POST", f"{path}/replay", {"delivery_id": item["id"]})
    # An attempt of its own may still have found the message in the INBOX.
    endpoint.wait(lambda found: found.posts[-1].json["data"]["mailbox"] == "Archive")
    assert endpoint.of("/elsewhere") == []
    first, *_, last = endpoint.posts
    assert first.id == last.id
    assert first.json["data"]["mailbox"] == "INBOX"
    assert b"moved" in fetched(platform, last.json["data"]["raw_url"])


def items(platform: Platform, path: str) -> Any:
    return platform.call("GET", f"{path}/deliveries", None)["items"]


def test_a_message_that_is_gone(platform: Platform, anna: Mailbox, endpoint: Endpoint) -> None:
    """If its owner deletes it first, nothing is sent. So too after the account is deleted."""
    made, bert = hook(platform, endpoint), platform.create("bert", user_id="b")
    endpoint.answer = answers(500)
    for mailbox in (anna, bert):
        mailbox.receive("gone")
        endpoint.wait(lambda found, id_=mailbox.id: id_ in [post.json["data"]["account_id"] for post in found.posts])  # type: ignore[misc]
    with anna.login() as imap:
        imap.select("INBOX")
        imap.store("1:*", "+FLAGS", "\\Deleted")
        imap.expunge()
    bert.delete()
    endpoint.answer = answers(200)
    path, sent = f"/v2/webhooks/{made['id']}", len(endpoint.posts)
    for item in items(platform, path):
        platform.call("POST", f"{path}/replay", {"delivery_id": item["id"]})
    wait_for("the end", lambda: {item["status"] for item in items(platform, path)} == {"failed"})
    assert {item["last_error"] for item in items(platform, path)} == {"The message is no longer in the mailbox."}
    assert len(endpoint.posts) == sent


def test_suspended_accounts_get_mail(platform: Platform, anna: Mailbox, endpoint: Endpoint) -> None:
    hook(platform, endpoint)
    anna.update(status="suspended")
    anna.receive("while suspended")
    assert until(endpoint, "while suspended") == ["while suspended"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("empty", b"\r\n"),
        ("no header", b"just text\r\n"),
        (
            "8-bit",
            b"Subject: caf\xe9 \xff\r\nFrom: \xfe <x>\r\nContent-Type: text/plain; charset=nonsense\r\n\r\n\xe9\r\n",
        ),
        ("unclosed", b'Content-Type: multipart/mixed; boundary="b"\r\n\r\n--b\r\nContent-Type: text/html\r\n\r\n<p>'),
        ("bad base64", b"Content-Type: text/plain\r\nContent-Transfer-Encoding: base64\r\n\r\n!!!\xff=\r\n"),
        (
            "nested",
            b"".join(b'Content-Type: multipart/mixed; boundary="b%d"\r\n\r\n--b%d\r\n' % (n, n) for n in range(40)),
        ),
        ("many parts", b'Content-Type: multipart/mixed; boundary="b"\r\n\r\n' + b"--b\r\n\r\nx\r\n" * 3000),
        ("long header", b"X-Long: " + b"a" * 50_000 + b"\r\n" + b"To: " + b"a@b.example, " * 4000 + b"\r\n\r\nx\r\n"),
    ],
)
def test_broken_mail_is_sent(platform: Platform, anna: Mailbox, endpoint: Endpoint, name: str, text: bytes) -> None:
    """With what is known of it, and never skipped."""
    hook(platform, endpoint)
    send(platform, text, anna.address)
    anna.receive("after it")
    endpoint.wait(lambda found: len({post.id for post in found.posts}) == 2)
    broken = next(post.json["data"] for post in endpoint.posts if post.json["data"]["subject"] != "after it")
    assert broken["account_id"] == anna.id
    assert fetched(platform, broken["raw_url"])
    assert bool(broken["parse_error"]) == (name in ("nested", "many parts")), broken["parse_error"]


def test_large_mail(platform: Platform, anna: Mailbox, endpoint: Endpoint) -> None:
    """Text is cut at 256 KiB, and an attachment is a link."""
    hook(platform, endpoint)
    mail = message(OUTSIDE, anna.address, "large")
    mail.set_content("ä" * 200_000)
    size = 17 * 1024 * 1024  # 23 MiB as base64
    mail.add_attachment(bytes(size), maintype="application", subtype="zip", filename="a.zip")
    send(platform, mail.as_bytes(), anna.address)
    endpoint.wait(lambda found: found.posts, 120)
    data = endpoint.posts[0].json["data"]
    assert (data["text_truncated"], len(data["text"].encode())) == (True, 256 * 1024)
    assert len(endpoint.posts[0].body) < 512 * 1024
    assert data["attachments"][0]["size"] == size
    assert len(fetched(platform, data["attachments"][0]["url"])) == size


def test_many_recipients(platform: Platform, endpoint: Endpoint) -> None:
    """Each mailbox of a message is a message of its own, and each is sent once."""
    boxes = [platform.create(f"r{number}", user_id="m") for number in range(40)]
    hook(platform, endpoint)
    for number in range(5):
        send(platform, message(OUTSIDE, "all", str(number)).as_bytes(), *(box.address for box in boxes))
    endpoint.wait(lambda found: len({post.id for post in found.posts}) == 200, 120)
    every = [(post.json["data"]["account_id"], post.json["data"]["subject"]) for post in endpoint.posts]
    assert sorted(set(every)) == sorted((box.id, str(number)) for box in boxes for number in range(5))
    assert len(every) == 200
    # More than one recipient: our Postfix does not say in the message for whom it was.
    assert {post.json["data"]["delivered_to"] for post in endpoint.posts} == {None}


def test_old_rows_are_forgotten(platform: Platform, anna: Mailbox, endpoint: Endpoint) -> None:
    """Nothing of the message is in the database, and a purge takes the rest."""
    hook(platform, endpoint)
    anna.receive("canary-subject")
    until(endpoint, "canary-subject")
    names = ("received_messages", "message_cursors")
    for name in (*names, "webhook_deliveries", "events"):
        assert "canary-subject" not in str(platform.sql(f"SELECT * FROM {name}"))
    platform.call("POST", "/v2/email-accounts/delete", {"id": anna.id, "purge": True})
    left = " UNION ALL ".join(f"SELECT 1 FROM {name} WHERE account_id = :id" for name in names)
    wait_for("the purge", lambda: not platform.sql(left, id=anna.id))


def test_a_route(platform: Platform, anna: Mailbox, endpoint: Endpoint) -> None:
    """`webhook_then_store` sends each message of the domain to a URL, and keeps it. `store` ends
    that."""
    path, user = f"/v2/domains/{platform.domain}", {"user_id": "x"}
    route = user | {"forward_mode": "webhook_then_store", "webhook_url": endpoint.url()}
    secret = platform.call("PUT", f"{path}/route", route)["webhook_secret"]
    anna.receive("routed")
    until(endpoint, "routed")
    (post,) = endpoint.posts
    assert Verifier(secret).verify(post.body, post.headers)["data"]["account_id"] == anna.id
    anna.wait_for("routed")
    assert platform.call("GET", f"{path}/info?user_id=x", None)["route"]["webhook_url"] == endpoint.url()
    platform.call("PUT", f"{path}/route", user | {"forward_mode": "store"})
    hook(platform, endpoint, url=endpoint.url("/other"))
    anna.receive("only stored")
    endpoint.wait(lambda found: found.of("/other"))
    assert [post.json["data"]["subject"] for post in endpoint.of("/hook")] == ["routed"]
