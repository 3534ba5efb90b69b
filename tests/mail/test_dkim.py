"""DKIM on real mail: submitted mail is signed, an independent verifier accepts the signature with
the published record, a rotation changes the key while mail flows, and no mail leaves unsigned."""

import os
import re
import signal
import smtplib
import subprocess
from collections.abc import Iterator
from email import message_from_bytes
from pathlib import Path

import pytest

from postroom.db import open_database
from postroom.domains import dkim
from postroom.supervision import stale_processes
from tests.harness import traces
from tests.harness.dns_server import DnsServer
from tests.harness.service import Service, wait_for
from tests.mail.clients import message, smtp, submission
from tests.mail.conftest import NewDatabase
from tests.mail.platform import Mailbox, Platform

VERIFIER = Path(__file__).with_name("verify_dkim.py")


@pytest.fixture(scope="module")
def dns() -> Iterator[DnsServer]:
    with DnsServer.start() as server:
        yield server


@pytest.fixture(scope="module")
def service(dns: DnsServer, database: NewDatabase) -> Iterator[Service]:
    """Starts a service for this file only, because the service uses this test's DNS server and the
    tests kill its opendkim."""
    with Service.new(resolver=dns.address, **database()) as new:
        new.start()
        yield new
        assert new.stop() == 0


def publish(dns: DnsServer, platform: Platform) -> list[str]:
    """Publishes the domain's DKIM records as the API shows them, and returns the selectors."""
    database = open_database(platform.service.database_url)
    sql = "SELECT id FROM domains WHERE name = :name"

    try:
        records = database.write_sync(lambda tx: dkim.records(tx, (tx.one(sql, name=platform.domain) or (0,))[0]))
    finally:
        database.close()
    for record in records:
        dns.publish(f"{record.selector}._domainkey.{platform.domain}", "TXT", record.value)
    return [record.selector for record in records]


def verifies(dns: DnsServer, raw: bytes) -> bool:
    done = subprocess.run(
        ["/usr/bin/python3", VERIFIER, dns.address], input=raw, capture_output=True, timeout=60, check=True
    )
    return done.stdout.strip() == b"good"


def tags(raw: bytes) -> dict[str, str]:
    """Returns the tags of the only signature."""
    signatures = message_from_bytes(raw).get_all("DKIM-Signature") or []
    assert len(signatures) == 1
    found = (tag.partition("=") for tag in re.sub(r"\s+", "", signatures[0]).split(";"))
    return {name: value for name, _, value in found}


def submit(box: Mailbox, from_: str | None, to: str, subject: str, sender: str = "") -> None:
    """Submits a message whose From differs from the sender or is missing."""
    made = message(from_ or "x", to, subject)
    if from_ is None:
        del made["From"]
    with submission(box.platform.service, box.address, box.password) as client:
        client.sendmail(sender or box.address, [to], made.as_bytes())


@pytest.mark.parametrize("over_tls", [True, False])
def test_it_works(platform: Platform, dns: DnsServer, over_tls: bool) -> None:
    box = platform.create()
    (selector,) = publish(dns, platform)
    with submission(platform.service, box.address, box.password, over_tls) as client:
        client.send_message(message(box.address, box.address, "signed"), box.address, [box.address])
    raw = box.wait_for("signed")
    found = tags(raw)
    assert (found["d"], found["s"], found["a"]) == (platform.domain, selector, "rsa-sha256")
    assert found["c"] == "relaxed/relaxed"
    assert "l" not in found
    headers = found["h"].lower().split(":")
    assert headers.count("from") == 2, "a second From must break the signature"
    assert {"to", "subject", "date", "message-id", "mime-version", "content-type"} <= set(headers)
    assert verifies(dns, raw)
    assert not verifies(dns, raw.replace(b"Hello.", b"Hullo."))
    assert not verifies(dns, raw.replace(b"Subject: signed", b"Subject: forged"))
    assert not verifies(dns, b"From: ceo@elsewhere.example\r\n" + raw)


def test_a_record_that_is_not_published_proves_nothing(platform: Platform, dns: DnsServer) -> None:
    box = platform.create()
    box.send(box.address, "unpublished")
    assert not verifies(dns, box.wait_for("unpublished"))


def test_mail_from_outside_is_not_signed(platform: Platform) -> None:
    box = platform.create()
    box.receive("from outside")
    with smtp(platform.service) as client:  # a stranger who forges From
        client.send_message(message(box.address, box.address, "pretended"), "x@elsewhere.example", [box.address])
    for subject in ("from outside", "pretended"):
        assert b"DKIM-Signature" not in box.wait_for(subject)


def test_nobody_gets_the_signature_for_a_neighbour(service: Service, platform: Platform, dns: DnsServer) -> None:
    """Several customers share a platform domain. Its signature must vouch for an address only if
    the address's owner sends."""
    publish(dns, platform)
    alice, bob = platform.create("alice", user_id="a"), platform.create("bob", user_id="b")
    forged = (
        bob.address,
        f"Bob <{bob.address.upper()}>",
        f"{bob.address}, {alice.address}",
        f"{alice.address}, {bob.address}",
        f'"{alice.address}" <{bob.address}>',
        f"<{alice.address}>{bob.address}",
        f"bob (x) @ {platform.domain}",
        f"bob@(x){platform.domain}",
        f'"(" <{bob.address}> ")" <{alice.address}>',
        f'"bob"@{platform.domain}',
        f"bob+x@{platform.domain}",
        f"xalice@{platform.domain}",
        f"alicex@{platform.domain}",
        f"{bob.address}.",
        f"{alice.address}\r\nFrom: {bob.address}",
        f"Bob\r\n <bob@{platform.domain}>",
    )
    own = (alice.address, f"Alice <{alice.address}>", f"Alice <alice+shop@{platform.domain}>", alice.address.upper())
    for from_ in forged:
        made = message(alice.address, alice.address, "forged").as_bytes()
        made = made.replace(b"From: " + alice.address.encode(), b"From: " + from_.encode(), 1)
        assert b"From: " + from_.encode() in made
        # A new connection each time, because Postfix slows down a client with many errors.
        with (
            submission(service, alice.address, alice.password) as client,
            pytest.raises(smtplib.SMTPDataError) as refused,
        ):
            client.sendmail(alice.address, [alice.address], made)
        assert (refused.value.smtp_code, from_) == (550, from_)
        assert b"From must be your own address" in refused.value.smtp_error
    with submission(service, alice.address, alice.password) as client:
        for number, from_ in enumerate(own):
            made = message(from_, alice.address, f"own {number}").as_bytes()
            client.sendmail(alice.address, [alice.address], made)
            assert verifies(dns, alice.wait_for(f"own {number}"))


def test_nobody_gets_the_signature_of_another_domain(service: Service, platform: Platform, dns: DnsServer) -> None:
    """A message is refused if its From does not belong to the login."""
    other = Platform.new(service)
    publish(dns, other)
    publish(dns, platform)
    box = platform.create()
    froms = (
        f"ceo@{other.domain}",
        f"CEO <ceo@{other.domain}>, {box.address}",
        f'"x\'; DROP TABLE dkim_keys; --"@{other.domain}',
        f"a@x' OR domain = '{other.domain}",
        "no address at all",
        f"ceo@{other.domain}\r\nSender: ceo@{other.domain}",
    )
    for from_ in froms:
        made = message(box.address, box.address, "forged").as_bytes()
        made = re.sub(rb"(?m)^From: .*$", b"From: " + from_.replace("\r\n", "\n").encode(), made)
        with (
            submission(service, box.address, box.password) as client,
            pytest.raises(smtplib.SMTPDataError) as refused,
        ):
            client.sendmail(box.address, [box.address], made)
        assert (refused.value.smtp_code, from_) == (550, from_)


def test_a_message_without_from_is_signed_too(platform: Platform, dns: DnsServer) -> None:
    box = platform.create()
    publish(dns, platform)
    submit(box, None, box.address, "nameless")
    raw = box.wait_for("nameless")
    assert tags(raw)["d"] == platform.domain
    assert verifies(dns, raw)


def test_a_reply_of_a_script_is_signed(platform: Platform, dns: DnsServer) -> None:
    """A reply has no envelope sender, so that DMARC depends on the signature alone."""
    publish(dns, platform)
    alice, bob = platform.create("alice", user_id="a"), platform.create("bob", user_id="b")
    alice.put_script(b'require "vacation"; vacation :subject "away" "Back soon.";')
    bob.send(alice.address, "question")
    raw = bob.wait_for("away")
    assert b"Return-Path: <>" in raw
    assert tags(raw)["d"] == platform.domain
    assert verifies(dns, raw)


def test_the_spelling_of_the_sender_does_not_matter(platform: Platform, dns: DnsServer) -> None:
    box = platform.create()
    publish(dns, platform)
    submit(box, box.address, box.address, "capitals", box.address.upper())
    raw = box.wait_for("capitals")
    assert tags(raw)["d"] == platform.domain
    assert verifies(dns, raw)


def test_a_rotation_under_real_mail(platform: Platform, dns: DnsServer) -> None:
    box = platform.create()
    (old,) = publish(dns, platform)
    path = f"/v2/domains/{platform.domain}/dkim/rotate?user_id=user_123"
    answer = platform.call("POST", path, {})
    assert platform.call("POST", path, {}) == answer, "a second call changes nothing"
    assert [(item["selector"] == old, item["state"]) for item in answer["dkim"]] == [(True, "signing"), (False, "next")]
    box.send(box.address, "before")
    before = box.wait_for("before")
    assert tags(before)["s"] == old
    new = answer["dkim"][1]["selector"]
    assert publish(dns, platform) == [old, new]

    def states() -> dict[str, str]:
        database = open_database(platform.service.database_url)
        sql = "UPDATE dkim_keys SET due_at = 1 WHERE state = 'next' AND selector = :selector"
        try:
            database.write_sync(lambda tx: tx.run(sql, selector=new))  # so that the worker is due at once
            rows = database.write_sync(lambda tx: tx.all("SELECT selector, state FROM dkim_keys"))
        finally:
            database.close()
        return dict(rows)

    wait_for("the switch", lambda: states()[new] == "signing")
    assert states()[old] == "retiring"
    box.send(box.address, "after")
    after = box.wait_for("after")
    assert tags(after)["s"] == new
    assert verifies(dns, before)
    assert verifies(dns, after)


def test_a_domain_that_is_no_longer_signed_for(platform: Platform) -> None:
    """All changes take effect without a restart: a suspended domain still signs, a missing key is
    noticed, and no mail leaves unsigned."""
    box = platform.create()
    platform.service.run(
        "domains", "suspend", platform.domain, "--organization", platform.organization
    ).check_returncode()
    box.send(box.address, "suspended")
    assert tags(box.wait_for("suspended"))["d"] == platform.domain
    database = open_database(platform.service.database_url)
    sql = "DELETE FROM dkim_keys WHERE domain_id = (SELECT id FROM domains WHERE name = :name)"
    database.write_sync(lambda tx: tx.run(sql, name=platform.domain))
    database.close()
    with pytest.raises(smtplib.SMTPResponseException) as refused:
        box.send(box.address, "unsigned")
    assert refused.value.smtp_code == 451
    log = (platform.service.data / "log" / "opendkim.log").read_text()
    assert f"no usable DKIM key for {platform.domain}" in log
    assert box.subjects() == ["suspended"]


def test_nothing_leaves_unsigned_while_opendkim_is_away(platform: Platform, dns: DnsServer) -> None:
    service = platform.service
    box = platform.create()
    publish(dns, platform)
    assert service.process
    os.kill(service.process.pid, signal.SIGSTOP)  # so that nothing restarts opendkim
    try:
        for pid in stale_processes.find(service.data, {service.pid("opendkim")}):
            os.kill(pid, signal.SIGKILL)
        wait_for("/readyz to report opendkim", lambda: service.get("/readyz")[1]["parts"]["opendkim"] != "ok")
        with pytest.raises(smtplib.SMTPException):
            box.send(box.address, "too early")
    finally:
        os.kill(service.process.pid, signal.SIGCONT)
    wait_for("the return of opendkim", service.ready)
    box.send(box.address, "later")
    assert verifies(dns, box.wait_for("later"))
    assert box.subjects() == ["later"]


def test_the_private_key_stays_where_it_is(platform: Platform) -> None:
    """The key is in no answer, event, log or process. It is only in the database."""
    box = platform.create()
    box.send(box.address, "canary")
    raw = box.wait_for("canary")
    said = [str(platform.call("POST", f"/v2/domains/{platform.domain}/dkim/rotate", {"user_id": "user_123"}))]
    database = open_database(platform.service.database_url)
    keys = [key for (key,) in database.write_sync(lambda tx: tx.all("SELECT private_key FROM dkim_keys")) if key]
    events = database.write_sync(lambda tx: tx.all("SELECT data FROM events"))
    database.close()
    said += [str(events), raw.decode(), platform.service.said()]
    said += [path.read_text(errors="replace") for path in (platform.service.data / "log").iterdir()]
    said += [content.decode(errors="replace") for _, content in traces.processes(platform.service)]
    assert len(keys) >= 2
    for key in keys:
        lines = [line for line in key.splitlines() if "-----" not in line]
        assert not [line for line in lines for text in said if line in text]


def test_only_postfix_reaches_the_signer(service: Service) -> None:
    folder = service.data / "opendkim" / "socket"
    assert folder.stat().st_mode & 0o777 == 0o710
    assert folder.group() == "postfix"
    assert folder.stat().st_uid == (service.data / "db").stat().st_uid
