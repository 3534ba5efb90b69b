"""Arbitrary texts in Postfix's log: recipients of senders, and replies of other servers. Reading
never fails, and a text stays in its place."""

import tempfile
from pathlib import Path

from hypothesis import example, given
from hypothesis import strategies as st

from postroom.mailplane.postfix.deliveries import (
    LONGEST_ADDRESS,
    LONGEST_MESSAGE_ID,
    LONGEST_REASON,
    DeliveryLog,
    News,
    arrival,
)

OWN, OTHER = "4jd31V4G43zK3Wl", "4jd31V4dnyzK3Wq"
AT = b"Nov 29 23:16:14 mail postfix/"
PIECES = [
    *(b">, ", b"orig_to=<", b"relay=", b", delay=1, delays=", b", dsn=2.0.0", b", status=sent (", b")", b"to=<a@b>"),
    *(b"3@acct.internal", b"[/run/x/lmtp]", b" said: 550 ", b"250 2.0.0 Ok: queued as 4jd31V4dnyzK3Wq", b"\n"),
    *(b"\0", b"\x7f", b"\xe2\x80\xae", b"\xff", b"sasl_username=2@1.acct.internal", OTHER.encode(), b": client="),
    *(AT, b"qmgr[1]: ", b"smtp[1]: ", b"submission/smtpd[1]: ", b"removed\n", b"message-id=", b"from=<", b"expired, "),
]
TEXT = st.lists(st.sampled_from(PIECES) | st.binary(max_size=8), max_size=30).map(b"".join)


def read(text: bytes) -> News:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "postfix.log")
        path.write_bytes(text)
        return DeliveryLog(path)()


def check(news: News) -> None:
    for one in news.outcomes:
        assert one.recipient is None or (one.recipient.isprintable() and len(one.recipient) <= LONGEST_ADDRESS)
        assert one.reason is None or (one.reason.isprintable() and len(one.reason) <= LONGEST_REASON)
        assert "@acct.internal" not in f"{one.recipient}"
        assert "@acct.internal" not in f"{one.reason}"
        assert one.smtp_code is None or 200 <= one.smtp_code < 600
        assert one.at >= (arrival(one.queue_id) or 0) > 0
    for message in news.messages.values():
        assert message is not None
        assert message.message_id.isprintable()
        assert len(message.message_id) <= LONGEST_MESSAGE_ID


@given(TEXT)
@example(b": ".join([AT + b"smtp[1]", OWN.encode(), b"to=<a>, relay=, delay=9" + b", dsn=2.0.0" * 4000 + b"\n"]))
def test_any_log(text: bytes) -> None:
    check(read(text))
    check(read(AT + b"smtp[1]: " + OWN.encode() + b": to=<" + text + b"\n"))


@given(TEXT, TEXT, TEXT)
def test_texts_of_strangers_name_no_other_message(message_id: bytes, recipient: bytes, reply: bytes) -> None:
    """Postfix replaces control characters, so a text has one line."""
    message_id, recipient, reply = (
        bytes(letter if letter >= 32 else 63 for letter in text) for text in (message_id, recipient, reply)
    )
    recipient = recipient.replace(b">, ", b"").replace(b">", b"")
    begin = (
        f"submission/smtpd[1]: {OWN}: client=unknown[192.0.2.1], sasl_method=PLAIN, sasl_username=2@1.acct.internal\n"
    )
    news = read(
        AT + begin.encode() + AT + b"cleanup[1]: " + OWN.encode() + b": message-id=" + message_id + b"\n" + AT
        + b"smtp[1]: " + OWN.encode() + b": to=<" + recipient + b">, relay=mx[192.0.2.2]:25, delay=1, delays=0/0/0/1, "
        b"dsn=5.1.1, status=bounced (host mx[192.0.2.2] said: 550 " + reply + b")\n"
    )  # fmt: skip
    check(news)
    (one,) = news.outcomes
    assert {name: message.account_id for name, message in news.messages.items() if message} == {OWN: 2}
    assert (one.queue_id, one.status, one.smtp_code, one.enhanced_code) == (OWN, "bounced", 550, "5.1.1")
