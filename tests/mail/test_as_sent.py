"""Mail either arrives byte for byte, with a valid signature, or is permanently refused in the SMTP
dialogue."""

import re
import smtplib
from collections.abc import Iterator

import pytest

from tests.harness.dns_server import DnsServer
from tests.mail.clients import own_address, smtp, submission
from tests.mail.platform import Mailbox, Platform
from tests.mail.test_dkim import publish, verifies

OUTSIDE = "someone@elsewhere.example"
BOUNDARY = b"=_" + b"b" * 1200
FOLDED = b"\r\n ".join([b"x" * 900] * 67)


@pytest.fixture(scope="module")
def dns() -> Iterator[DnsServer]:
    with DnsServer.start() as server:
        yield server


@pytest.fixture
def box(platform: Platform) -> Mailbox:
    return platform.create("alice")


def dialogue(client: smtplib.SMTP, sender: bytes, to: bytes, raw: bytes | None = None) -> tuple[int, str]:
    """Sends the commands of a transaction unchanged and returns the last answer. A refusal ends the
    transaction."""
    lines = [b"MAIL FROM:<" + sender + b">", b"RCPT TO:<" + to + b">"]
    if raw is not None:
        lines += [b"DATA", re.sub(rb"(?m)^\.", b"..", raw) + b"\r\n."]
    assert client.sock
    code, text = 0, b""
    for line in lines:
        client.sock.sendall(line + b"\r\n")
        code, text = client.getreply()
        if code >= 400:
            break
    return code, text.decode()


def arrives(box: Mailbox, sender: bytes, raw: bytes, client: smtplib.SMTP | None = None) -> bytes:
    """Sends a message and returns the stored message."""
    subject = f"as sent {own_address()}"
    code, text = dialogue(
        client or inbound(box), sender, box.address.encode(), b"Subject: " + subject.encode() + b"\r\n" + raw
    )
    assert code == 250, text
    return box.wait_for(subject)


def inbound(box: Mailbox) -> smtplib.SMTP:
    client = smtp(box.platform.service)
    client.ehlo()
    return client


def submitting(box: Mailbox) -> smtplib.SMTP:
    return submission(box.platform.service, box.address, box.password)


def from_(box: Mailbox) -> bytes:
    return b"From: " + box.address.encode() + b"\r\n"


# Each value is a header and a body that Postfix or LMTP would change by default.
UNUSUAL = {
    "a line of 999": (b"", b"x" * 999),
    "lines around Postfix's own limit": (b"", b"\r\n".join(b"x" * length for length in (2047, 2048, 2049, 4097))),
    "a line of 300,000": (b"", b"x" * 300_000 + b"\r\n.leading dot"),
    "a long boundary": (
        b'MIME-Version: 1.0\r\nContent-Type: multipart/mixed;\r\n boundary="' + BOUNDARY + b'"\r\n',
        b"--" + BOUNDARY + b"\r\nContent-Type: text/plain\r\n\r\none\r\n--" + BOUNDARY + b"--\r\n",
    ),
    "a header line of 5,000": (b"X-Long: " + b"y" * 5_000 + b"\r\n", b"body"),
    "a header field just below the limit": (b"X-Long: " + b"\r\n ".join([b"y" * 900] * 66) + b"\r\n", b"body"),
    "a megabyte of headers": (b"".join(b"X-%d: %s\r\n" % (n, b"z" * 900) for n in range(1_100)), b"body"),
    "a part's field over the limit": (
        b'MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary="b"\r\n',
        b"--b\r\nContent-Type: text/plain\r\nX-Long: " + FOLDED * 2 + b"\r\n\r\none\r\n--b--\r\n",
    ),
    "fields that Postfix drops": (b"Bcc: a@x.example\r\nContent-Length: 7\r\n", b"body"),
    "octets beyond ASCII": (b"X-Raw: \xff\xfe\r\n", b"a\xff\xfeb"),
}


@pytest.mark.parametrize("name", UNUSUAL)
def test_it_works(box: Mailbox, name: str) -> None:
    """A message from outside arrives byte for byte, whatever its lines and fields contain."""
    headers, body = UNUSUAL[name]
    headers += (
        b"From: " + OUTSIDE.encode() + b"\r\nDate: Sat, 28 Nov 2026 19:00:00 +0000\r\nMessage-ID: <1@x.example>\r\n"
    )
    raw = arrives(box, OUTSIDE.encode(), headers + b"\r\n" + body)
    assert raw.endswith(b"\r\n" + headers + b"\r\n" + body + b"\r\n")


@pytest.mark.parametrize(
    "headers",
    [
        b"X-Long: " + FOLDED + b"\r\n",
        b"x: " + b"y" * 59_998 + b"\r\n",
        b"X-Long: " + b"\r\n ".join([b"y" * 900] * 3_000) + b"\r\n",
    ],
)
def test_a_field_that_would_be_cut_is_refused(box: Mailbox, headers: bytes) -> None:
    """Port 25 and submission refuse it permanently."""
    for client, sender in ((inbound(box), OUTSIDE), (submitting(box), box.address)):
        answer = dialogue(client, sender.encode(), box.address.encode(), from_(box) + headers + b"\r\nbody")
        assert answer[0] == 550
        assert "octets" in answer[1]


@pytest.mark.parametrize("raw", [b"X: y\0z\r\n\r\nbody", b"X: y\r\n\r\nbo\0dy"])
def test_nul_is_refused(box: Mailbox, raw: bytes) -> None:
    """RFC 5322 has no NUL. Checks of a header field do not see the text after a NUL, and IMAP shows
    another byte in its place."""
    for client, sender in ((inbound(box), OUTSIDE), (submitting(box), box.address)):
        assert dialogue(client, sender.encode(), box.address.encode(), from_(box) + raw)[0] == 550


# Submitted headers and bodies with the answer. After 250 the message arrives with a valid
# signature.
SUBMITTED: dict[str, tuple[bytes, bytes, int, str]] = {
    "lines of 998": (b"X: " + b"y" * 995 + b"\r\n", b"z" * 998 + b"\r\n." + b"z" * 997, 250, ""),
    "a line of 999": (b"", b"one\r\n" + b"z" * 999, 550, "longer than 998 octets"),
    "a line of 100,000 after 100,000 lines": (b"", b"one\r\n" * 100_000 + b"z" * 100_000, 550, "longer than 998"),
    "a header line of 999": (b"X: " + b"y" * 996 + b"\r\n", b"one", 550, "longer than 998 octets"),
    "a long line of a folded header": (b"X: y\r\n " + b"y" * 998 + b"\r\n y\r\n", b"one", 550, "longer than 998"),
    "66 KiB of headers": (b"".join(b"X-%d: %s\r\n" % (n, b"y" * 900) for n in range(75)), b"one", 250, ""),
    "half a megabyte of headers": (b"".join(b"X-%d: %s\r\n" % (n, b"y" * 900) for n in range(550)), b"one", 250, ""),
    "two megabytes of headers": (b"".join(b"X-%d: %s\r\n" % (n, b"y" * 900) for n in range(2_200)), b"one", 550, ""),
    "20,000 fields": (b"X: y\r\n" * 20_000, b"one", 250, ""),
    "1,500 recipients in To": (
        b"To: " + b",\r\n ".join(b"user%d@customers.example" % n for n in range(1_500)) + b"\r\n",
        b"one",
        250,
        "",
    ),
    "many fields of one name": (b"Keywords: y\r\n" * 2_000, b"one", 250, ""),
    "octets beyond ASCII": (b"X: \xff\xfe\r\n", b"a\xe9b", 250, ""),
    "no body": (b"", b"", 250, ""),
}


@pytest.mark.parametrize("name", SUBMITTED)
def test_what_is_submitted_is_signed_or_refused_for_good(box: Mailbox, dns: DnsServer, name: str) -> None:
    headers, body, expected, words = SUBMITTED[name]
    publish(dns, box.platform)
    raw = from_(box) + headers + b"\r\n" + body
    if expected == 250:
        found = arrives(box, box.address.encode(), raw, submitting(box))
        assert verifies(dns, found)
        assert found.endswith(b"\r\n" + body + b"\r\n")
    else:
        code, text = dialogue(submitting(box), box.address.encode(), box.address.encode(), raw)
        assert code == expected, text
        assert words in text


def test_a_reply_has_no_line_that_would_be_folded(box: Mailbox, dns: DnsServer) -> None:
    """A script's text may be one long line. The SMTP client would fold it after the signature."""
    publish(dns, box.platform)
    other = box.platform.create("other")
    for number, text in enumerate(("I am away. " * 300, "ü" * 2_000, "x" * 1_995 + "\r\n" + "y" * 998)):
        script = f'require "vacation"; vacation :subject "long {number}" "{text}";'
        box.put_script(script.encode())
        other.send(box.address, f"question {number}")
        found = other.wait_for(f"long {number}")
        assert max(map(len, found.split(b"\r\n"))) <= 998
        assert verifies(dns, found)
        body = found.partition(b"\r\n\r\n")[2].decode()
        assert re.sub(r"\s", "", body) == re.sub(r"\s", "", text)
    assert b"\r\n" + b"y" * 998 + b"\r\n" in found


# Senders that alice, who owns alice@D, tries in a submission, with the answer. After 250 the
# message arrives with a signature.
SENDERS: dict[str, tuple[int, str]] = {
    "alice@D.": (553, "5.7.1"),
    "alice@D ": (553, "5.7.1"),
    "ALICE@D": (250, ""),
    "alice+" + "t" * 200 + "@D": (250, ""),
    "alice+" + "t" * 260 + "@D": (553, "5.1.7"),
    "alice+" + "t" * 2000 + "@D": (553, "5.1.7"),
    "alice+" + "t" * 3000 + "@D": (501, "5.1.7"),
    "alice+\xe9@D": (553, "5.6.7"),
    "alice@\xe9.example": (553, "5.6.7"),
    "alice": (504, "5.5.2"),
    "alice@": (501, "5.1.7"),
    "": (553, "5.7.1"),
    "alice@" + "a" * 64 + ".D": (501, "5.1.7"),
    "alice@D@D": (553, "5.7.1"),
    "alice+'x@D": (250, ""),
    "alice+\x01@D": (553, "5.1.7"),
    '"alice+\x7f"@D': (553, "5.1.7"),
}


@pytest.mark.parametrize("sender", SENDERS)
@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_a_sender_is_taken_or_refused_for_good(box: Mailbox, dns: DnsServer, sender: str, encoding: str) -> None:
    publish(dns, box.platform)
    written = sender.replace("D", box.platform.domain).encode(encoding)
    expected, words = SENDERS[sender]
    client, to = submitting(box), box.address.encode()
    if expected == 250:
        assert verifies(dns, arrives(box, written, from_(box) + b"\r\nbody", client))
    else:
        code, text = dialogue(client, written, to, from_(box) + b"\r\nbody")
        assert (code, text[:5]) == (expected, words), text


RECIPIENTS: dict[str, tuple[int, str]] = {
    "alice@D.": (250, ""),
    "alice+" + "t" * 200 + "@D": (250, ""),
    "alice+" + "t" * 260 + "@D": (553, "5.1.3"),
    "alice+" + "t" * 1000 + "@D": (553, "5.1.3"),
    "alice+" + "t" * 2000 + "@D": (553, "5.1.3"),
    "alice+" + "t" * 3000 + "@D": (501, "5.1.3"),
    "alice+\xe9@D": (553, "5.6.7"),
    '"\xe9"@D': (553, "5.6.7"),
    "alice@\xe9.example": (553, "5.6.7"),
    "alice@D\xe9": (553, "5.6.7"),
    "alice+'; --@D": (501, "5.1.3"),
    "alice+\x01@D": (553, "5.1.3"),
    '"alice+\x7f"@D': (553, "5.1.3"),
    "alice+'x@D": (250, ""),
    '"alice+a b"@D': (250, ""),
    '"alice+a\\"b"@D': (250, ""),
    "@x.example,@y.example:alice@D": (250, ""),
    "us:alice@D;": (501, "5.1.3"),
    '@x.example:"alice@D"': (501, "5.1.3"),
    "alice+a:b@D": (501, "5.1.3"),
    '"alice+\t"@D': (501, "5.1.3"),
    '"alice@D"': (501, "5.1.3"),
    '"alice@D"@[127.0.0.1]': (501, "5.1.3"),
}


@pytest.mark.parametrize("to", RECIPIENTS)
@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
@pytest.mark.parametrize("door", [inbound, submitting])
def test_a_recipient_is_served_or_refused_for_good(box: Mailbox, to: str, encoding: str, door: object) -> None:
    """An accepted message is delivered. It is not returned in a bounce."""
    expected, words = RECIPIENTS[to]
    sender = OUTSIDE if door is inbound else box.address
    written = to.replace("D", box.platform.domain).encode(encoding)
    subject = f"to {own_address()}"
    raw = from_(box) + b"Subject: " + subject.encode() + b"\r\n\r\nbody"
    client = inbound(box) if door is inbound else submitting(box)
    code, text = dialogue(client, sender.encode(), written, raw)
    assert code == expected, text
    if expected == 250:
        box.wait_for(subject)
    else:
        assert text[:5] == words


@pytest.mark.parametrize(
    "sender", ["x\x01@elsewhere.example", '"x\x7f"@elsewhere.example', "a@[127.0.0.1]", "a%b@x.example"]
)
def test_a_sender_from_outside_is_served_or_refused_for_good(box: Mailbox, sender: str) -> None:
    """MAIL refuses a sender that the mailbox would refuse. Mail of all other senders arrives."""
    client = inbound(box)
    if client.mail(sender)[0] == 250:
        client.rset()
        arrives(box, sender.encode(), b"\r\nbody", client)
    else:
        assert "\x01" in sender or "\x7f" in sender


@pytest.mark.parametrize("sender", ["x\xe9@elsewhere.example", "x@\xe9.example", "\U0001f4e7@elsewhere.example"])
def test_a_sender_outside_ascii_is_refused_at_once(box: Mailbox, sender: str) -> None:
    """MAIL refuses it, also on port 25: SMTPUTF8 is not offered, and an accepted message would
    bounce."""
    for client in (inbound(box), submitting(box)):
        assert "smtputf8" not in client.esmtp_features
        assert client.sock
        for line in (f"MAIL FROM:<{sender}>", f"mail\tfrom: {sender}", f"MAIL FROM:<{sender}> SMTPUTF8"):
            client.sock.sendall(line.encode() + b"\r\n")
            code, text = client.getreply()
            assert (code, text[:5]) == (553, b"5.6.7"), line


def test_recipients_over_the_limit_are_for_the_next_transaction(box: Mailbox) -> None:
    """The extra recipients get a 452 (RFC 5321 4.5.3.1.10), and the earlier ones get the
    message."""
    client = submitting(box)
    client.mail(box.address)
    codes = [client.rcpt(box.address.replace("@", f"+{number}@"))[0] for number in range(1_001)]
    assert codes == [250] * 1_000 + [452]
    client.data(from_(box) + b"Subject: for many\r\n\r\nbody")
    box.wait_for("for many")
