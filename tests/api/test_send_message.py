"""Sending a message: what is refused, and that a message is sent once whenever the process dies.
tests/mail/test_message_sends.py sends through a real Postfix."""

import json
from collections.abc import Callable, Iterator
from email import message_from_bytes, policy
from typing import Any
from uuid import uuid4

import pytest

from postroom.actor import DEFAULT_SCOPES
from postroom.api import message_sending
from postroom.errors import not_found
from postroom.messages.hand_over import LIMIT_REACHED, NOT_SENT, NOT_YOURS, NotTaken, RefusedRecipient
from postroom.messages.parser import Trust, parse
from tests.api.raw import PATH
from tests.api.rows import new_events, rows
from tests.harness.server import ApiServer, Response, Tenant
from tests.harness.told_outbox import ToldOutbox

BODY: dict[str, Any] = {"to": ["Ann Lee <ann@else.example>"], "subject": "hi", "text": "Hello.\n"}


@pytest.fixture(autouse=True)
def outbox(api: ApiServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[ToldOutbox]:
    monkeypatch.setattr(message_sending, "LOOKS", (0.0, 0.0))
    yield api.outbox
    api.outbox.problem = api.outbox.later = None
    api.outbox.meanwhile = lambda: None
    api.messages.copy_fails = False


@pytest.fixture
def path(tenant: Tenant) -> str:
    return f"{PATH}/{tenant.account('writer')['id']}/messages/send"


def post(tenant: Tenant, path: str, once: str | None = None, **fields: Any) -> Response:
    headers = {"Idempotency-Key": once} if once else {}
    return tenant.post(path, BODY | fields, headers=headers)


def queued(tenant: Tenant, path: str) -> list[tuple[int, str, tuple[str, ...], bytes]]:
    """What was handed over for the account."""
    return [one for one in tenant.api.outbox.queued if one[0] == int(path.split("/")[3])]


def test_it_works(tenant: Tenant, path: str) -> None:
    answer = post(tenant, path, to=["Ann <ann@else.example>", "ann@ELSE.example"], cc=["bob@bücher.example"])
    assert answer.status == 202
    ((account_id, sender, recipients, raw),) = queued(tenant, path)
    message = message_from_bytes(raw, policy=policy.default)
    sent = answer.json["message"]
    assert recipients == ("ann@else.example", "bob@xn--bcher-kva.example")
    assert sent == {
        "id": f"1.{len(tenant.api.messages.copies)}",
        "mailbox": "Sent",
        "rfc_message_id": message["Message-ID"],
        "queued_at": sent["queued_at"],
        "recipients": list(recipients),
        "sent_copy": "saved",
    }
    assert sender == f"writer@{tenant.domain}" == message["From"].addresses[0].addr_spec
    assert message["To"] == "Ann <ann@else.example>"
    assert new_events(tenant)[-1] == "message.sent"
    data = tenant.events()[-1]["data"]
    assert data == {
        "address": sender,
        "status": "active",
        "rfc_message_id": message["Message-ID"],
        "recipients": 2,
    }
    assert account_id == int(path.split("/")[3])


def test_no_key_has_the_scope_that_did_not_ask(tenant: Tenant, path: str) -> None:
    assert "messages:send" not in DEFAULT_SCOPES
    usual = tenant.post("/v2/keys", {"scopes": list(DEFAULT_SCOPES)}).json["api_key"]
    assert tenant.post(path, BODY, key=usual).code == "forbidden"


@pytest.mark.parametrize("field", ["to", "cc", "bcc"])
@pytest.mark.parametrize("text", ["a@b.cd\r\nBcc: x@y.zz", "a@b.cd\n", "A\0 <a@b.cd>", "A\r <a@b.cd>"])
def test_no_line_break_in_an_address(tenant: Tenant, path: str, field: str, text: str) -> None:
    _refuses(tenant, path, f"{field}[0]", **{field: [text]})


@pytest.mark.parametrize("end", ["\r\nBcc: x@y.zz", "\n x", "\r", "\0", "\x7f", "\u2029"], ids=repr)
@pytest.mark.parametrize(
    ("field", "make"),
    [
        ("subject", lambda text: {"subject": f"hi{text}"}),
        ("from", lambda text: {"from": f"A{text} <a@b.cd>"}),
        ("reply_to", lambda text: {"reply_to": f"a@b.cd{text}"}),
        ("headers", lambda text: {"headers": {"X-A": f"b{text}"}}),
        ("headers", lambda text: {"headers": {f"X-A{text}": "b"}}),
        ("attachments[0].filename", lambda text: {"attachments": [attachment(filename=f"a{text}")]}),
        ("attachments[0].content_type", lambda text: {"attachments": [attachment(content_type=f"a/b{text}")]}),
        ("attachments[0].content_id", lambda text: {"attachments": [attachment(content_id=f"a{text}")]}),
    ],
)
def test_no_line_break_in_a_field(
    tenant: Tenant, path: str, field: str, make: Callable[[str], dict[str, Any]], end: str
) -> None:
    _refuses(tenant, path, field, **make(end))


def attachment(**fields: Any) -> dict[str, Any]:
    return {"filename": "a.pdf", "content_type": "application/pdf", "content_base64": "YWJj", **fields}


def _refuses(tenant: Tenant, path: str, field: str, **fields: Any) -> None:
    before = rows(tenant)
    answer = post(tenant, path, **fields)
    assert (answer.status, answer.code) == (400, "invalid_request"), answer.text
    assert [error["field"] for error in answer.json["errors"]] == [field]
    assert rows(tenant) == before
    assert queued(tenant, path) == []


@pytest.mark.parametrize(
    "name",
    [
        *(
            "From",
            "sender",
            "TO",
            "Cc",
            "bcc",
            "Reply-To",
            "Subject",
            "Date",
            "Message-ID",
            "In-Reply-To",
            "References",
        ),
        *("MIME-Version", "Content-Type", "Content-Transfer-Encoding", "Received", "Return-Path", "DKIM-Signature"),
        *("Authentication-Results", "X-Spam", "X-Postroom-Signing-Domain", "Resent-From", "ARC-Seal", "X-Sieve"),
        "References",
        *("a b", "a:b", "", "ü", "-a", "x" * 77),
    ],
)
def test_header_fields_of_the_server(tenant: Tenant, path: str, name: str) -> None:
    _refuses(tenant, path, "headers", headers={name: "x"})


@pytest.mark.parametrize(
    ("field", "fields"),
    [
        ("to", {"to": []}),
        ("to", {"to": ["a@b.cd"] * 101}),
        ("to", {"to": [f"a{n}@b.cd" for n in range(60)], "bcc": [f"b{n}@b.cd" for n in range(41)]}),
        ("text", {"text": None}),
        ("text", {"text": "a\0"}),
        ("text", {"text": "ü" * (512 * 1024 + 1)}),
        ("html", {"html": "x" * (1024 * 1024 + 1)}),
        ("subject", {"subject": "x" * 999}),
        ("from", {"from": "ann@else.example"}),
        ("from", {"from": "writer@else"}),
        ("to[0]", {"to": ["a@b.cd, c@d.ef"]}),
        ("to[0]", {"to": ["Lee, Ann <a@b.cd>"]}),
        ("to[0]", {"to": ["x@y.zz <a@b.cd>"]}),
        ("to[0]", {"to": ["a@[127.0.0.1]"]}),
        ("to[0]", {"to": ['"a b"@b.cd']}),
        ("to[0]", {"to": ["ä@b.cd"]}),
        ("to[0]", {"to": ["a@b"]}),
        ("to[0]", {"to": ["Ann"]}),
        ("to[0]", {"to": ["<a@b.cd> x"]}),
        ("to[0]", {"to": ["x" * 300 + " <a@b.cd>"]}),
        ("headers", {"headers": {f"X-{n}": "x" for n in range(31)}}),
        ("headers", {"headers": {"X-A": "a", "x-a": "b"}}),
        ("headers", {"headers": {"X-A": "x" * 901}}),
        ("attachments", {"attachments": [attachment()] * 101}),
        ("attachments[1].content_base64", {"attachments": [attachment(), attachment(content_base64="YWJ")]}),
        ("attachments[0].content_base64", {"attachments": [attachment(content_base64="YW=Jj")]}),
        ("attachments[0].content_base64", {"attachments": [attachment(content_base64="YQ==" * 30_000)]}),
        ("attachments[0].content_base64", {"attachments": [attachment(content_base64="ü===")]}),
        ("attachments[0].content_type", {"attachments": [attachment(content_type="multipart/mixed")]}),
        ("attachments[0].content_type", {"attachments": [attachment(content_type="message/rfc822")]}),
        ("attachments[0].filename", {"attachments": [attachment(filename="a/b")]}),
    ],
)
def test_it_refuses(tenant: Tenant, path: str, field: str, fields: dict[str, Any]) -> None:
    _refuses(tenant, path, field, **fields)


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"status": "suspended"}, 409, "account_suspended"),
        ({"status": "disabled"}, 409, "account_disabled"),
        ({"may_send": False}, 409, "sending_off"),
        ({"send_limits": {"recipients_per_message": 1}}, 409, "limit_reached"),
        ({"send_limits": {"recipients_per_day": 1}}, 409, "limit_reached"),
    ],
)
def test_accounts_that_may_not_send(tenant: Tenant, path: str, change: dict[str, Any], status: int, code: str) -> None:
    assert tenant.put(path.removesuffix("/messages/send"), change).status == 200
    before = rows(tenant)
    answer = post(tenant, path, cc=["bob@else.example"])
    assert (answer.status, answer.code) == (status, code)
    assert rows(tenant) == before


@pytest.mark.parametrize(
    ("problem", "status", "code"),
    [
        (
            NotTaken(450, f"{LIMIT_REACHED} 99999999999999 Sending limit"),
            429,
            "too_many_requests",
        ),
        (NotTaken(550, f"{NOT_YOURS} The sender must be an address of the account"), 400, "invalid_request"),
        (NotTaken(550, f"{NOT_SENT} This account may not send"), 503, "mail_unavailable"),
        (NotTaken(550, "5.7.1 Spam message rejected"), 409, "message_refused"),
        (NotTaken(550, "5.6.0 A header field is longer than 60000 octets"), 409, "message_refused"),
        (NotTaken(552, "5.3.4 Message size exceeds fixed limit"), 413, "payload_too_large"),
        (NotTaken(452, "4.3.1 Insufficient system storage"), 503, "mail_unavailable"),
        (NotTaken(451, "4.7.1 Service unavailable - try again later"), 503, "mail_unavailable"),
        (NotTaken(421, "TimeoutError"), 503, "mail_unavailable"),
        (
            NotTaken(550, "5.1.1 x", [RefusedRecipient(0, 550, "5.1.1 <ann@else.example>: User unknown")]),
            409,
            "recipient_refused",
        ),
        (NotTaken(554, "5.7.1 x", [RefusedRecipient(0, 554, "5.7.1 <ann@else.example>: off")]), 409, "outbound_off"),
        (NotTaken(451, "4.3.0 x", [RefusedRecipient(0, 451, "4.3.0 <ann@else.example>")]), 503, "mail_unavailable"),
    ],
)
def test_what_postfix_refuses_frees_the_key(
    tenant: Tenant, path: str, problem: NotTaken, status: int, code: str
) -> None:
    before, once = rows(tenant), str(uuid4())
    tenant.api.outbox.problem = problem
    answer = post(tenant, path, once)
    assert (answer.status, answer.code) == (status, code), answer.text
    assert "ann@else" not in answer.text
    if status in (429, 503):
        assert int(answer.headers["retry-after"]) > 0
    assert rows(tenant) == before
    tenant.api.outbox.problem = None
    assert post(tenant, path, once, subject="another").status == 202
    assert len(queued(tenant, path)) == 1


def test_a_refused_recipient_is_named_by_its_place(tenant: Tenant, path: str) -> None:
    refused = [
        RefusedRecipient(1, 550, "5.1.1 <bob@else.example>: User unknown"),
        RefusedRecipient(3, 552, "5.2.2 <dan@else.example>: full"),
    ]
    tenant.api.outbox.problem = NotTaken(550, "5.1.1 x", refused)
    to = ["ann@else.example", "ANN@else.example", "bob@else.example"]
    answer = post(tenant, path, to=to, cc=["carl@else.example"], bcc=["dan@else.example"])
    assert [(error["field"], error["code"]) for error in answer.json["errors"]] == [
        ("to[2]", "unknown_recipient"),
        ("bcc[0]", "mailbox_full"),
    ]


def test_a_copy_that_fails(tenant: Tenant, path: str) -> None:
    tenant.api.messages.copy_fails = True
    sent = post(tenant, path).json["message"]
    assert (sent["id"], sent["mailbox"], sent["sent_copy"]) == (None, None, "failed")
    sent = post(tenant, path, save_sent=False).json["message"]
    assert (sent["id"], sent["mailbox"], sent["sent_copy"]) == (None, None, "off")
    assert len(queued(tenant, path)) == 2


def test_an_answer_to_a_message(tenant: Tenant, path: str) -> None:
    told = tenant.api.messages
    old, told.content = (
        told.content,
        b"Message-ID: <3@x>\nReferences: <1@x> <2@x>\nSubject: Re: private\n\nhi\n",
    )
    assert post(tenant, path, in_reply_to_id="1.1", subject=None).status == 202
    told.content = b"Message-ID: <3@x\xff> \nIn-Reply-To: <2@x>\nSubject: =?utf-8?q?private=0D=0ABcc:_x?=\n\nhi\n"
    assert post(tenant, path, in_reply_to_id="1.1", subject=None).status == 202
    assert post(tenant, path, in_reply_to_id="1.1", subject="mine").status == 202
    told.content = old
    first, second, third = (message_from_bytes(raw, policy=policy.default) for *_, raw in queued(tenant, path))
    fields = ("Subject", "In-Reply-To", "References", "Bcc")
    assert [first[field] for field in fields] == ["Re: private", "<3@x>", "<1@x> <2@x> <3@x>", None]
    assert [second[field] for field in fields] == ["Re: private Bcc: x", None, "<2@x>", None]
    assert third["Subject"] == "mine"
    assert post(tenant, path, in_reply_to_id="0.1").code == "invalid_request"


def test_many_faults_are_one_answer(tenant: Tenant, path: str) -> None:
    """Work for a refusal is bounded: the first fault of the header fields ends it."""
    _refuses(tenant, path, "headers", headers={f"a{number}": "\0" for number in range(2000)})
    answer = post(tenant, path, to=[" " * 700] * 100, cc=["<" * 700] * 100, bcc=["a " * 350 + "<"] * 100)
    assert (answer.status, len(answer.json["errors"])) == (400, 300)
    long = "a/b" + ";a=b" * 63
    assert post(tenant, path, attachments=[attachment(content_type=long)]).status == 202
    for content_type in (long + ";", long + ";a=b", "a/b" + ";a=b" * 5000):
        answer = post(tenant, path, attachments=[attachment(content_type=content_type)])
        assert answer.json["errors"][0]["field"] == "attachments[0].content_type"
    for mailbox in ("", "x" * 1025, "a\nb"):
        _refuses_mailbox(tenant, path, mailbox)


def _refuses_mailbox(tenant: Tenant, path: str, mailbox: str) -> None:
    answer = post(tenant, path, in_reply_to_id="1.1", in_reply_to_mailbox=mailbox)
    assert [error["field"] for error in answer.json["errors"]] == ["in_reply_to_mailbox"]


def test_many_pictures_are_beside_their_text(tenant: Tenant, path: str) -> None:
    pictures = [attachment(filename=f"{n}.png", content_type="image/png", content_id=f"c{n}") for n in range(30)]
    assert post(tenant, path, html="<p>hi</p>", attachments=[*pictures, attachment()]).status == 202
    ((*_, raw),) = queued(tenant, path)
    parsed = parse(raw, Trust("mail.test", has_filter=False))
    assert (parsed.html, parsed.parse_error) == ("<p>hi</p>\n", None)
    assert len(parsed.attachments) == 31


def test_a_message_that_was_taken_is_not_refused_later(
    tenant: Tenant, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The API has died before its answer; then the original was deleted and the account
    suspended."""

    async def gone(*_: object) -> None:
        raise not_found()

    told = tenant.api.messages
    monkeypatch.setattr(told, "content", b"Message-ID: <3@x>\nSubject: private\n\nhi\n")
    tenant.api.outbox.later = RuntimeError("the API dies")
    assert post(tenant, path, "once", in_reply_to_id="1.1").status == 500
    tenant.api.outbox.later = None
    monkeypatch.setattr(told, "get", gone)
    assert tenant.put(path.removesuffix("/messages/send"), {"status": "suspended"}).status == 200
    assert post(tenant, path, "twice", in_reply_to_id="1.1").code == "account_suspended"
    again = post(tenant, path, "once", in_reply_to_id="1.1")
    assert again.status == 202, again.text
    assert len(queued(tenant, path)) == 1
    assert post(tenant, path, "once").code == "idempotency_key_reused"


def test_a_large_body(tenant: Tenant, path: str) -> None:
    """25 MiB on this route, with the Idempotency-Key of its content; 64 KiB on any other."""
    content = "A" * (24 * 1024 * 1024)
    body = json.dumps(BODY | {"attachments": [attachment(content_base64=content)]}).encode()
    answers = [tenant.request("POST", path, raw=body, headers={"Idempotency-Key": "large"}) for _ in range(2)]
    assert [answer.status for answer in answers] == [202, 202], answers[0].text
    assert answers[1].headers["idempotent-replayed"] == "true"
    ((*_, raw),) = queued(tenant, path)
    (part,) = message_from_bytes(raw, policy=policy.default).iter_attachments()
    assert part.get_content() == bytes(18 * 1024 * 1024)
    changed = tenant.request("POST", path, raw=body.replace(b"AAAA", b"AAAB", 1), headers={"Idempotency-Key": "large"})
    assert changed.code == "idempotency_key_reused"
    too_much = json.dumps(BODY | {"attachments": [attachment(content_base64="A" * (26 * 1024 * 1024))]}).encode()
    assert tenant.request("POST", path, raw=too_much).code == "payload_too_large"
    assert tenant.request("POST", "/v2/keys", raw=body).code == "payload_too_large"
