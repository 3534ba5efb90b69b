"""Arbitrary texts in Dovecot's log and in Received fields: reading never fails, and no text of a
stranger is taken for a delivery to another account or for a trace of our LMTP."""

from hypothesis import given
from hypothesis import strategies as st

from postroom.mailplane.dovecot.traces import delivered, trace

PIECES = [
    *(
        "from a.test by a.test with LMTP id zdX/Ib40DWtpYgAAqLhr7Q",
        " (envelope-from <",
        ">)",
        "; ",
        "\n",
        "\r\n\t",
        " ",
    ),
    *("Mon, 30 Nov 2026 08:33:02 +0000", "Mon, 99 Xxx 9999 99:99:99 +9999", "for <a@b>", "\0", "\u202e", "é", ":2"),
]
TEXT = st.lists(st.sampled_from(PIECES) | st.text(max_size=6), max_size=20).map("".join)
LOG = "2026-11-30 08:33:02.680488 lmtp(2@acct.internal)<25193><zdX/Ib40DWtpYgAAqLhr7Q>: Info: sieve: msgid="


@given(TEXT)
def test_any_field(text: str) -> None:
    found = trace(text)
    assert found is None or (found.at % 1000 == 0 and found.host and found.id)
    assert trace(f"from x.test by y.test with ESMTP id 1; {text}") is None


@given(TEXT)
def test_a_sender_does_not_change_the_trace(text: str) -> None:
    """Our LMTP writes the sender in brackets, on one line."""
    sender = "".join(letter for letter in text if letter.isprintable() and letter != " ")
    field = f"from a.test by a.test with LMTP id zdX/Ib40DWtpYgAAqLhr7Q (envelope-from <{sender}>); "
    found = trace(field + "Mon, 30 Nov 2026 08:33:02 +0000")
    assert found == ("a.test", "zdX/Ib40DWtpYgAAqLhr7Q", 1796027582000)


@given(TEXT)
def test_any_log(text: str) -> None:
    delivered(text.encode())
    line = text.replace("\n", "?").encode()
    assert delivered(LOG.encode() + line + b": stored mail into mailbox 'INBOX'\n") == 2
    assert delivered(LOG.replace("lmtp", "imap").encode() + line + b"\n") is None
