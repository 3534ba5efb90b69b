"""Postfix's status lines, as real ones that Postfix 3.7 and 3.10 have written: what a sender may
know of them, across a rotation, and nothing of other lines."""

from pathlib import Path

import pytest

from postroom.mailplane.postfix.deliveries import (
    LONGEST_REASON,
    DeliveryLog,
    Message,
    News,
    Outcome,
    arrival,
    attempt,
)
from postroom.supervision import logfiles

AT = "Nov 29 23:16:14 mail postfix/"
ID = "4jd31V4G43zK3Wl"
ARRIVED = 1_795_994_174_600
OWN = "mail.postroom.test[/tmp/postroom-2bjxxt_w/data/run/dovecot/lmtp]"
TIMES = "delay=3.7, delays=0.05/0.04/0.03/0.02"


def line(to: str, relay: str, status: str, program: str = "smtp", name: str = ID) -> str:
    return f"{AT}{program}[13422]: {name}: to=<{to}, relay={relay}, {TIMES}, {status}\n"


def submitted(name: str = ID, login: str = "2@1.acct.internal") -> str:
    client = "client=unknown[127.228.48.245], sasl_method=PLAIN"
    return (
        f"{AT}submissions/smtpd[13417]: {name}: {client}, sasl_username={login}\n"
        f"{AT}cleanup[13421]: {name}: message-id=<1@client.example>\n"
        f"{AT}cleanup[13421]: {name}: message-id=<2@client.example>\n"
    )


def read(tmp_path: Path, *lines: str) -> News:
    path = tmp_path / "postfix.log"
    path.write_bytes("".join(lines).encode("utf-8", "surrogateescape"))
    return DeliveryLog(path)()


def one(tmp_path: Path, told: str) -> Outcome:
    (found,) = read(tmp_path, submitted(), told).outcomes
    return found


def test_it_works(tmp_path: Path) -> None:
    sent = line("x@far.example>", "127.0.0.1[127.0.0.1]:25", "dsn=2.0.0, status=sent (250 2.0.0 queued as ABC)")
    news = read(tmp_path, submitted(), sent)
    assert news.messages == {ID: Message(2, "<1@client.example>", ARRIVED)}
    assert news.outcomes == [
        Outcome(ID, "x@far.example", None, "delivered", 250, "2.0.0", "250 2.0.0 queued as ABC", ARRIVED + 3000)
    ]


# The line's recipient, relay, program and status; then what is told: the recipient, the status, the
# reply code, and the reason.
LINES = [
    (
        ("x@nowhere.example>", "none", "smtp", "dsn=5.4.4, status=bounced (Host or domain name not found. Name service "
         "error for name=nowhere.example type=AAAA: Host not found)"),
        ("x@nowhere.example", "bounced", None, "Host or domain name not found. Name service error for "
         "name=nowhere.example type=AAAA: Host not found"),
    ),
    (
        ("x@far.example>", "none", "error", "dsn=4.4.1, status=deferred (delivery temporarily suspended: connect to "
         "mx.far.example[192.0.2.1]:25: Connection refused)"),
        ("x@far.example", "delayed", None, "delivery temporarily suspended: connect to mx.far.example[192.0.2.1]:25: "
         "Connection refused"),
    ),
    (
        ("x@far.example>", "mx[192.0.2.1]:25, conn_use=2", "smtp", "dsn=4.0.0, status=deferred (host mx[192.0.2.1] "
         "refused to talk to me: 421 busy)"),
        ("x@far.example", "delayed", 421, "host mx[192.0.2.1] refused to talk to me: 421 busy"),
    ),
    (  # a newer Postfix tells more
        ("x@far.example>", "mx[192.0.2.1]:25, tls=verified", "smtp", "dsn=2.0.0, status=sent (250 ok)"),
        ("x@far.example", "delivered", 250, "250 ok"),
    ),
    (
        ("3@acct.internal>, orig_to=<team+x@p1.test>", OWN, "lmtp", "dsn=2.0.0, status=sent (250 2.0.0 "
         "<3@acct.internal> ZzvkKD6yDGtxNAAAqLhr7Q Saved)"),
        ("team+x@p1.test", "delivered", 250, None),
    ),
    (
        ("3@acct.internal>, orig_to=<bob@p1.test>", OWN, "lmtp", "dsn=4.2.2, status=deferred (the mailbox said: Quota "
         "exceeded (mailbox for user is full) 3@acct.internal /var/lib/postroom/mail/03/3 [/run/x])"),
        ("bob@p1.test", "delayed", None, "the mailbox said: Quota exceeded (mailbox for user is full) mailbox  "),
    ),
    (
        ("3@acct.internal>, orig_to=<bob@p1.test>", "10.0.0.2[10.0.0.2]:24", "smtp", "dsn=4.4.1, status=deferred "
         "(connect to 10.0.0.2[10.0.0.2]:24: Connection refused)"),
        ("bob@p1.test", "delayed", None, "the mailbox's server cannot be reached"),
    ),
    (
        ("3@acct.internal>, orig_to=<bob@p1.test>", "10.0.0.2[10.0.0.2]:24", "smtp", "dsn=2.0.0, status=sent (250 "
         "2.0.0 Ok: queued as 4jd31V4dnyzK3Wq)"),
        ("bob@p1.test", "passed", 250, None),
    ),
    (  # an outside server says what our own one would say
        ("x@far.example>", "mx[192.0.2.1]:25", "smtp", "dsn=2.0.0, status=sent (250 2.0.0 Ok: queued as "
         "4jd31V4dnyzK3Wq)"),
        ("x@far.example", "delivered", 250, "250 2.0.0 Ok: queued as 4jd31V4dnyzK3Wq"),
    ),
    (  # texts of strangers that look like other parts of the line
        ('"a>, b"@far.example>', "mx[192.0.2.1]:25", "smtp", "dsn=5.1.1, status=bounced (host mx[192.0.2.1] said: 550 "
         "to=<z@y>, orig_to=<v@y>, relay=none, delay=1, dsn=2.0.0, status=sent (250 ok))"),
        ('"a>, b"@far.example', "bounced", 550, "host mx[192.0.2.1] said: 550 to=<z@y>, orig_to=<v@y>, relay=none, "
         "delay=1, dsn=2.0.0, status=sent (250 ok)"),
    ),
    (
        ("x@far.example>", "mx[192.0.2.1]:25", "smtp", "dsn=5.1.1, status=bounced (caf\udcc3\udca9 "
         "\u202e\udcff\x07 é)"),
        ("x@far.example", "bounced", None, "café ?\ufffd? é"),
    ),
]  # fmt: skip


@pytest.mark.parametrize(("written", "told"), LINES, ids=[row[1][3] for row in LINES])
def test_a_line(
    tmp_path: Path, written: tuple[str, str, str, str], told: tuple[str, str, int | None, str | None]
) -> None:
    to, relay, program, status = written
    found = one(tmp_path, line(to, relay, status, program))
    assert (found.recipient, found.status, found.smtp_code, found.reason) == told
    assert found.passed_as == ("4jd31V4dnyzK3Wq" if found.status == "passed" else "")
    assert found.at == ARRIVED + 3000


def test_what_no_sender_wrote_is_not_named(tmp_path: Path) -> None:
    found = one(tmp_path, line("3@acct.internal>", OWN, "dsn=2.0.0, status=sent (250 ok)", "lmtp"))
    assert (found.recipient, found.target_id) == (None, 3)


def test_a_long_text_is_cut(tmp_path: Path) -> None:
    found = one(tmp_path, line("x@y>", "mx", f"dsn=5.0.0, status=bounced ({'é' * 1000})"))
    assert found.reason == "é" * LONGEST_REASON


@pytest.mark.parametrize(
    "begin",
    [
        "",
        f"{AT}smtpd[1]: {ID}: client=unknown[192.0.2.9]\n",  # from outside
        f"{AT}forwards/smtpd[1]: {ID}: client=localhost[127.0.0.1], sasl_method=XCLIENT, sasl_username=3\n",
        submitted(login="admin"),
        f"{AT}smtpd[1]: warning: {submitted()}",
    ],
)
def test_what_was_not_submitted_here(tmp_path: Path, begin: str) -> None:
    news = read(tmp_path, begin, line("x@far.example>", "none", "dsn=5.4.4, status=bounced (x)"))
    assert news.messages == {}
    # Without its first line a message may be an old one, which the database knows.
    assert len(news.outcomes) == (begin == "" or "warning" in begin)


def test_the_end_of_the_time_in_the_queue(tmp_path: Path) -> None:
    for words in ("expired, returned to sender", "force-expired, returned to sender"):
        found = one(tmp_path, f"{AT}qmgr[13234]: {ID}: from=<alice@p1.test>, status={words}\n")
        assert (found.status, found.recipient) == ("expired", None)
    ends = f"{AT}qmgr[1]: {ID}: from=<a@p1.test>, size=630, nrcpt=7 (queue active)\n{AT}qmgr[1]: {ID}: removed\n"
    assert read(tmp_path, submitted(), ends).outcomes == []


def test_a_message_waits_across_rotations(tmp_path: Path) -> None:
    path = tmp_path / "postfix.log"
    path.write_text(submitted())
    log = DeliveryLog(path)
    assert log() == News([], {})
    delayed = line("x@far.example>", "none", "dsn=4.4.1, status=deferred (x)")
    for number in range(3):
        logfiles.rotate(tmp_path, None, largest=1)
        with path.open("a") as file:
            # A log that is as long as the last one is not noticed.
            file.write(delayed + "x\n" * (3 - number))
        news = log()
        assert [one.status for one in news.outcomes] == ["delayed"], number
        assert news.messages[ID].account_id == 2  # type: ignore[union-attr]
    assert DeliveryLog(path)().messages == {}  # a new reader knows the last two logs


def test_queue_ids() -> None:
    assert arrival(ID) == ARRIVED
    for wrong in ("", "A1B2C3D4E5", "4jd31V4G43", "zzzzzzzz4G43zK3Wl", "4jd31Vzzzzz1", "4jd31V4G4Az1"):
        assert arrival(wrong) is None, wrong
    assert attempt("NOQUEUE", b"smtp", b"x@y>, relay=none, delay=1, dsn=5.0.0, status=bounced (x)") is None
