"""A route that keeps no mail (forward mode `webhook`), with the real daemons."""

from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from postroom.accounts.hidden_accounts import QUOTA_BYTES
from tests.harness.service import Service, wait_for
from tests.mail.clients import Imap, message, refusal
from tests.mail.platform import Mailbox, Platform
from tests.mail.test_inbound_webhooks import OUTSIDE, hook, items, send, subjects, until
from tests.webhooks.endpoint import Endpoint, answers

DAY_MS = 24 * 3600 * 1000
FOLDERS = ("INBOX", "Archive", "Trash", "Junk", "Drafts", "Sent")


@pytest.fixture
def platform(private_service: Service) -> Platform:
    return Platform.new(private_service)


def route(platform: Platform, endpoint: Endpoint, mode: str = "webhook") -> None:
    body = {"user_id": "x", "forward_mode": mode}
    if mode != "store":
        body["webhook_url"] = endpoint.url()
    platform.call("PUT", f"/v2/domains/{platform.domain}/route", body)


def get(platform: Platform, url: str) -> tuple[int, bytes]:
    """What the API answers to a link."""
    path = "/" + url.partition("://")[2].partition("/")[2]
    with closing(HTTPConnection("127.0.0.1", platform.service.ports["port"], timeout=60)) as connection:
        connection.request("GET", path, headers={"x-api-key": platform.key})
        answer = connection.getresponse()
        return answer.status, answer.read()


def everywhere(imap: Imap) -> int:
    """The number of messages in all folders that the owner sees."""
    _, listed = imap.list()
    names = [line.decode().split(' "/" ')[1] for line in listed if isinstance(line, bytes)]
    assert "INBOX" in names
    counts = []
    for name in names:
        assert imap.select(name, readonly=True)[0] == "OK"
        counts.append(len(imap.search(None, "ALL")[1][0].split()))
    return sum(counts)


def is_empty(box: Mailbox) -> bool:
    with box.login() as imap:
        return everywhere(imap) == 0


def on_disk(service: Service, text: str) -> list[Path]:
    """The files of mail with this text."""
    found = [
        path for path in (service.data / "mail").rglob("*") if path.is_file() and path.parent.name in ("new", "cur")
    ]
    return [path for path in found if text.encode() in path.read_bytes()]


def rows(platform: Platform) -> Any:
    sql = """
    SELECT passing_messages.account_id, hidden_id, state FROM passing_messages
    JOIN hidden_accounts ON hidden_accounts.account_id = hidden_id JOIN domains ON domains.id = domain_id
    WHERE domains.name = :name ORDER BY message_id"""
    return platform.sql(sql, name=platform.domain)


def later(platform: Platform, days: int) -> None:
    """As if so many days had passed for messages that are on their way."""
    sql = "UPDATE passing_messages SET due_at = due_at - :ms RETURNING message_id"
    assert platform.sql(sql, ms=days * DAY_MS)


def held(platform: Platform, count: int = 1) -> None:
    wait_for("the messages are held", lambda: [row[2] for row in rows(platform)] == ["held"] * count)


def with_attachment(to: str, subject: str) -> bytes:
    mail = message(OUTSIDE, to, subject)
    mail.add_attachment(b"\x00\xff" * 1000, maintype="application", subtype="pdf", filename="bill.pdf")
    return mail.as_bytes()


def test_it_works(platform: Platform, anna: Mailbox, endpoint: Endpoint) -> None:
    """After the endpoint's 2xx the message is in no folder, its links work for a day, and then it
    is nowhere on the disk."""
    route(platform, endpoint)
    send(platform, with_attachment(anna.address, "secret-of-anna"), anna.address)
    until(endpoint, "secret-of-anna")
    data = endpoint.posts[0].json["data"]
    assert (data["account_id"], data["mailbox"], data["delivered_to"]) == (anna.id, "INBOX", anna.address)
    held(platform)
    assert is_empty(anna)
    assert not list(anna.home.rglob("cur/*"))
    assert platform.call("GET", f"/v2/email-accounts/{anna.id}/messages", None)["items"] == []
    links = [data["raw_url"], data["attachments"][0]["url"]]
    status, raw = get(platform, links[0])
    assert (status, len(raw)) == (200, data["size"])
    assert get(platform, links[1]) == (200, b"\x00\xff" * 1000)
    assert len(on_disk(platform.service, "secret-of-anna")) == 1
    later(platform, 1)
    wait_for("the end", lambda: rows(platform) == [])
    assert on_disk(platform.service, "secret-of-anna") == []
    assert [get(platform, url)[0] for url in links] == [404, 404]


def test_copies_and_moves(platform: Platform, anna: Mailbox, endpoint: Endpoint) -> None:
    """The owner's copies leave too, wherever they are; what the owner stored stays."""
    route(platform, endpoint)
    endpoint.answer = answers(500)
    anna.receive("copied")
    until(endpoint, "copied")
    with anna.login() as imap:
        imap.append("INBOX", "", "", message(OUTSIDE, anna.address, "own").as_bytes())
        imap.select("INBOX")
        imap.create("New")
        _, found = imap.search(None, "SUBJECT", "copied")
        imap.copy(found[0].decode(), "Archive")
        imap.copy(found[0].decode(), "New")
        imap.uid("MOVE", "1", "Trash")
    endpoint.answer = answers(200)
    replay(platform)
    held(platform)
    with anna.login() as imap:
        assert everywhere(imap) == 1
        assert imap.subjects() == ["own"]
    last = endpoint.posts[-1].json["data"]
    status, raw = get(platform, last["raw_url"])
    assert (status, b"Subject: copied" in raw) == (200, True)


def webhook_id(platform: Platform) -> int:
    ((id_,),) = platform.sql(
        "SELECT webhooks.id FROM webhooks JOIN domains ON domains.id = domain_id WHERE name = :name"
        " AND forward_mode IS NOT NULL",
        name=platform.domain,
    )
    return int(id_)


def replay(platform: Platform) -> None:
    path = f"/v2/webhooks/{webhook_id(platform)}"
    for item in items(platform, path):
        platform.call("POST", f"{path}/replay", {"delivery_id": item["id"]})


def test_a_dead_endpoint(platform: Platform, anna: Mailbox, endpoint: Endpoint) -> None:
    """The message stays in the mailbox for seven days. Then it leaves, and nothing holds it."""
    route(platform, endpoint)
    endpoint.answer = answers(500)
    anna.receive("never taken")
    until(endpoint, "never taken")
    later(platform, 6)
    anna.wait_for("never taken")
    assert [row[2] for row in rows(platform)] == ["waiting"]
    later(platform, 1)
    wait_for("the end", lambda: rows(platform) == [])
    assert is_empty(anna)
    assert on_disk(platform.service, "never taken") == []


def test_another_mode(platform: Platform, anna: Mailbox, endpoint: Endpoint) -> None:
    """What has not been sent when the mode changes is sent, and stays in its mailbox, whatever the
    mode is later."""
    route(platform, endpoint)
    endpoint.answer = answers(500)
    anna.receive("stays")
    until(endpoint, "stays")
    route(platform, endpoint, "webhook_then_store")
    endpoint.answer = answers(200)
    replay(platform)
    path = f"/v2/webhooks/{webhook_id(platform)}"
    wait_for("the delivery", lambda: items(platform, path)[0]["status"] == "delivered")
    assert rows(platform) == []
    route(platform, endpoint)
    anna.receive("leaves")
    until(endpoint, "leaves")
    held(platform)
    later(platform, 7)
    wait_for("the end", lambda: rows(platform) == [])
    assert anna.subjects() == ["stays"]


def test_unknown_addresses(platform: Platform, anna: Mailbox, endpoint: Endpoint) -> None:
    """Each arrives as a message of its own, also of one SMTP transaction, and the account of such
    mail is in no list."""
    unknown = [f"{name}@{platform.domain}" for name in ("x", "y", "x+tag")]
    assert refusal(platform.service, unknown[0])[0] == 550
    route(platform, endpoint)
    send(platform, with_attachment("all", "for all"), *unknown, anna.address)
    send(platform, with_attachment("one", "for one"), unknown[0])
    endpoint.wait(lambda found: len({post.id for post in found.posts}) == 5)
    got = {post.id: post.json["data"] for post in endpoint.posts}.values()
    hidden = {data["account_id"] for data in got} - {anna.id}
    assert len(hidden) == 1
    to = sorted((data["delivered_to"] or "", data["address"], data["subject"]) for data in got)
    wanted = [*((one, one, "for all") for one in unknown), ("", anna.address, "for all")]
    assert to == sorted([*wanted, (unknown[0], unknown[0], "for one")])
    held(platform, 5)
    for data in got:
        assert get(platform, data["raw_url"])[0] == 200
        assert get(platform, data["attachments"][0]["url"]) == (200, b"\x00\xff" * 1000)
    nowhere(platform, hidden.pop())
    found = platform.call("GET", f"/v2/email-aliases/resolve?address={unknown[0]}", None)
    assert (found["kind"], found["account_ids"], found["accepted"]) == ("none", [], True)
    later(platform, 1)
    wait_for("the end", lambda: rows(platform) == [])
    assert on_disk(platform.service, "for all") == on_disk(platform.service, "for one") == []


def nowhere(platform: Platform, id_: int) -> None:
    """No list, count or route but those of links knows a hidden account."""
    listed = platform.call("GET", "/v2/email-accounts", None)["items"]
    deleted = platform.call("GET", "/v2/email-accounts?deleted=true", None)["items"]
    assert id_ not in [item["id"] for item in (*listed, *deleted)]
    path = f"/v2/email-accounts/{id_}"
    for route_ in ("", "/messages", "/mailboxes", "/usage", "/sessions"):
        assert platform.try_call("GET", f"{path}{route_}", None)[0] == 404, route_
    assert platform.try_call("PUT", path, {"status": "active"})[0] == 404
    assert platform.try_call("POST", "/v2/email-accounts/delete", {"id": id_})[0] == 404
    for way in ("restore", "password/reset"):
        assert platform.try_call("POST", f"{path}/{way}", {})[0] == 404, way
    stranger = Platform.new(platform.service)
    assert stranger.try_call("GET", f"{path}/messages/1.1/raw", None)[0] == 404


def test_who_gets_what(platform: Platform, anna: Mailbox, endpoint: Endpoint) -> None:
    """A tag, an alias and a forwarding rule lead to accounts as ever. A catch-all gets the unknown
    addresses, and an address that rests gets nothing."""
    bert = platform.create("bert", user_id="a")
    gone = platform.create("gone", user_id="a")
    gone.delete()
    alias = {"domain": platform.domain, "user_id": "a", "account_ids": [anna.id]}
    platform.call("POST", "/v2/email-aliases/create", alias | {"local_part": "team"})
    forwarding = {"enabled": True, "to": [anna.address], "keep_copy": False}
    platform.call("PUT", f"/v2/email-accounts/{bert.id}/forwarding", forwarding)
    route(platform, endpoint)
    hook(platform, endpoint, url=endpoint.url("/other"))
    for number, name in enumerate(("anna+tag", "team", "bert", "nobody")):
        to = f"{name}@{platform.domain}"
        send(platform, message(OUTSIDE, to, f"n{number}").as_bytes(), to)
    endpoint.wait(lambda found: len({post.id for post in found.of("/hook")}) == 4)
    endpoint.wait(lambda found: len({post.id for post in found.of("/other")}) == 3)
    at = {post.json["data"]["subject"]: post.json["data"] for post in endpoint.of("/hook")}
    assert [at[f"n{number}"]["account_id"] == anna.id for number in range(4)] == [True, True, True, False]
    assert {post.json["data"]["subject"] for post in endpoint.of("/other")} == {"n0", "n1", "n2"}
    assert refusal(platform.service, gone.address)[0] == 550
    platform.call("POST", "/v2/email-aliases/create", alias | {"local_part": "*"})
    send(platform, message(OUTSIDE, "x", "caught").as_bytes(), f"nobody@{platform.domain}")
    until_in(endpoint, "caught")
    caught = platform.sql("SELECT target FROM mail_catch_alls WHERE domain = :name", name=platform.domain)
    assert caught == [(f"{anna.id}@acct.internal",)]
    assert [post.json["data"]["account_id"] for post in endpoint.of("/hook")][-1] == anna.id


def until_in(endpoint: Endpoint, subject: str) -> None:
    endpoint.wait(lambda found: subject in [post.json["data"]["subject"] for post in found.of("/hook")])


def test_a_full_mailbox(platform: Platform, endpoint: Endpoint) -> None:
    """It has room again as soon as the webhook has its mail."""
    full = platform.create("full", user_id="a", quota_messages=1)
    route(platform, endpoint)
    for number in range(4):
        send(platform, message(OUTSIDE, full.address, f"f{number}").as_bytes(), full.address)
        until(endpoint, f"f{number}")
        held(platform, number + 1)
        wait_for("room", lambda: refusal(platform.service, full.address)[0] == 250)


def test_a_full_hidden_account(platform: Platform, anna: Mailbox, endpoint: Endpoint) -> None:
    """Messages stay in their mailboxes, and leave as soon as there is room."""
    route(platform, endpoint)
    ((hidden, quota),) = platform.sql(
        "SELECT account_id, quota_bytes FROM hidden_accounts JOIN mail_recipients ON mail_recipients.id = account_id"
        " WHERE organization_id = (SELECT organization_id FROM domains WHERE name = :name)",
        name=platform.domain,
    )
    assert quota == QUOTA_BYTES
    platform.sql("UPDATE accounts SET quota_bytes = 5000 WHERE id = :id RETURNING id", id=hidden)
    send(platform, with_attachment(anna.address, "fits"), anna.address)
    held(platform)
    send(platform, with_attachment(anna.address, "waits"), anna.address)
    failed = "SELECT failures FROM leases WHERE kind = 'passing' AND failures > 0"
    wait_for("the failure", lambda: platform.sql(failed))
    assert anna.subjects() == ["waits"]
    platform.sql("UPDATE passing_messages SET due_at = 1 WHERE state = 'held' RETURNING 1")
    wait_for("the end of the first", lambda: [row[2] for row in rows(platform)] == ["delivered"])
    platform.sql("DELETE FROM leases WHERE kind = 'passing' RETURNING item")
    held(platform)
    assert is_empty(anna)


def test_broken_mail(platform: Platform, endpoint: Endpoint) -> None:
    """To an address that nobody has: sent with what is known of it."""
    route(platform, endpoint)
    broken = b"X-Postroom-Recipient: forged@x.example\r\n" + b"".join(
        b'Content-Type: multipart/mixed; boundary="b%d"\r\n\r\n--b%d\r\n' % (n, n) for n in range(40)
    )
    send(platform, broken, f"nobody@{platform.domain}")
    endpoint.wait(lambda found: found.posts)
    data = endpoint.posts[0].json["data"]
    assert data["parse_error"]
    assert data["delivered_to"] == data["address"] == f"nobody@{platform.domain}"
    held(platform)
    assert b"forged@x.example" in get(platform, data["raw_url"])[1]


def test_the_hidden_account_ends(platform: Platform, anna: Mailbox, endpoint: Endpoint) -> None:
    """With another mode, unknown addresses are refused. The hidden account is erased with its last
    message, and another begins with the mode; of a deleted domain it is erased at once."""
    route(platform, endpoint)
    send(platform, message(OUTSIDE, "x", "left").as_bytes(), f"nobody@{platform.domain}")
    until(endpoint, "left")
    held(platform)
    ((_, hidden, _),) = rows(platform)
    for mode in ("webhook_then_store", "store"):
        route(platform, endpoint, mode)
        assert refusal(platform.service, f"nobody@{platform.domain}")[0] == 550
    later(platform, 1)
    erased = "SELECT 1 FROM accounts WHERE id = :id AND purged_at IS NOT NULL AND purge_at IS NULL"
    wait_for("the purge", lambda: platform.sql(erased, id=hidden), 120)
    assert not Mailbox(platform, hidden, "", "").home.exists()
    assert not platform.sql("SELECT 1 FROM events WHERE account_id = :id AND type LIKE 'account.%'", id=hidden)
    route(platform, endpoint)
    endpoint.answer = answers(500)
    send(platform, message(OUTSIDE, "x", "again").as_bytes(), f"nobody@{platform.domain}")
    until(endpoint, "again")
    ((_, second, _),) = rows(platform)
    assert second != hidden
    anna.delete()
    platform.call("POST", "/v2/domains/delete", {"domain": platform.domain, "user_id": "x"})
    wait_for("the purge", lambda: platform.sql(erased, id=second), 120)
    assert on_disk(platform.service, "again") == []
    assert subjects(endpoint).count("again") == 1
