"""Messages sent over HTTP: in Postfix's queue before the answer, signed, counted, each of them
once, with a copy in the mailbox for sent mail."""

import base64
import io
import json
import os
import signal
import threading
from collections.abc import Iterator
from email import message_from_bytes, policy
from typing import Any
from urllib.parse import quote

import pytest

from postroom.messages.hand_over import NOT_ANNOUNCED, NotTaken, hand_over
from tests.harness.dns_server import DnsServer
from tests.harness.mail_queue import queued
from tests.harness.service import wait_for
from tests.mail.platform import Mailbox, Platform
from tests.mail.reading import by_imap, get, read
from tests.mail.test_dkim import publish, verifies


@pytest.fixture(scope="module")
def dns() -> Iterator[DnsServer]:
    with DnsServer.start() as running:
        yield running


@pytest.fixture
def box(platform: Platform) -> Mailbox:
    return platform.create("writer", display_name="Ann Lee")


@pytest.fixture
def other(platform: Platform) -> Mailbox:
    return platform.create("reader")


def try_send(box: Mailbox, *to: str, **fields: Any) -> tuple[int, Any]:
    body = {"to": list(to), "subject": "hello", "text": "Hello.\n", **fields}
    return box.platform.try_call("POST", f"/v2/email-accounts/{box.id}/messages/send", body)


def send(box: Mailbox, *to: str, **fields: Any) -> Any:
    status, answer = try_send(box, *to, **fields)
    assert status == 202, answer
    return answer["message"]


def usage(box: Mailbox) -> int:
    found: int = read(box, "usage")["sent"]["recipients_today"]
    return found


def sent_items(box: Mailbox, message_id: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = read(box, f"sent?message_id={quote(message_id)}")["items"]
    return found


def test_it_works(box: Mailbox, other: Mailbox, dns: DnsServer) -> None:
    sent = send(box, f"Bob <{other.address}>", text="Hällo.\n")
    raw = other.wait_for("hello")
    got = message_from_bytes(raw, policy=policy.default)
    assert (got["Message-ID"], sent["recipients"]) == (sent["rfc_message_id"], [other.address])
    publish(dns, box.platform)
    assert verifies(dns, raw)
    received = [value for value in got.get_all("Received", []) if "LMTP" not in value]
    assert len(received) == 1
    assert not received[0].startswith("from")
    assert "127.0.0.1" not in raw.decode()
    assert "localhost" not in raw.decode()
    ((uid, copy),) = by_imap(box, "Sent").items()
    assert raw.endswith(copy)
    assert (sent["mailbox"], sent["sent_copy"], sent["id"].partition(".")[2]) == ("Sent", "saved", str(uid))
    shown = read(box, f"messages/{sent['id']}?mailbox=Sent")["message"]
    assert (shown["text"], shown["from"]) == ("Hällo.\n", {"name": "Ann Lee", "address": box.address})
    assert read(box, "messages?mailbox=Sent")["items"][0]["flags"] == ["\\Seen"]
    wait_for("the status", lambda: sent_items(box, sent["rfc_message_id"]))
    (item,) = sent_items(box, sent["rfc_message_id"])
    assert (item["recipient"], item["status"]) == (other.address, "delivered")
    assert usage(box) == 1
    events = read(box, f"/v2/events?type=message.sent&account_id={box.id}")["items"]
    assert [event["data"] for event in events] == [
        {"address": box.address, "status": "active", "rfc_message_id": sent["rfc_message_id"], "recipients": 1}
    ]


def test_all_kinds_of_parts(box: Mailbox, other: Mailbox, dns: DnsServer) -> None:
    picture, file = os.urandom(1000), os.urandom(200_001)
    content = [
        {"filename": "März.pdf", "content_type": "application/pdf", "content_base64": base64.b64encode(file).decode()},
        {
            "filename": "logo.png",
            "content_type": "image/png",
            "content_base64": base64.encodebytes(picture).decode(),
            "content_id": "logo",
        },
    ]
    html = "<p>Grüße</p><img src='cid:logo'>"
    sent = send(
        box, other.address, html=html, text="Grüße\n.\n..\n", attachments=content, headers={"X-Ticket": "Nr. ü"}
    )
    raw = other.wait_for("hello")
    publish(dns, box.platform)
    assert verifies(dns, raw)
    got = message_from_bytes(raw, policy=policy.default)
    texts = {
        part.get_content_type(): part.get_content() for part in got.walk() if part.get_content_maintype() == "text"
    }
    plain = {kind: text.replace("\r\n", "\n") for kind, text in texts.items()}
    assert plain == {"text/plain": "Grüße\n.\n..\n", "text/html": f"{html}\n"}
    assert got["X-Ticket"] == "Nr. ü"
    files = {part.get_filename(): part.get_content() for part in got.walk() if part.get_filename()}
    assert files == {"März.pdf": file, "logo.png": picture}
    attachments = read(box, f"messages/{sent['id']}?mailbox=Sent")["message"]["attachments"]
    assert {(one["filename"], one["inline"], one["content_id"]) for one in attachments} == {
        ("März.pdf", False, None),
        ("logo.png", True, "logo"),
    }


def test_who_sees_whom(box: Mailbox, other: Mailbox) -> None:
    """Bcc is in no header field, and each recipient gets one copy."""
    third = box.platform.create("third")
    sent = send(box, other.address, f"Again <{other.address.upper()}>", bcc=[third.address, other.address])
    assert sent["recipients"] == [other.address, third.address]
    for one in (other, third):
        raw = one.wait_for("hello")
        assert third.address.encode() not in raw.split(b"\r\nFrom: ")[1]
    assert third.address.encode() not in next(iter(by_imap(box, "Sent").values()))
    assert other.subjects() == ["hello"]
    send(box, bcc=[third.address], subject="secret")
    assert b"To: undisclosed-recipients:;" in third.wait_for("secret")


def test_unknown_recipients_stop_the_message(box: Mailbox, other: Mailbox) -> None:
    domain = box.platform.domain
    gone = box.platform.create("gone")
    gone.update(status="disabled")
    status, answer = try_send(box, other.address, f"nobody@{domain}", cc=[gone.address], bcc=["x@elsewhere.example"])
    assert (status, answer["code"]) == (409, "recipient_refused")
    assert [(error["field"], error["code"]) for error in answer["errors"]] == [
        ("to[1]", "unknown_recipient"),
        ("cc[0]", "mailbox_disabled"),
        ("bcc[0]", "outbound_off"),
    ]
    assert "nobody" not in json.dumps(answer)
    status, answer = try_send(box, other.address, "x@elsewhere.example")
    assert (status, answer["code"]) == (409, "outbound_off")
    assert (usage(box), by_imap(box, "Sent")) == (0, {})
    send(box, other.address, subject="the last")
    other.wait_for("the last")
    assert other.subjects() == ["the last"]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"status": "suspended"}, "account_suspended"),
        ({"status": "disabled"}, "account_disabled"),
        ({"may_send": False}, "sending_off"),
    ],
)
def test_accounts_that_may_not_send(box: Mailbox, other: Mailbox, change: dict[str, Any], code: str) -> None:
    box.update(**change)
    status, answer = try_send(box, other.address)
    assert (status, answer["code"]) == (409, code)


@pytest.mark.usefixtures("hour")
def test_the_send_limits(box: Mailbox, other: Mailbox) -> None:
    box.update(send_limits={"recipients_per_hour": 2, "recipients_per_message": 2})
    third, fourth = box.platform.create("third"), box.platform.create("fourth")
    status, answer = try_send(box, other.address, third.address, fourth.address)
    assert (status, answer["code"], answer["limit"]) == (409, "limit_reached", 2)
    send(box, other.address)
    status, answer = try_send(box, other.address, third.address)
    assert (status, answer["code"]) == (429, "too_many_requests")
    assert "2 recipients an hour" in answer["detail"]
    assert usage(box) == 1
    events = read(box, f"/v2/events?type=account.send_limit_reached&account_id={box.id}")["items"]
    assert [event["data"]["limit"] for event in events] == ["recipients_per_hour"]
    send(box, third.address, subject="within")
    third.wait_for("within")
    assert third.subjects() == ["within"]


def test_senders(box: Mailbox, other: Mailbox) -> None:
    platform = box.platform
    for name, may_send in (("sales", True), ("quiet", False)):
        body = {"domain": platform.domain, "local_part": name, "account_ids": [box.id], "user_id": "user_123"}
        platform.call("POST", "/v2/email-aliases/create", {**body, "may_send": may_send})
    send(box, other.address, **{"from": f'"Sales, Inc." <sales+eu@{platform.domain.upper()}>'})
    assert b'From: "Sales, Inc." <sales+eu@' in other.wait_for("hello")
    for sender in (
        f"quiet@{platform.domain}",
        other.address,
        "ann@elsewhere.example",
        f"{other.address} <{box.address}>",
    ):
        status, answer = try_send(box, other.address, **{"from": sender})
        assert (status, [error["field"] for error in answer["errors"]]) == (400, ["from"]), sender
    name = f"{other.address} via us"
    status, answer = try_send(box, other.address, **{"from": f'"{name}" <{box.address}>'})
    assert (status, [error["code"] for error in answer["errors"]]) == (400, ["not_yours"])
    assert other.subjects() == ["hello"]


def test_the_copy(box: Mailbox, other: Mailbox) -> None:
    """Into the mailbox for sent mail, which is made if it is missing. A full mailbox gets none."""
    box.update(quota_messages=1)
    with box.login() as imap:
        imap.delete("Sent")
    assert send(box, other.address)["sent_copy"] == "saved"
    assert len(by_imap(box, "Sent")) == 1
    assert send(box, other.address, save_sent=False)["sent_copy"] == "off"
    assert len(by_imap(box, "Sent")) == 1
    wait_for("a copy that fails", lambda: send(box, other.address)["sent_copy"] == "failed")
    sent = send(box, other.address, subject="the last")
    assert (sent["id"], sent["mailbox"], sent["sent_copy"]) == (None, None, "failed")
    other.wait_for("the last")


def test_an_answer(box: Mailbox, other: Mailbox) -> None:
    first = send(other, box.address, subject="Frage: ä")
    box.wait_for("=?utf-8?b?RnJhZ2U6IMOk?=")
    (item,) = read(box, "messages")["items"]
    send(box, other.address, subject=None, in_reply_to_id=item["id"])
    wait_for("the answer", lambda: by_imap(other))
    got = message_from_bytes(next(iter(by_imap(other).values())), policy=policy.default)
    assert (got["Subject"], got["In-Reply-To"], got["References"]) == (
        "Re: Frage: ä",
        first["rfc_message_id"],
        first["rfc_message_id"],
    )
    status, problem = try_send(box, other.address, in_reply_to_id=f"{item['id']}9")
    assert (status, [(one["field"], one["code"]) for one in problem["errors"]]) == (
        400,
        [("in_reply_to_id", "unknown")],
    )
    status, problem = try_send(box, other.address, in_reply_to_id=item["id"], in_reply_to_mailbox="Nope")
    assert (status, problem["errors"][0]["field"]) == (400, "in_reply_to_mailbox")


def test_what_postfix_refuses_for_good(box: Mailbox, other: Mailbox) -> None:
    """A To field of more than 60,000 octets."""
    name, _, domain = other.address.partition("@")
    status, problem = try_send(box, *(f"{'😀' * 250} <a{number}@{domain}>" for number in range(60)))
    assert (status, problem["code"]) == (409, "recipient_refused"), problem
    status, problem = try_send(box, *(f"{'😀' * 250} <{name}+{number}@{domain}>" for number in range(60)))
    assert (status, problem["code"]) == (409, "message_refused"), problem
    assert "60000 octets" in problem["detail"]
    assert by_imap(other) == {}


def test_a_kill_of_the_api(box: Mailbox, other: Mailbox) -> None:
    """The API is killed at any moment of 12 sends; each is sent once, by as many tries as it takes,
    and has one copy."""
    service = box.platform.service
    for number in range(12):
        once, stop = f"once {number}", threading.Event()
        body = {"to": [other.address], "subject": f"number {number}", "text": "x" * 20_000}

        def ask(once: str = once, body: dict[str, Any] = body) -> tuple[int, Any]:
            try:
                return box.platform.try_call(
                    "POST", f"/v2/email-accounts/{box.id}/messages/send", body, idempotency_key=once
                )
            except OSError:
                return 0, None

        sender = threading.Thread(target=ask)
        sender.start()
        stop.wait(0.003 * number)
        os.kill(wait_for("the API", lambda: service.pid("api")), signal.SIGKILL)
        sender.join()
        answer = wait_for("an answer", lambda ask=ask: next((a for s, a in [ask()] if s == 202), None))  # type: ignore[misc]
        assert answer
        assert answer["message"]["sent_copy"] == "saved"
    send(box, other.address, subject="the last")
    wanted = sorted([f"number {number}" for number in range(12)] + ["the last"])
    wait_for("all, once", lambda: sorted(other.subjects()) == wanted)
    copies = by_imap(box, "Sent").values()
    assert len(copies) == len(wanted)
    texts = [message_from_bytes(raw, policy=policy.default).get_content().strip() for raw in copies]
    assert sorted(texts, key=len) == ["Hello.", *["x" * 20_000] * 12]
    assert usage(box) == len(wanted)


def test_only_what_is_announced_passes(box: Mailbox, other: Mailbox) -> None:
    """A program that reaches the socket sends nothing that the API has not announced."""
    raw = f"From: {box.address}\r\nTo: {other.address}\r\nMessage-ID: <1@x.org>\r\n\r\nhi\r\n".encode()
    with pytest.raises(NotTaken) as refused:
        hand_over(box.platform.service.data, box.id, box.address, [other.address], io.BytesIO(raw))
    assert refused.value.text.startswith(NOT_ANNOUNCED)
    assert other.address not in queued(box.platform.service)


def test_a_large_message(box: Mailbox, other: Mailbox, dns: DnsServer) -> None:
    """18 MB of attachments, while other requests are answered."""
    content = {
        "filename": "a",
        "content_type": "a/b",
        "content_base64": base64.b64encode(os.urandom(18_000_000)).decode(),
    }
    answers = []
    sender = threading.Thread(target=lambda: answers.append(send(box, other.address, attachments=[content])))
    sender.start()
    while sender.is_alive():
        assert get(box, "/v2/email-accounts?limit=1")[0] == 200
    sender.join()
    raw = other.wait_for("hello")
    assert len(raw) > 24_000_000
    publish(dns, box.platform)
    assert verifies(dns, raw)
    assert answers[0]["sent_copy"] == "saved"
