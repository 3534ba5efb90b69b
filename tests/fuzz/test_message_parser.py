"""Any message is parsed, into text that JSON can hold, and each attachment that is shown can be
fetched with the size that is shown."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from postroom.messages.parser import Trust, find_attachment, parse

PIECES = st.sampled_from(
    [
        *(b"Content-Type: ", b"multipart/mixed", b"; boundary=b", b'; boundary="c d"', b"text/plain", b"text/html"),
        *(b"--b", b"--b--", b"--c d", b"--", b"\r\n", b"\n", b"\r\n\r\n", b" ", b"\t", b"\r", b"\0", b"\xff", b";"),
        *(b"Subject: ", b"From: ", b"To: ", b"Date: ", b"Message-ID: ", b"References: ", b"Content-ID: ", b"=?utf-8?"),
        *(b"q?", b"b?", b"?=", b"=", b"=3D", b"aGk=", b"a", b"<a@b.test>", b"<", b">", b"(", b")", b'"', b"\\", b","),
        *(b"Content-Transfer-Encoding: base64\r\n", b"Content-Transfer-Encoding: quoted-printable\r\n", b"\\ud800"),
        *(b"Content-Disposition: attachment", b"; filename=", b"; filename*=", b"utf-7''", b"; charset=", b"utf-16"),
        *(b"Authentication-Results: h;", b"spf=pass", b"X-Spam: Yes\r\n", b"Mon, 1 Jan 1 00:00 +9999", b"\\uZ", b"%ff"),
    ]
)
TRUST = Trust("h", has_filter=True)
MESSAGES = st.lists(PIECES, max_size=60).map(b"".join)


@given(MESSAGES | st.binary(max_size=300))
def test_any_message_is_parsed(raw: bytes) -> None:
    found = parse(raw, TRUST)
    assert msgspec.json.decode(msgspec.json.encode(found))["size"] == len(raw)
    for one in found.attachments:
        opened = find_attachment(raw, one.part)
        assert opened
        assert opened[0] == one
        assert sum(map(len, opened[1])) == one.size
