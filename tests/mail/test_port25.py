"""Port 25 stops forged senders: a sender on a hosted domain needs SPF, a signature of the domain,
or a trusted client."""

import base64
import os
import signal
import smtplib
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

from postroom.milter.inbound import EVALUATIONS
from tests.harness.dns_server import DnsServer
from tests.harness.service import Service, wait_for
from tests.mail.clients import HOST, own_address, submission
from tests.mail.conftest import NewDatabase
from tests.mail.platform import Mailbox, Platform
from tests.mail.sink import Sink
from tests.mail.test_dkim import publish

SIGNER = Path(__file__).with_name("sign_dkim.py")
FORWARDER = "127.77.0.1"
BODY = b"Hello.\r\n"


@pytest.fixture(scope="module")
def dns() -> Iterator[DnsServer]:
    with DnsServer.start() as server:
        yield server


@pytest.fixture(scope="module")
def sink() -> Iterator[Sink]:
    with Sink.start() as server:
        yield server


@pytest.fixture(scope="module")
def service(dns: DnsServer, sink: Sink, database: NewDatabase) -> Iterator[Service]:
    """Starts a service for this file only, which uses this test's DNS server and sends outbound
    mail to this test's sink."""
    settings = {
        "resolver": dns.address,
        "outbound": "on",
        "relayhost": sink.relayhost,
        "trusted_forwarders": f"{FORWARDER}/32, 2001:db8::/32",
    }
    with Service.new(**settings, **database()) as new:
        new.start()
        yield new
        assert new.stop() == 0


@pytest.fixture
def alice(platform: Platform) -> Mailbox:
    return platform.create("alice")


@pytest.fixture
def bob(platform: Platform) -> Mailbox:
    return platform.create("bob")


def hand_in(box: Mailbox, sender: str, raw: bytes, source: str = "", helo: str = "client.example") -> tuple[int, str]:
    """Returns the last answer of port 25 to a message for a mailbox."""
    port = box.platform.service.ports["smtp_port"]
    with smtplib.SMTP(HOST, port, helo, 60, (source or own_address(), 0)) as client:
        client.ehlo()
        for answer in (lambda: client.mail(sender), lambda: client.rcpt(box.address), lambda: client.data(raw)):
            code, text = answer()
            if code >= 400:
                break
        return code, text.decode()


def letter(sender: str, subject: str) -> bytes:
    return f"From: {sender}\r\nSubject: {subject}\r\n\r\n".encode() + BODY


# SPF records of a hosted domain, and the answer to a client in 127/8. None: there is no record.
RECORDS: dict[str, tuple[list[str] | None, int]] = {
    "pass": (["v=spf1 ip4:127.0.0.0/8 -all"], 250),
    "pass by another record": (["v=spf1 include:_spf.D -all"], 250),
    "fail": (["v=spf1 -all"], 550),
    "fail for this address": (["v=spf1 ip4:192.0.2.0/24 -all"], 550),
    "softfail": (["v=spf1 ~all"], 550),
    "neutral": (["v=spf1 ?all"], 550),
    "neutral by default": (["v=spf1"], 550),
    "none": (None, 550),
    "none, another text": (["spf1 ip4:127.0.0.0/8"], 550),
    "permerror": (["v=spf1 ip4:127.0.0.0/8x -all"], 550),
    "permerror, two records": (["v=spf1 ip4:127.0.0.0/8 -all", "v=spf1 -all"], 550),
    "temperror": (["SERVFAIL"], 550),
}


@pytest.mark.parametrize("name", RECORDS)
def test_it_works(alice: Mailbox, bob: Mailbox, dns: DnsServer, name: str) -> None:
    """A sender of another customer from outside: the hosted domain's SPF decides, and only `pass`
    is enough."""
    texts, expected = RECORDS[name]
    domain = alice.platform.domain
    dns.publish(f"_spf.{domain}", "TXT", "v=spf1 ip4:127.0.0.0/8 ?all")
    if texts == ["SERVFAIL"]:
        dns.rcodes[domain] = "SERVFAIL"
    elif texts:
        dns.publish(domain, "TXT", *(text.replace("D", domain) for text in texts))
    code, text = hand_in(bob, alice.address, letter(alice.address, name))
    assert code == expected, text
    if code == 250:
        bob.wait_for(name)
    else:
        assert text.startswith("5.7.1")
        assert domain in text
        bob.receive("afterwards")
        bob.wait_for("afterwards")
        assert bob.subjects() == ["afterwards"]


@cache
def rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


@cache
def ed25519_key() -> ed25519.Ed25519PrivateKey:
    return ed25519.Ed25519PrivateKey.generate()


def public(key: rsa.RSAPrivateKey) -> str:
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return base64.b64encode(key.public_key().public_bytes(serialization.Encoding.DER, form)).decode()


def signed(raw: bytes, domain: str, folder: Path, *options: str) -> bytes:
    """Returns the message with a signature of `s1._domainkey.DOMAIN`, made by dkimpy."""
    path = folder / "key"
    if "ed25519-sha256" in options:
        raw_form = serialization.Encoding.Raw, serialization.PrivateFormat.Raw, serialization.NoEncryption()
        path.write_bytes(base64.b64encode(ed25519_key().private_bytes(*raw_form)))
    else:
        form = serialization.PrivateFormat.TraditionalOpenSSL
        path.write_bytes(rsa_key().private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))
    command: list[str | Path] = ["/usr/bin/python3", SIGNER, path, domain, "s1", *options]
    return subprocess.run(command, input=raw, capture_output=True, timeout=60, check=True).stdout


Change = Callable[[bytes], bytes]
RELAXED = ("relaxed/relaxed",)


def same(raw: bytes) -> bytes:
    return raw


# The signature, the change in transit, and the answer of port 25. `D` is the sender's domain.
SIGNATURES: dict[str, tuple[str, tuple[str, ...], Change, int]] = {
    "valid": ("D", RELAXED, same, 250),
    "valid, simple": ("D", ("simple/simple",), same, 250),
    "valid, simple for the body": ("D", ("relaxed/simple",), same, 250),
    "valid, a newer algorithm": ("D", ("relaxed/relaxed", "ed25519-sha256"), same, 250),
    "valid, with trace fields before": ("D", RELAXED, lambda raw: b"Received: x\r\nList-Id: <l>\r\n" + raw, 250),
    "valid, below another": ("D", RELAXED, lambda raw: b"DKIM-Signature: v=1; d=D; s=none\r\n" + raw, 250),
    "valid, below garbage": ("D", RELAXED, lambda raw: b"DKIM-Signature: v=1; d=D; s=\xff; h=\xff; a=x\r\n" + raw, 250),
    "the body was changed": ("D", RELAXED, lambda raw: raw + b"P.S.\r\n", 550),
    "the subject was changed": ("D", RELAXED, lambda raw: raw.replace(b"Subject: ", b"Subject: Re: "), 550),
    "From was changed": ("D", RELAXED, lambda raw: raw.replace(b"From: alice", b"From: bob"), 550),
    "a second From before": ("D", RELAXED, lambda raw: b"From: ceo@x.example\r\n" + raw, 550),
    "a second Subject before": ("D", RELAXED, lambda raw: b"Subject: other\r\n" + raw, 550),
    "a part of the body, and more": (
        "D",
        ("simple/simple", "rsa-sha256", "length"),
        lambda raw: raw + b"P.S.\r\n",
        550,
    ),
    "a broken algorithm": ("D", ("relaxed/relaxed", "rsa-sha1"), same, 550),
    "of another domain": ("other.example", RELAXED, same, 550),
    "of a subdomain": ("mail.D", RELAXED, same, 550),
    "of a longer name": ("xD", RELAXED, same, 550),
    "cut off": ("D", RELAXED, lambda raw: raw.replace(b"bh=", b"bh=AAAA"), 550),
    "twenty that are none": (
        "D",
        RELAXED,
        lambda raw: b"DKIM-Signature: v=1; a=rsa-sha256; d=D; s=s1; h=from; bh=x; b=x\r\n" * 20 + raw,
        550,
    ),
    "garbage": ("", (), lambda raw: b"DKIM-Signature: D;;=;d=D\r\nDKIM-Signature: v=1; d=D\xff\r\n" + raw, 550),
    "none": ("", (), same, 550),
}


@pytest.mark.parametrize("name", SIGNATURES)
def test_a_signature_of_the_domain(alice: Mailbox, bob: Mailbox, dns: DnsServer, tmp_path: Path, name: str) -> None:
    """The signature's `d=` is the domain of MAIL FROM; SPF fails."""
    signer, options, change, expected = SIGNATURES[name]
    domain = alice.platform.domain
    signer = signer.replace("D", domain)
    dns.publish(domain, "TXT", "v=spf1 -all")
    record = f"v=DKIM1; k=rsa; p={public(rsa_key())}"
    if "ed25519-sha256" in options:
        raw_form = serialization.Encoding.Raw, serialization.PublicFormat.Raw
        encoded = base64.b64encode(ed25519_key().public_key().public_bytes(*raw_form)).decode()
        record = f"v=DKIM1; k=ed25519; p={encoded}"
    dns.publish(f"s1._domainkey.{signer}", "TXT", record)
    raw = letter(alice.address, name)
    raw = signed(raw, signer, tmp_path, *options) if signer else raw
    code, text = hand_in(bob, alice.address, change(raw).replace(b"d=D", b"d=" + domain.encode()))
    assert code == expected, text
    if code == 250:
        bob.wait_for(name)


# The record of the key, and the answer of port 25 to a signature that fits. `P` is the public key.
KEYS: dict[str, tuple[list[str], int]] = {
    "as it should be": (["v=DKIM1; k=rsa; p=P"], 250),
    "for mail": (["v=DKIM1; s=email; h=sha256; p=P"], 250),
    "missing": ([], 550),
    "revoked": (["v=DKIM1; k=rsa; p="], 550),
    "being tested": (["v=DKIM1; t=y; p=P"], 550),
    "for something else": (["v=DKIM1; s=tlsrpt; p=P"], 550),
    "for another digest": (["v=DKIM1; h=sha1; p=P"], 550),
    "two records": (["v=DKIM1; p=P", "v=DKIM1; p="], 550),
    "no record of a key": (["something else"], 550),
    "not to be had now": (["SERVFAIL"], 451),
}


@pytest.mark.parametrize("name", KEYS)
def test_the_key_is_what_the_dns_says(alice: Mailbox, bob: Mailbox, dns: DnsServer, tmp_path: Path, name: str) -> None:
    """The milter reads the key record as any receiver does. If the DNS does not answer, the refusal
    is temporary."""
    texts, expected = KEYS[name]
    domain = alice.platform.domain
    key = f"s1._domainkey.{domain}"
    if texts == ["SERVFAIL"]:
        dns.rcodes[key] = "SERVFAIL"
    elif texts:
        dns.publish(key, "TXT", *(text.replace("p=P", f"p={public(rsa_key())}") for text in texts))
    raw = signed(letter(alice.address, name), domain, tmp_path)
    code, text = hand_in(bob, alice.address, raw)
    assert code == expected, text


def test_what_we_signed_comes_back(alice: Mailbox, bob: Mailbox, dns: DnsServer, sink: Sink) -> None:
    """A message that was submitted here, signed by opendkim, sent to another server and forwarded
    unchanged is accepted."""
    publish(dns, alice.platform)
    dns.publish(alice.platform.domain, "TXT", "v=spf1 -all")
    lines = b"x" * 998 + b"\r\n." + b"y" * 997 + b"\r\n.\r\n..dots\r\n \r\n\r\n"
    subject = f"round trip of {alice.address} on {alice.platform.service.ports['port']}"  # both engines share the sink
    raw = f"From: {alice.address}\r\nTo: friend@elsewhere.example\r\nSubject: {subject}\r\n\r\n".encode() + lines
    with submission(alice.platform.service, alice.address, alice.password) as client:
        client.sendmail(alice.address, ["friend@elsewhere.example"], raw)
    taken = wait_for("the message", lambda: sink.find(subject))
    assert taken
    assert taken.sender == alice.address
    assert taken.raw.endswith(b"\r\n\r\n" + lines)
    for changed in (taken.raw.replace(b"xx", b"xy"), taken.raw.replace(b"round", b"square"), raw):
        assert hand_in(bob, taken.sender, changed)[0] == 550
    code, text = hand_in(bob, taken.sender, b"Received: from second.example\r\n" + taken.raw)
    assert code == 250, text
    assert bob.wait_for(subject).endswith(b"\r\n\r\n" + lines)


def test_each_message_of_a_session_is_asked_about(alice: Mailbox, bob: Mailbox, dns: DnsServer) -> None:
    """Whether earlier messages of the session were accepted, refused or aborted makes no
    difference."""
    dns.publish(alice.platform.domain, "TXT", "v=spf1 -all")
    port = bob.platform.service.ports["smtp_port"]
    with smtplib.SMTP(HOST, port, "client.example", 60, (own_address(), 0)) as client:
        client.ehlo()
        for number, sender in enumerate(("x@elsewhere.example", alice.address) * 2):
            client.mail("", [])
            client.rset()
            client.mail(sender)
            client.rcpt(bob.address)
            code, text = client.data(letter(alice.address, f"session {number}"))
            assert code == (550 if sender == alice.address else 250), text
    wait_for("both", lambda: sorted(bob.subjects()) == ["session 0", "session 2"])


def test_a_trusted_forwarder(alice: Mailbox, bob: Mailbox, dns: DnsServer) -> None:
    dns.publish(alice.platform.domain, "TXT", "v=spf1 -all")
    for source, expected in ((FORWARDER, 250), ("127.77.0.2", 550)):
        assert hand_in(bob, alice.address, letter(alice.address, source), source)[0] == expected
    bob.wait_for(FORWARDER)
    assert bob.subjects() == [FORWARDER]


def test_other_senders_are_not_asked(alice: Mailbox, bob: Mailbox, dns: DnsServer) -> None:
    """Mailing lists, bounces, subdomains that are not hosted, and a HELO with a hosted name are
    accepted without a DNS query."""
    domain = alice.platform.domain
    dns.publish(domain, "TXT", "v=spf1 -all")
    dns.asked.clear()
    senders = ("list-bounces@lists.example", "", f"alice@news.{domain}", f"alice@x{domain}", f"{domain}@x.example")
    for number, sender in enumerate(senders):
        code, text = hand_in(bob, sender, letter(alice.address, f"other {number}"), helo=domain)
        assert code == 250, (sender, text)
        bob.wait_for(f"other {number}")
    assert not [name for name, _, _ in dns.asked if name.endswith(domain)]


@pytest.mark.parametrize(
    ("sender", "expected"),
    [
        ("ALICE@{upper}", 550),
        ("alice@{domain}.", 550),
        ("alice+tag@{domain}", 550),
        ("nobody@{domain}", 550),
        ('"alice"@{domain}', 550),
        ('"a@b.example"@{domain}', 550),
        ("@b.example:alice@{domain}", 550),
        ("alice@(a comment){domain}", 550),
        ("alice@ {domain}", 550),
        ("Alice <alice@{domain}>", 550),
        ("alice@{domain}@{domain}", 550),
        ("@{domain}", 550),
        ("alice%{domain}@x.example", 250),
        ("alice", 504),
        ("postmaster", 504),
    ],
)
def test_however_the_sender_is_written(bob: Mailbox, dns: DnsServer, sender: str, expected: int) -> None:
    domain = bob.platform.domain
    dns.publish(domain, "TXT", "v=spf1 -all")
    written = sender.format(domain=domain, upper=domain.upper())
    port = bob.platform.service.ports["smtp_port"]
    with smtplib.SMTP(HOST, port, "client.example", 60, (own_address(), 0)) as client:
        client.ehlo()
        code, text = client.docmd("MAIL", f"FROM:<{written}>")
        if code == 250:
            client.rcpt(bob.address)
            code, text = client.data(letter(bob.address, "written"))
    assert code == expected, text


def test_hosted_means_what_the_database_says_now(platform: Platform, bob: Mailbox, dns: DnsServer) -> None:
    """A suspended domain is still hosted. A deleted domain is not, from that moment."""
    other = Platform.new(platform.service)
    dns.publish(other.domain, "TXT", "v=spf1 -all")
    sender = f"alice@{other.domain}"

    def code() -> int:
        return hand_in(bob, sender, letter(sender, "now"))[0]

    def run(*arguments: str) -> None:
        done = platform.service.run("domains", *arguments, "--organization", other.organization)
        assert done.returncode == 0, done.stderr

    assert code() == 550
    run("suspend", other.domain)
    assert code() == 550
    run("delete", other.domain)
    assert code() == 250


def test_who_asks_too_much_waits(alice: Mailbox, bob: Mailbox, dns: DnsServer) -> None:
    """A domain with slow DNS can only use its share of the checks, and does not delay others."""
    domain = alice.platform.domain
    dns.silent.add(domain)
    other = Platform.new(alice.platform.service)
    dns.publish(other.domain, "TXT", "v=spf1 -all")
    for_each = EVALUATIONS[1]
    with ThreadPoolExecutor(for_each + 4) as pool:
        answers = [pool.submit(hand_in, bob, alice.address, letter(alice.address, "slow")) for _ in range(for_each + 4)]
        put_off = lambda: [answer.done() and answer.result()[0] for answer in answers].count(451)  # noqa: E731
        wait_for("the clients that no longer wait", lambda: put_off() == 4)
        assert hand_in(bob, f"x@{other.domain}", letter(bob.address, "another"))[0] == 550
        assert hand_in(bob, "x@elsewhere.example", letter(bob.address, "ordinary"))[0] == 250
        codes = [answer.result()[0] for answer in answers]
    assert codes.count(550) == for_each
    dns.silent.clear()


def test_nothing_is_taken_while_nobody_can_judge(alice: Mailbox, bob: Mailbox, dns: DnsServer) -> None:
    """Without the milter, every sender gets a 451, also one that would be refused."""
    service = bob.platform.service
    dns.publish(alice.platform.domain, "TXT", "v=spf1 -all")
    assert service.process
    os.kill(service.process.pid, signal.SIGSTOP)  # so that nothing restarts the milter
    try:
        os.kill(service.pid("milter"), signal.SIGKILL)
        wait_for("/readyz to report the milter", lambda: service.get("/readyz")[1]["parts"]["milter"] != "ok")
        assert hand_in(bob, alice.address, letter(alice.address, "forged"))[0] == 451
    finally:
        os.kill(service.process.pid, signal.SIGCONT)
    wait_for("the return of the milter", service.ready)
    assert hand_in(bob, alice.address, letter(alice.address, "forged"))[0] == 550
    assert bob.subjects() == []
