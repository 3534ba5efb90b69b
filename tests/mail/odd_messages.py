"""Messages as broken as strangers send them, for the tests of reading."""

import random
import re
from collections.abc import Iterator

LINES = [
    b"From: ann@example.org", b"From: =?utf-8?q?Gr=C3=BC=C3=9Fe?= <a@b.test>", b"From: \xff\xfe",
    b"From: " + b"(" * 300,
    b"To: a@b.test, <, c@d.test", b"To: undisclosed-recipients:;", b"To: " + b"a@b.test," * 500,
    b"Subject: =?utf-8?b?R3L?=", b"Subject: =?x?q?" * 50, b"Subject: Gr\xfc\xdfe", "Subject: 中文".encode(),
    b"Subject:",
    b"Subject: " + b"a" * 5000, b"Date: yesterday", b"Date: Mon, 30 Nov 2026 10:00:00 +9999", b"Message-ID: <x",
    b"no colon here", b": no name", b"X\x7f: y", b"References: " + b"<a@b>" * 400, b"X-Spam: Yes",
    b"Authentication-Results: mail.postroom.test; spf=pass", b"\tfolded from nothing",
]  # fmt: skip
TYPES = [
    b"text/plain", b"text/plain; charset=x-unknown", b"text/plain; charset=utf-16", b"text/plain; charset=punycode",
    b"text/html; charset=iso-8859-1", b"TEXT/HTML", b"multipart/mixed", b"multipart/mixed; boundary=b",
    b'multipart/alternative; boundary="b"', b"multipart/mixed; boundary=" + b"b" * 300, b"message/rfc822",
    b"message/delivery-status", b"application/octet-stream; name=\"a\\\"b\"", b"nonsense", b"", b"a/b/c; ;;=;x",
    b"multipart/digest; boundary=b", b"multipart/signed; boundary=b; protocol=x", b"text/plain; charset*=utf-8''u",
]  # fmt: skip
ENCODINGS = [b"", b"base64", b"quoted-printable", b"8bit", b"x-uuencode", b"BASE64 ", b"\xff"]
BODIES = [
    b"", b"hi", b"\r\n" * 50, b"a\rb\rc", b"Gr\xfc\xdfe", "Grüße".encode(), b"=zz=3D=\r\n=", b"aGVsbG8=\r\n!!=aGk",
    b"--b\r\n\r\none\r\n--b\r\nContent-Type: text/html\r\n\r\n<p>two\r\n--b--\r\n", b"--b\r\n--b\r\n--b--", b"--b--",
    b"--b\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nx", b"x" * 20_000, b"--b\r\nno header end",
    b"--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: inner\r\n\r\nx\r\n--b--", b".\r\n..\r\nFrom x\r\n",
    b"--b\r\nContent-Disposition: attachment; filename=\"\xff\x01\"\r\n\r\nx\r\n--b--",
]  # fmt: skip


def messages(number: int) -> Iterator[bytes]:
    """Yields messages; the same ones in each run."""
    chance = random.Random(21)
    for _ in range(number):
        header = chance.sample(LINES, chance.randrange(6))
        header.append(b"Content-Type: " + chance.choice(TYPES))
        encoding = chance.choice(ENCODINGS)
        header += [b"Content-Transfer-Encoding: " + encoding] if encoding else []
        end = chance.choice([b"\r\n\r\n", b"\r\n\r\n", b"\r\n\r\n", b"\r\n", b""])
        yield b"\r\n".join(header) + end + chance.choice(BODIES)


def for_smtp(raw: bytes) -> bytes:
    """A message that SMTP can carry: lines end with CRLF and have a bound."""
    lines = [line[:990] for line in re.split(rb"\r\n|\r|\n", raw.replace(b"\0", b""))]
    return b"\r\n".join(lines)
