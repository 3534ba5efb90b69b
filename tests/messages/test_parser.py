"""What a parsed message says, for messages as people send them and for broken ones."""

import email
import tracemalloc
from email.message import EmailMessage

import msgspec
import pytest

from postroom.messages.parsed import Attachment, Authentication, MailAddress, ParsedMessage
from postroom.messages.parser import TEXT_BYTES, Trust, find_attachment, parse
from postroom.messages.structure import MOST_PARTS, SEARCH_BYTES, scan

OURS = Trust("mail.demo.test", has_filter=True)
NOBODY = Trust("mail.demo.test", has_filter=False)
HEAD = b"From: ann@example.org\r\nTo: bob@demo.test\r\nSubject: hi\r\n"
MIXED = HEAD + b'Content-Type: multipart/mixed; boundary="b"\r\n\r\n'


def with_parts() -> bytes:
    message = EmailMessage()
    message["From"] = '"Lee, Ann" <ann@example.org>'
    message["To"] = "bob@demo.test, Zoë <zoe@example.org>"
    message["Cc"] = "carl@example.org"
    message["Reply-To"] = "desk@example.org"
    message["Subject"] = "Grüße aus Köln"
    message["Date"] = "Mon, 30 Nov 2026 10:00:00 +0100"
    message["Message-ID"] = "<1@example.org>"
    message["In-Reply-To"] = "<0@demo.test>"
    message["References"] = "<a@demo.test> <0@demo.test>"
    message.set_content("Grüße\n")
    message.add_alternative("<p>Grüße <img src='cid:logo'></p>", subtype="html")
    html = message.get_payload()[1]  # type: ignore[index]
    assert isinstance(html, EmailMessage)
    html.add_related(b"\x89PNG", "image", "png", cid="<logo>", disposition="inline")
    message.add_attachment(b"\x00\xff" * 1000, maintype="application", subtype="pdf", filename="Rechnung März.pdf")
    message.add_attachment("a,b\n", subtype="csv", filename="list.csv")
    return message.as_bytes().replace(b"\n", b"\r\n")


def test_it_works() -> None:
    raw = with_parts()
    found = parse(raw, NOBODY)
    assert found == ParsedMessage(
        rfc_message_id="<1@example.org>",
        in_reply_to="<0@demo.test>",
        references=("<a@demo.test>", "<0@demo.test>"),
        from_=MailAddress("Lee, Ann", "ann@example.org"),
        to=(MailAddress(None, "bob@demo.test"), MailAddress("Zoë", "zoe@example.org")),
        cc=(MailAddress(None, "carl@example.org"),),
        reply_to=MailAddress(None, "desk@example.org"),
        subject="Grüße aus Köln",
        date="2026-11-30T09:00:00.000Z",
        size=len(raw),
        text="Grüße\n",
        html="<p>Grüße <img src='cid:logo'></p>\n",
        attachments=(
            Attachment("1.2.2", None, "image/png", 4, "logo", True),
            Attachment("2", "Rechnung März.pdf", "application/pdf", 2000, None, False),
            Attachment("3", "list.csv", "text/csv", 4 + 1, None, False),
        ),
    )
    opened = find_attachment(raw, "2")
    assert opened
    assert b"".join(opened[1]) == b"\x00\xff" * 1000
    for number in ("1", "1.1", "4", "2.1", "0", "", "x", "2 "):
        assert find_attachment(raw, number) is None, number


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_line_ends_do_not_matter(end: bytes) -> None:
    assert parse(with_parts().replace(b"\r\n", end), NOBODY).html == "<p>Grüße <img src='cid:logo'></p>\n"


@pytest.mark.parametrize(
    ("header", "field", "value"),
    [
        (b"Subject: =?utf-8?b?R3LDvMOfZQ==?=", "subject", "Grüße"),
        (b"Subject: =?iso-8859-1?q?Gr=FC=DFe?= =?utf-8?q?_aus?=", "subject", "Grüße aus"),
        (b"Subject: Gr\xfc\xdfe", "subject", "Grüße"),
        ("Subject: Grüße".encode(), "subject", "Grüße"),
        (b"Subject: =?utf-8?b?R3L?= x", "subject", "Gr x"),
        (b"Subject: =?utf-8?b?a?= x", "subject", "=?utf-8?b?a?= x"),
        (rb"Subject: \uZZ =?utf-8?q?a?=", "subject", "\ufffdZZ a"),
        (b"Subject: =?nonsense?q?a=FCb?=", "subject", "aüb"),
        (b"Subject: =?punycode?q?a-b?=", "subject", "a-b"),
        (b"Subject: a\x00b", "subject", "a\ufffdb"),
        (b"Subject: a\rX-Spam: Yes", "subject", "a X-Spam: Yes"),
        (b"Subject: a\r\n b", "subject", "a b"),
        (b"Subject:", "subject", ""),
        (b"X: y", "subject", None),
        (b"From: undisclosed", "from_", MailAddress(None, "undisclosed")),
        (b"From: =?utf-8?q?A=2C_B?= <a@b.test>", "from_", MailAddress("A, B", "a@b.test")),
        (b"From: ", "from_", None),
        (b"To: a@b.test, <, c@d.test", "to", (MailAddress(None, "a@b.test"), MailAddress(None, "c@d.test"))),
        (b"To: team: a@b.test, c@d.test;", "to", (MailAddress(None, "a@b.test"), MailAddress(None, "c@d.test"))),
        (b"To: " + b"(" * 5000 + b"a@b.test", "to", ()),
        (b"Date: yesterday", "date", None),
        (b"Date: Mon, 30 Nov 2026 10:00:00 -0000", "date", "2026-11-30T10:00:00.000Z"),
        (b"Date: Fri, 31 Dec 9999 23:59:59 -1200", "date", None),
        (b"Message-ID: no brackets", "rfc_message_id", "no brackets"),
    ],
)
def test_header_fields(header: bytes, field: str, value: object) -> None:
    assert getattr(parse(header + b"\r\n\r\nhi\r\n", NOBODY), field) == value


@pytest.mark.parametrize(
    ("type_", "body", "text"),
    [
        (b"text/plain; charset=iso-8859-1", b"Gr\xfc\xdfe", "Grüße"),
        (b"text/plain; charset=utf-8", b"a\xff", "a\ufffd"),
        (b"text/plain; charset=us-ascii", "Grüße".encode(), "Grüße"),
        (b"text/plain; charset=x-nobody-knows", b"Gr\xfc\xdfe", "Grüße"),
        (b"text/plain; charset=zlib", b"x\x9cab", "x\u0153ab"),
        (b"text/plain; charset=punycode", b"a-b", "a-b"),
        (b"text/plain; charset=utf-16", "Grüße".encode("utf-16"), "Grüße"),
        (b"text/plain; charset=gb2312", "中文".encode("gb18030"), "中文"),
        (b"text/plain", b"a\x00b", "a\ufffdb"),
        (b"text/plain; charset=utf-7", b"+2AA-x", "\ufffdx"),
        (b"nonsense", b"hi", "hi"),
        (b"multipart/mixed", b"hi", "hi"),
        (b"multipart/mixed; boundary=nowhere", b"hi", "hi"),
    ],
)
def test_texts_in_any_character_set(type_: bytes, body: bytes, text: str) -> None:
    found = parse(HEAD + b"Content-Type: " + type_ + b"\r\n\r\n" + body, NOBODY)
    assert found.text == text
    assert found.attachments == ()


@pytest.mark.parametrize(
    ("encoding", "body", "content"),
    [
        (b"base64", b"aGVs\r\nbG8=\r\n", b"hello"),
        (b"BASE64", b"aGVsbG8", b"hello"),
        (b"base64", b"a*G V\0sbG8", b"hello"),
        (b"base64", b"aGk=aGk=", b"hihi"),
        (b"base64", b"aGVsb", b"hel"),
        (b"base64", b"====", b""),
        (b"quoted-printable", b"a=3Db=\r\nc=ZZ=", b"a=bc=ZZ"),
        (b"8bit", b"\x00\xff\r", b"\x00\xff\r"),
        (b"nonsense", b"\x00\xff", b"\x00\xff"),
    ],
)
def test_contents_in_any_encoding(encoding: bytes, body: bytes, content: bytes) -> None:
    raw = b"Content-Type: application/x\r\nContent-Transfer-Encoding: " + encoding + b"\r\n\r\n" + body
    opened = find_attachment(raw, "1")
    assert opened
    assert b"".join(opened[1]) == content
    assert opened[0].size == len(content)


def test_a_large_content_is_decoded_in_pieces() -> None:
    for encoding in ("base64", "quoted-printable"):
        message = EmailMessage()
        content = bytes(range(256)) * 8000
        message.set_content(content, maintype="application", subtype="x", cte=encoding)
        opened = find_attachment(message.as_bytes(), "1")
        assert opened
        assert b"".join(opened[1]) == content


@pytest.mark.parametrize(
    ("disposition", "name"),
    [
        (b'attachment; filename="a.txt"', "a.txt"),
        (b"attachment; filename*=utf-8''M%C3%A4rz.pdf", "März.pdf"),
        (b"attachment; filename*=nonsense''a%FC.pdf", "aü.pdf"),
        (b'attachment; filename*0="long-"; filename*1="name.pdf"', "long-name.pdf"),
        (b'attachment; filename="=?utf-8?q?M=C3=A4rz.pdf?="', "März.pdf"),
        (b'attachment; filename="../../etc/passwd"', "passwd"),
        (b'attachment; filename="C:\\\\x\\\\a.exe"', "a.exe"),
        (b'attachment; filename=".."', None),
        (b'attachment; filename="a\x00\r\n\tb"', "a\ufffd b"),
        (b"attachment", None),
        (b'attachment; filename="' + b"a" * 300 + b'"', "a" * 255),
    ],
)
def test_file_names(disposition: bytes, name: str | None) -> None:
    found = parse(HEAD + b"Content-Disposition: " + disposition + b"\r\n\r\nhi", NOBODY)
    assert [one.filename for one in found.attachments] == [name]
    assert found.text is None


def test_a_message_in_a_message_is_one_attachment() -> None:
    inner = with_parts()
    found = parse(
        MIXED + b"--b\r\n\r\nsee\r\n--b\r\nContent-Type: message/rfc822\r\n\r\n" + inner + b"\r\n--b--\r\n", NOBODY
    )
    assert found.text == "see"
    assert [(one.part, one.content_type, one.size) for one in found.attachments] == [
        ("2", "message/rfc822", len(inner))
    ]


def test_texts_are_joined_and_cut() -> None:
    part = b"--b\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n%b\r\n"
    found = parse(MIXED + part % b"one" + part % b"two" + b"--b--", NOBODY)
    assert (found.text, found.text_truncated, found.html, found.html_truncated) == ("one\ntwo", False, None, False)
    long = ("ü" * TEXT_BYTES).encode()
    found = parse(MIXED + part % b"x" + part % long + part % b"three", NOBODY)
    assert found.text == "x\n" + "ü" * ((TEXT_BYTES - 2) // 2)
    assert found.text_truncated
    html = HEAD + b"Content-Type: text/html\r\n\r\n" + b"x" * (TEXT_BYTES + 1)
    assert parse(html, NOBODY).html_truncated
    assert not parse(html[:-1], NOBODY).html_truncated


RESULTS = (
    b"Authentication-Results: mail.demo.test; dkim=fail (bad) header.d=a.test; spf=pass smtp.mailfrom=a@b.test;\r\n"
)


@pytest.mark.parametrize(
    ("header", "authentication", "spam"),
    [
        (RESULTS + b" dkim=pass header.d=b.test; dmarc=none\r\n", Authentication("pass", "pass", "none"), False),
        (b'Authentication-Results: (c) "Mail.Demo.Test." 1; spf=fail\r\n', Authentication("fail", None, None), False),
        (b"Authentication-Results: mail.demo.test; none\r\n", Authentication(None, None, None), False),
        (b"Authentication-Results: elsewhere.test; spf=pass\r\n", None, None),
        (b"Authentication-Results: mail.demo.test.evil.test; spf=pass\r\n", None, None),
        (b"Authentication-Results:\r\n", None, None),
        (b"Subject: x\rAuthentication-Results: mail.demo.test; spf=pass\r\n", None, None),
        (b"X-Spam: Yes\r\n", None, True),
        (b"X-Spam: No\r\n", None, False),
        (b"", None, None),
    ],
)
def test_only_the_filter_of_this_host_is_believed(
    header: bytes, authentication: Authentication | None, spam: bool | None
) -> None:
    raw = header + HEAD + b"\r\nhi\r\n"
    found = parse(raw, OURS)
    assert (found.authentication, found.spam) == (authentication, spam)
    without = parse(raw, NOBODY)
    assert (without.authentication, without.spam) == (None, None)


@pytest.mark.parametrize(
    ("received", "address"),
    [
        (
            ["by mail.demo.test with LMTP", "by mail.demo.test (Postfix) with ESMTP id 1 for <a@demo.test>; x"],
            "a@demo.test",
        ),
        (["by mail.demo.test with LMTP", "by mail.demo.test (Postfix) with ESMTP id 1; x"], None),
        (
            [
                "by mail.demo.test with LMTP",
                "by mail.demo.test (Postfix) with ESMTP id 1; x",
                "by mail.demo.test (Postfix) with ESMTP id 1 for <forged@demo.test>; x",
            ],
            None,
        ),
        (["by mail.demo.test with LMTP", "by evil.test (Postfix) for <a@demo.test>"], None),
        (["by mail.demo.test.evil.test for <a@demo.test>"], None),
        ([], None),
    ],
)
def test_the_recipient_is_from_our_own_postfix(received: list[str], address: str | None) -> None:
    fields = "".join(f"Received: from x\r\n\t{one}\r\n" for one in received)
    raw = f"{fields}Delivered-To: evil@demo.test\r\n".encode() + HEAD + b"\r\nhi"
    assert parse(raw, NOBODY).delivered_to == address


def nested(levels: int) -> bytes:
    opened = (b'Content-Type: multipart/mixed; boundary="%d"\r\n\r\n--%d\r\n' % (n, n) for n in range(levels))
    return HEAD + b"".join(opened)


EVIL = b"--b\r\nContent-Type: a/b" + b';a="' * 900 + b"\r\nContent-ID: " + b"=?a?q?" * 1200 + b"\r\n\r\nx\r\n"
BOMBS = {
    "10,000 parts": MIXED + b"--b\r\nContent-Type: application/x\r\n\r\nx\r\n" * 10_000 + b"--b--",
    "only delimiters": MIXED + b"--b\r\n" * 200_000,
    "delimiters of nobody": MIXED + b"--bx\r\n" * 500_000,
    "2,000 levels": nested(2000) + b"\r\n" * 500_000,
    "lines": HEAD + b"\r\n" + b"\r\n" * 2_000_000,
    "a header of 1 MiB": b"Subject: " + b"a" * 2**20 + b"\r\n\r\nhi",
    "a header without an end": b"a: " + b"b\r\n " * 2**18,
    "170,000 addresses": b"To: " + b"a@b.test," * 170_000 + b"\r\n\r\nhi",
    "words that do not end": b"Subject: " + b"=?a?q?" * 50_000 + b"\r\n\r\nhi",
    "headers that cost": MIXED + EVIL * 1000,
    "padding": b"Content-Type: a/b\r\nContent-Transfer-Encoding: base64\r\n\r\n" + b"A=" * 2_000_000,
}


@pytest.mark.parametrize("raw", BOMBS.values(), ids=BOMBS)
def test_a_bomb_is_read_with_little_memory(raw: bytes) -> None:
    tracemalloc.start()
    try:
        found = parse(raw, OURS)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found.size == len(raw)
    assert len(found.attachments) <= MOST_PARTS
    assert len(msgspec.json.encode(found)) < 2 * 2**20
    assert most < 24 * 2**20


@pytest.mark.parametrize("shift", range(-12, 3))
def test_a_delimiter_is_found_wherever_it_stands(shift: int) -> None:
    """A large message is searched in pieces."""
    head = MIXED + b"--b\r\nContent-Type: a/b\r\n\r\n"
    filling = SEARCH_BYTES + len(MIXED) - len(head) + shift
    raw = head + b"x" * filling + b"\r\n--b  \r\n\r\nlast" + b"\r\n--bx--b" * 300_000 + b"\r\n--b--"
    found = scan(raw).parts
    assert [(part.content_type, part.end - part.start) for part in found] == [
        ("a/b", filling),
        ("text/plain", len(b"last") + 300_000 * len(b"\r\n--bx--b")),
    ]


def test_what_was_not_read_is_said() -> None:
    assert "parts" in (parse(BOMBS["10,000 parts"], NOBODY).parse_error or "")
    assert "deep" in (parse(BOMBS["2,000 levels"], NOBODY).parse_error or "")
    assert "header" in (parse(BOMBS["a header of 1 MiB"], NOBODY).parse_error or "")
    assert parse(with_parts(), NOBODY).parse_error is None
    assert parse(b"", NOBODY) == ParsedMessage(text="")


def test_parts_have_the_numbers_that_email_gives() -> None:
    raw = with_parts()

    def numbers(message: email.message.Message, prefix: str = "") -> list[str]:
        if not message.is_multipart():
            return [prefix or "1"]
        children = enumerate(message.get_payload(), 1)
        return [one for n, child in children for one in numbers(child, f"{prefix}.{n}".lstrip("."))]

    assert [part.number for part in scan(raw).parts] == numbers(email.message_from_bytes(raw))


def test_a_group_is_read_to_a_bound() -> None:
    """Python's parser takes quadratic time for the members of a group (RFC 5322 3.4). A colon in
    quotes begins no group."""
    many = ",".join(f"a{number}@b.example" for number in range(900))
    for before, shown in (("", 900), ('"Re: us" <x@b.example>,', 901)):
        assert len(parse(b"To: %b\r\n\r\n" % (before + many).encode(), NOBODY).to) == shown
    found = parse(b"To: first@b.example, team: %b;\r\n\r\n" % many.encode(), NOBODY).to
    assert (found[0].address, found[1].address) == ("first@b.example", "a0@b.example")
    assert found[-1].address == f"a{len(found) - 2}@b.example"
    assert 40 < len(found) < 100
    for group, members in (("team: a@b.example, c@d.example;", 2), ("undisclosed-recipients:;", 0)):
        assert len(parse(b"To: %b\r\n\r\n" % group.encode(), NOBODY).to) == members
