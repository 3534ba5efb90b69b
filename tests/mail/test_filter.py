"""The filter hook with a real rspamd: spam goes to Junk, clean mail has results of authentication,
and mail arrives while the filter is away."""

import asyncio
import json
import os
import re
import signal
import smtplib
import socket
from collections.abc import Iterator
from email import message_from_bytes
from email.message import Message
from pathlib import Path

import pytest

from postroom.doctor import network
from postroom.settings import Settings, load
from tests.harness.dns_server import DnsServer
from tests.harness.service import Service, wait_for
from tests.mail.clients import message, smtp, submission
from tests.mail.platform import Mailbox
from tests.mail.reading import listed, read
from tests.mail.rspamd import GTUBE, REFUSED, Rspamd
from tests.mail.sink import Sink
from tests.mail.test_delivery_rules import away, forward
from tests.mail.test_port25 import hand_in, letter, public, rsa_key, signed

HOST = "mail.postroom.test"
ELSEWHERE = "someone@elsewhere.example"
FORGED = (
    b"X-Spam: Yes",
    b"x-spam:Yes",
    b"X-SPAM \t: Yes",
    b"X-Spam:\r\n Yes",
    b"X-Spam\r: Yes",
    b"X-Other: a\rX-Spam: Yes",
)


@pytest.fixture(scope="module")
def dns() -> Iterator[DnsServer]:
    with DnsServer.start() as server:
        server.publish("elsewhere.example", "TXT", "v=spf1 ip4:127.0.0.0/8 -all")
        server.publish("_dmarc.elsewhere.example", "TXT", "v=DMARC1; p=reject")
        yield server


@pytest.fixture(scope="module")
def sink() -> Iterator[Sink]:
    with Sink.start() as server:
        yield server


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which the program leaves what it was taught, a file for each message."""
    folder = tmp_path_factory.mktemp("learned")
    folder.chmod(0o777)
    for parent in folder.parents[:3]:
        parent.chmod(parent.stat().st_mode | 0o001)
    program = folder / "learn"
    program.write_text(
        f"#!/bin/sh\nfile=$(mktemp {folder}/$1.XXXXXX)\ncat >$file\n! grep -q hang $file || exec sleep 60\n"
    )
    program.chmod(0o755)
    return folder


@pytest.fixture(scope="module")
def filter_() -> Iterator[Rspamd]:
    with Rspamd.new() as rspamd:
        yield rspamd


@pytest.fixture(scope="module")
def service(filter_: Rspamd, dns: DnsServer, sink: Sink, learned: Path) -> Iterator[Service]:
    """Starts while the filter is away."""
    settings = {
        "filter_milter": filter_.milter,
        "filter_learn": str(learned / "learn"),
        "resolver": dns.address,
        "outbound": "on",
        "relayhost": sink.relayhost,
    }
    with Service.new(**settings) as new:
        new.start()
        filter_.start(dns.address)
        yield new
        assert new.stop() == 0


def send(box: Mailbox, subject: str, body: str = "Hello.", *fields: bytes) -> None:
    """Hands in a message from outside."""
    made = message(ELSEWHERE, box.address, subject)
    made.set_content(body)
    raw = b"\r\n".join([*fields, made.as_bytes().replace(b"\n", b"\r\n")])
    code, text = hand_in(box, ELSEWHERE, raw)
    assert code == 250, text


def folder(box: Mailbox, name: str) -> list[Message]:
    with box.login() as imap:
        imap.select(name, readonly=True)
        found = imap.search(None, "ALL")[1][0].split()
        return [message_from_bytes(imap.fetch(number.decode(), "(BODY.PEEK[])")[1][0][1]) for number in found]  # type: ignore[index, arg-type]


def arrived(box: Mailbox, name: str, subject: str) -> Message:
    """Waits for a message in a folder."""
    found = wait_for(f"{subject} in {name}", lambda: [m for m in folder(box, name) if m["Subject"] == subject])
    assert len(found) == 1
    return found[0]


def spam_fields(found: Message) -> list[str]:
    return [value for name, value in found.items() if name.strip().lower() == "x-spam"]


def diagnosis(settings: Settings) -> tuple[str, str]:
    """What `postroom doctor` says about the filter."""

    async def ask() -> list[tuple[str, str]]:
        return [(found.level, found.text) async for found in network.spam_filter(settings)]

    [found] = asyncio.run(ask())
    return found


def test_clean_mail(alice: Mailbox, dns: DnsServer, tmp_path: Path) -> None:
    """It has the filter's results in the name of this host, and no others in this name."""
    dns.publish("s1._domainkey.elsewhere.example", "TXT", f"v=DKIM1; p={public(rsa_key())}")
    claims = b"\r\n".join([f"Authentication-Results: {HOST}; spf=fail".encode(), *FORGED, b""])
    raw = claims + signed(letter(ELSEWHERE, "clean"), "elsewhere.example", tmp_path)
    assert hand_in(alice, ELSEWHERE, raw)[0] == 250
    found = arrived(alice, "INBOX", "clean")
    [results] = found.get_all("Authentication-Results", [])
    assert results.split(";")[0].strip() == HOST
    assert sorted(re.findall(r"(\w+)=pass", results)) == ["dkim", "dmarc", "spf"]
    assert not spam_fields(found)


def test_spam(alice: Mailbox, target: Mailbox, sink: Sink) -> None:
    """It is in Junk. Neither a rule nor a script of the account forwards or answers it."""
    forward(alice, target.address.replace("@", "+rule@"), keep_copy=False)
    away(alice, "the rule's")
    alice.put_script(f'redirect "{target.address.replace("@", "+own@")}";'.encode())
    send(alice, "spam", GTUBE)
    assert spam_fields(arrived(alice, "Junk", "spam")) == ["Yes"]
    send(alice, "honest")
    assert target.wait_for("honest")
    wait_for("the reply", lambda: [taken for taken in sink.taken if b"Auto: honest" in taken.raw])
    assert [taken for taken in sink.taken if b"Auto: spam" in taken.raw] == []
    assert "spam" not in target.subjects() + alice.subjects()
    code, text = hand_in(alice, ELSEWHERE, letter(ELSEWHERE, "refused") + REFUSED.encode())
    assert code == 554, text


def test_submitted_mail_is_not_filtered(alice: Mailbox, bob: Mailbox) -> None:
    """It cannot pretend to be."""
    with submission(alice.platform.service, alice.address, alice.password) as client:
        raw = b"\r\n".join([*FORGED, letter(alice.address, "submitted") + GTUBE.encode()])
        client.sendmail(alice.address, [bob.address], raw)
    found = arrived(bob, "INBOX", "submitted")
    assert not spam_fields(found)
    assert "Authentication-Results" not in found


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_the_filter_is_away(alice: Mailbox, filter_: Rspamd, dns: DnsServer, number: signal.Signals) -> None:
    """Mail arrives unfiltered, what others claim is removed, and a forged sender is still refused.
    The service is ready. With the filter back, mail is filtered again."""
    service = alice.platform.service
    settings = load(service.environment)
    assert diagnosis(settings)[0] == "ok"
    filter_.signal(number)
    assert diagnosis(settings)[0] == "warning"
    with smtp(service) as client:
        raw = b"\r\n".join([*FORGED, letter(ELSEWHERE, "away") + GTUBE.encode()])
        client.sendmail(ELSEWHERE, [alice.address], raw)
        forged = f"boss@{alice.platform.domain}"
        with pytest.raises(smtplib.SMTPDataError, match=r"5\.7\.1"):
            client.sendmail(forged, [alice.address], letter(forged, "forged"))
    found = arrived(alice, "INBOX", "away")
    assert not spam_fields(found)
    assert "Authentication-Results" not in found
    assert service.ready()
    if number == signal.SIGKILL:
        rows = json.loads(service.run("doctor", "--json").stdout)
        assert [row["level"] for row in rows if row["subject"] == "filter"] == ["warning"]
        filter_.kill()
        filter_.start(dns.address)
    else:
        filter_.signal(signal.SIGCONT)
    assert diagnosis(settings)[0] == "ok"
    send(alice, "back", GTUBE)
    assert arrived(alice, "Junk", "back")


def test_a_socket_that_postfix_may_not_open(tmp_path: Path) -> None:
    """The doctor is root, and asks as Postfix."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        (tmp_path / "s").chmod(0o600)
        tmp_path.chmod(0o755)
        settings = load({"POSTROOM_FILTER_MILTER": f"unix:{tmp_path}/s"}, tmp_path)
        assert diagnosis(settings) == (
            "warning",
            f"Postfix may not connect to unix:{tmp_path}/s: mail arrives unfiltered.",
        )
        assert os.geteuid() == 0


def test_learning(alice: Mailbox, learned: Path) -> None:
    """What a user moves to Junk is spam, and what leaves Junk is ham, but not on the way to Trash.
    A program that hangs holds a move up once, and the message is moved."""
    taught = lambda: sorted(path.name.partition(".")[0] for path in learned.iterdir() if path.suffix)  # noqa: E731
    for subject in ("first", "second", "hang", "after"):
        send(alice, subject)
        arrived(alice, "INBOX", subject)
    with alice.login() as imap:
        imap.select("INBOX")
        assert imap.uid("MOVE", "1:2", "Junk")[0] == "OK"
        assert taught() == ["spam", "spam"]
        assert all(b"\nSubject: " in path.read_bytes() for path in learned.glob("spam.*"))
        imap.select("Junk")
        assert imap.uid("MOVE", "1", "Archive")[0] == "OK"
        assert imap.uid("MOVE", "2", "Trash")[0] == "OK"
        assert taught() == ["ham", "spam", "spam"]
        imap.select("INBOX")
        assert imap.uid("MOVE", "1:*", "Junk")[0] == "OK"
        assert taught() == ["ham", "spam", "spam", "spam"]
    assert [found["Subject"] for found in folder(alice, "Junk")] == ["hang", "after"]


def test_a_script_of_a_user_runs_no_program(alice: Mailbox) -> None:
    with pytest.raises(AssertionError, match=r"vnd\.dovecot\.pipe"):
        alice.put_script(b'require "vnd.dovecot.pipe"; pipe "learn" "spam";')


def test_a_key_reads_what_the_filter_says(alice: Mailbox) -> None:
    """And nothing that came with the message in the filter's name."""
    send(alice, "clean", "Hello.", b"Authentication-Results: mail.postroom.test; spf=fail; dkim=fail")
    arrived(alice, "INBOX", "clean")
    send(alice, "spam", GTUBE)
    arrived(alice, "Junk", "spam")
    (clean,), (spam,) = listed(alice), listed(alice, "?mailbox=Junk")
    shown = read(alice, f"messages/{clean['id']}")["message"]
    assert shown["spam"] is False
    assert shown["authentication"] == {"spf": "pass", "dkim": "none", "dmarc": "pass"}
    assert read(alice, f"messages/{spam['id']}?mailbox=Junk")["message"]["spam"] is True
    with alice.login() as imap:
        imap.append("INBOX", "", "", b"Subject: unseen\r\n\r\nhi\r\n")
    unseen = read(alice, f"messages/{listed(alice)[0]['id']}")["message"]
    assert (unseen["spam"], unseen["authentication"]) == (None, None)
