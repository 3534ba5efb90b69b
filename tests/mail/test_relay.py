"""Mail leaves through a relay host with a login, and does not tell where its sender was."""

import re
from collections.abc import Iterator
from email import message_from_bytes
from email.utils import parsedate_to_datetime
from pathlib import Path

import pytest

from tests.harness import mail_queue, traces
from tests.harness.service import COMMAND, Service, wait_for
from tests.mail.clients import deliver, message, own_address, submission
from tests.mail.outside import HOST, PASSWORD, PORT, USER, Outside, diagnosis, waits
from tests.mail.platform import Mailbox, Platform
from tests.mail.test_dkim import publish, verifies

ELSEWHERE = "someone@elsewhere.example"


@pytest.fixture(scope="module")
def outside() -> Iterator[Outside]:
    with Outside.start() as found:
        yield found


def settings(outside: Outside, port: int) -> dict[str, str]:
    secret = outside.folder / "secret"
    secret.write_text(f"{PASSWORD}\n")
    secret.chmod(0o600)
    return {
        "outbound": "on",
        "relayhost": f"[{HOST}]:{port}",
        "relay_user": USER,
        "relay_password_file": str(secret),
        "relay_ca": str(outside.authority.path),
        "resolver": outside.dns.address,
    }


@pytest.fixture(scope="module")
def service(outside: Outside) -> Iterator[Service]:
    """A service for this file only, which sends all mail to the second Postfix."""
    with Service.new(**settings(outside, PORT)) as new:
        outside.see(new).start()
        yield new
        assert new.stop() == 0


def test_it_works(service: Service, outside: Outside, alice: Mailbox) -> None:
    """Mail leaves over TLS, with the login. The relay host has written both into its Received."""
    alice.send(ELSEWHERE, "relayed")
    raw = outside.sink.wait_for("relayed").raw
    [first, *_] = message_from_bytes(raw).get_all("Received", [])
    assert f"by {HOST}" in first
    assert f"(Authenticated sender: {USER})" in first
    assert "with ESMTPSA" in first
    level, text = diagnosis(service, "relay")
    assert (level, "accepts the login of platform over TLS" in text) == ("ok", True), text


def test_the_password_is_nowhere_else(service: Service, tmp_path: Path) -> None:
    login = service.data / "postfix" / "relay_login"
    assert (login.stat().st_mode & 0o777, login.stat().st_uid) == (0o600, 0)
    done = service.run("backup", str(tmp_path / "backup"))
    assert done.returncode == 0, done.stderr
    assert [path for path, content in traces.files(service.data) if PASSWORD.encode() in content] == [login]
    for path in (tmp_path / "backup", service.output):
        assert PASSWORD.encode() not in path.read_bytes()
    for path, content in traces.processes(service):
        assert PASSWORD.encode() not in content, path
    for command in (("doctor",), ("status",), ("env",)):
        done = service.run(*command)
        assert PASSWORD not in done.stdout + done.stderr


# What is wrong: the door, the relay host's password, why mail waits, what the doctor says.
WRONG = {
    "another password": ("good", "another", "authentication failed", "refuses the login of platform with 535"),
    "no common mechanism": ("no mechanism", PASSWORD, "no mechanism available", "offers CRAM-MD5"),
    "another name": ("other name", PASSWORD, "certificate not verified", "is for other.test, not for relay.test"),
    "no TLS": ("no tls", PASSWORD, "TLS is required", "offers no TLS on port 587"),
    "another authority": ("other authority", PASSWORD, "certificate not verified", "unable to get local issuer"),
}


def test_mail_waits_for_the_right_host(service: Service, outside: Outside, alice: Mailbox) -> None:
    """The same message through each wrong door, then through the right one. The door without TLS
    takes mail from everyone."""
    outside.close()
    alice.send(ELSEWHERE, "patient")
    try:
        for name, (door, password, reason, said) in WRONG.items():
            outside.open(door)
            outside.set_password(password)
            mail_queue.flush(service)
            wait_for(name, lambda reason=reason: reason in waits(service))  # type: ignore[misc]
            level, text = diagnosis(service, "relay")
            assert (level, said in text) == ("error", True), text
            assert "Until then mail waits." in text
    finally:
        outside.set_password(PASSWORD)
        outside.open("good")
    assert outside.sink.find("patient") is None
    mail_queue.flush(service)
    assert outside.sink.wait_for("patient")


def test_what_is_away_stops_nothing(outside: Outside) -> None:
    """A service starts and is ready without its relay host and without its filter. Port 465 means
    TLS from the first octet."""
    outside.close()
    away = {"filter_milter": f"inet:{own_address()}:11332"}
    with Service.new(**settings(outside, 465), **away) as service:
        outside.see(service).start()
        assert service.ready()
        box = Platform.new(service).create()
        box.receive("from outside")
        box.wait_for("from outside")
        box.send(ELSEWHERE, "wrapped")
        wait_for("the queue", lambda: "Connection refused" in waits(service))
        assert diagnosis(service, "relay")[0] == "error"
        assert service.ready()
        outside.open("wrapped")
        try:
            mail_queue.flush(service)
            raw = outside.sink.wait_for("wrapped").raw
            assert f"(Authenticated sender: {USER})".encode() in raw
            assert diagnosis(service, "relay")[0] == "ok"
        finally:
            outside.open("good")
        assert service.stop() == 0


def test_other_relay_hosts(outside: Outside) -> None:
    """An address has no certificate. Without brackets, an MX record names the machine. The doctor
    says who can read the password's file."""
    with Service.new(**settings(outside, PORT)) as service:
        outside.see(service)
        service.settings["relayhost"] = f"[{outside.doors['other name']}]:{PORT}"
        level, text = diagnosis(service, "relay")
        assert (level, "nobody checks its certificate" in text) == ("warning", True), text
        outside.dns.publish(HOST, "MX", f"10 mx.{HOST}.")
        outside.dns.publish(f"mx.{HOST}", "A", outside.doors["good"])
        service.settings["relayhost"] = f"{HOST}:{PORT}"
        outside.close()
        try:
            assert diagnosis(service, "relay")[0] == "ok"
        finally:
            outside.open("good")
            outside.dns.withdraw(HOST, "MX")
        secret = Path(service.settings["relay_password_file"])
        secret.chmod(0o644)
        level, text = diagnosis(service, "settings")
        assert (level, "open to all users" in text) == ("error", True), text
        secret.write_text("\n")
        level, text = diagnosis(service, "relay")
        assert (level, "has no password in its first line" in text) == ("error", True), text


def test_without_the_package(outside: Outside) -> None:
    """The start and the doctor name it, where mail would wait for days."""
    (modules,) = {path.parent for path in Path("/usr/lib").glob("*/sasl2/libplain.so")}
    with Service.new(**settings(outside, PORT)) as service:
        hide = f'mount -t tmpfs none {modules} && exec "$@"'
        service.program = ("unshare", "--mount", "sh", "-c", hide, "sh", COMMAND)
        done = service.run("serve")
        assert done.returncode != 0
        assert "Missing: libsasl2-modules." in done.stdout + done.stderr
        assert "apt-get install libsasl2-modules" in service.run("doctor").stdout


def received(raw: bytes) -> list[str]:
    return message_from_bytes(raw).get_all("Received", [])


@pytest.mark.parametrize("over_tls", [True, False], ids=["submissions", "submission"])
def test_received_names_no_client(outside: Outside, platform: Platform, over_tls: bool) -> None:
    """Neither to a mailbox here nor to another host. The signature is good, and the field is one
    (RFC 5322, 3.6.7)."""
    alice, bob = platform.create("alice"), platform.create("bob")
    publish(outside.dns, platform)
    subject = f"private {over_tls}"
    with submission(platform.service, alice.address, alice.password, over_tls) as client:
        assert client.sock
        address = client.sock.getsockname()[0]
        client.ehlo("laptop.home.example")
        made = message(alice.address, ELSEWHERE, subject)
        client.send_message(made, alice.address, [ELSEWHERE])
        client.send_message(made, alice.address, [bob.address, f"bob+2@{platform.domain}"])
    for raw in (outside.sink.wait_for(subject).raw, bob.wait_for(subject)):
        own = received(raw)[-1]
        assert re.fullmatch(r"by mail\.postroom\.test \(Postfix\) with ESMTPSA id \w+(\s+for <[^>]+>)?;\s[^;]+", own), (
            own
        )
        assert parsedate_to_datetime(own.rpartition(";")[2])
        head = raw.partition(b"\r\n\r\n")[0].decode()
        for secret in (address, "laptop.home.example", "acct.internal", "Authenticated sender: <"):
            assert secret not in head
        assert not re.search(rf"\b{alice.id}@", head)
        assert verifies(outside.dns, raw)


def test_received_of_the_client_stays(outside: Outside, alice: Mailbox) -> None:
    """They are the path that the message had before, which ends circles."""
    fields = [
        "from a.example (unknown [192.0.2.1])\r\n\tby b.example (Postfix) with ESMTPSA id 4jd3CJ5pSMzJFqC; x",
        "from localhost by mail.postroom.test.example (Postfix) with ESMTPA id 1; x",
        "hop 3",
    ]
    raw = "".join(f"Received: {field}\r\n" for field in fields) + f"From: {alice.address}\r\nSubject: path\r\n\r\nx"
    with submission(alice.platform.service, alice.address, alice.password) as client:
        client.sendmail(alice.address, [ELSEWHERE], raw)
    found = received(outside.sink.wait_for("path").raw)
    assert [field.replace("\r\n", "\n") for field in found[-3:]] == [field.replace("\r\n", "\n") for field in fields]
    assert found[-4].startswith("by mail.postroom.test (Postfix)")


def test_received_of_scripts(outside: Outside, alice: Mailbox, bob: Mailbox) -> None:
    """What a script forwards or answers tells nothing about a client of ours. Fields of mail from
    outside stay as they are."""
    alice.put_script(b'require ["vacation", "copy"]; redirect :copy "' + ELSEWHERE.encode() + b'"; vacation "Away.";')
    deliver(alice.platform.service, ELSEWHERE, alice.address, "to forward")
    forwarded = received(outside.sink.wait_for("to forward").raw)
    assert re.match(r"from client\.example \(unknown \[127\.", forwarded[-1])
    assert forwarded[-1].replace("\r\n", "\n") == received(alice.wait_for("to forward"))[-1].replace("\r\n", "\n")
    answer = received(outside.sink.wait_for("Auto: to forward").raw)
    bob.send(alice.address, "from a neighbor")
    own = received(outside.sink.wait_for("from a neighbor").raw)
    assert own[-1].startswith("by mail.postroom.test (Postfix) with ESMTPSA")
    for field in (*answer, *own, *forwarded[:-1]):
        assert "client.example" not in field
        assert not re.search(rf"\b{alice.id}@", field)
        assert "127." not in field.replace("[127.0.0.1]", "")
