"""`postroom doctor`: each diagnosis is provoked for real, a healthy instance has none, and the
doctor changes nothing. test_running_mail.py has those of running mail daemons."""

import json
import os
import signal
import socket
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from postroom.mailplane.certificate import LIFETIME, self_signed
from tests.doctor.diagnoses import has, look
from tests.harness.dns_server import DnsServer
from tests.harness.hashes import HASHES
from tests.harness.service import COMMAND, Service, wait_for
from tests.mail.platform import Platform

root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture
def service() -> Iterator[Service]:
    """An instance that was started once and is stopped."""
    with Service.new(mail="off") as new:
        new.run("keys", "create", "--organization", "o").check_returncode()
        yield new


@pytest.mark.parametrize("number", [0, 2])
def test_weak_hashes(number: int) -> None:
    with Service.new(mail="off") as service:
        service.start()
        platform = Platform.new(service)
        for name in ("a", "b")[:number]:
            body = {"domain": platform.domain, "local_part": name, "user_id": "u", "password_hash": HASHES[-1]}
            platform.call("POST", "/v2/email-accounts/create", body)
        platform.create("c")
        said = [text for _, subject, text in look(service, 0) if subject == "passwords"]
        assert [text.partition(" ")[0] for text in said] == (["2"] if number else [])


def test_another_key_of_app_passwords(service: Service) -> None:
    service.start()
    with closing(sqlite3.connect(service.data / "db" / "postroom.db", timeout=30)) as database, database:
        assert database.execute("UPDATE digest_keys SET fingerprint = 'x' RETURNING id").fetchall() == [(1,)]
    assert has(look(service, 2), "error", "app passwords", "another key", "db/digest.key")


def test_a_setup_link_without_a_public_url(service: Service) -> None:
    service.start()
    platform = Platform.new(service)
    look(service, 0)
    platform.call("POST", f"/v2/email-accounts/{platform.create().id}/setup-link", {})
    assert has(look(service, 1), "warning", "setup links", "http://127.0.0.1", "POSTROOM_PUBLIC_URL")
    service.settings["public_url"] = "https://api.example.com"
    assert not any(subject == "setup links" for _, subject, _ in look(service, 0))


def test_never_started() -> None:
    with Service.new(mail="off") as service:
        assert has(look(service, 0), "skipped", "data", "never started")
        assert not service.data.exists()


def test_a_port_is_taken(service: Service) -> None:
    with socket.create_server(("127.0.0.1", service.ports["port"])):
        assert has(look(service, 2), "error", "ports", "taken", f"ss -ltnp sport = :{service.ports['port']}")


def test_open_files(service: Service) -> None:
    path = service.data / "db" / "postroom.db"
    path.chmod(0o644)
    service.data.chmod(0o777)
    found = look(service, 2)
    assert has(found, "error", "permissions", "mode 644", f"chmod 600 {path}")
    mode = 1771 if os.geteuid() == 0 else 711
    assert has(found, "error", "permissions", "mode 777", f"chmod {mode} {service.data}")


@root
def test_a_wrong_owner(service: Service) -> None:
    os.chown(service.data / "mail", 0, 0)
    assert has(look(service, 2), "error", "permissions", "does not belong", "chown ")


def test_the_clock_went_back(service: Service) -> None:
    later = time.time() + 3600
    os.utime(service.data / "db" / "postroom.db", (later, later))
    assert has(look(service, 2), "error", "clock", "behind", "timedatectl")


@root
@pytest.mark.parametrize(
    ("options", "level", "words"), [("size=24m", "error", "MiB"), ("size=2g,nr_inodes=200", "warning", "inodes")]
)
def test_a_small_disk(service: Service, options: str, level: str, words: str) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", service.data], check=True)
    try:
        service.run("keys", "create", "--organization", "o").check_returncode()
        number = 0
        while os.statvfs(service.data).f_favail > 5 and "inodes" in options:
            (service.data / "log" / str(number)).touch()
            number += 1
        assert has(look(service, 2 if level == "error" else 1), level, "disk", words, str(service.data))
    finally:
        subprocess.run(["umount", service.data], check=True)


def test_a_damaged_database(service: Service) -> None:
    path = service.data / "db" / "postroom.db"
    content = bytearray(path.read_bytes())
    content[4096:] = os.urandom(len(content) - 4096)
    path.write_bytes(content)
    assert has(look(service, 2), "error", "database", "postroom restore")


def test_a_newer_database(service: Service) -> None:
    with sqlite3.connect(service.data / "db" / "postroom.db") as database:
        database.execute("INSERT INTO schema_migrations VALUES ('9999_future.sql', 'x', 1)")
    assert has(look(service, 2), "error", "database", "9999_future.sql")


def test_a_late_worker(service: Service) -> None:
    """A worker that hangs while a revocation is due."""
    service.start()
    worker = service.pid("worker")
    insert = "INSERT INTO session_endings (account_id, generation, due_at) SELECT id, 1, 1 FROM accounts LIMIT 1"
    with closing(sqlite3.connect(service.data / "db" / "postroom.db", timeout=30)) as database, database:
        database.execute(insert)
        # Stopped while this test holds the lock, so the worker does not hold it.
        os.kill(worker, signal.SIGSTOP)
    try:
        assert wait_for("silence", lambda: has(look(service, 2), "error", "parts", "worker", "worker.log"))
        assert has(found := look(service, 2), "error", "worker", "late")
        assert has(found, "warning", "logins", "logins go on", "nobody counts", "worker.log")
    finally:
        os.kill(worker, signal.SIGCONT)


def with_certificate(folder: Path, hostname: str, now: datetime) -> dict[str, str]:
    paths = {"tls_cert": folder / "cert.pem", "tls_key": folder / "key.pem"}
    for path, content in zip(paths.values(), self_signed(hostname, now), strict=True):
        path.write_bytes(content)
    return {name: str(path) for name, path in paths.items()}


@pytest.mark.parametrize(
    ("hostname", "made", "level", "words"),
    [
        ("mail.postroom.test", timedelta(0), "ok", "valid until"),
        ("other.test", timedelta(0), "error", "not for mail.postroom.test"),
        ("mail.postroom.test", -LIFETIME - timedelta(days=1), "error", "ended"),
        ("mail.postroom.test", -LIFETIME + timedelta(days=5), "warning", "ends"),
        ("mail.postroom.test", timedelta(days=5), "error", "valid from"),
    ],
)
def test_certificates(tmp_path: Path, hostname: str, made: timedelta, level: str, words: str) -> None:
    with Service.new(**with_certificate(tmp_path, hostname, datetime.now(UTC) + made)) as service:
        found = look(service, {"ok": 0, "warning": 1, "error": 2}[level])
        assert has(found, level, "certificate", words)


def test_unusable_certificates(tmp_path: Path) -> None:
    pair = with_certificate(tmp_path, "mail.postroom.test", datetime.now(UTC))
    with Service.new(**pair) as service:
        Path(pair["tls_key"]).write_bytes(self_signed("x.test", datetime.now(UTC))[1])
        assert has(look(service, 2), "error", "certificate", "cannot be used")
        Path(pair["tls_cert"]).write_text("nonsense")
        assert has(look(service, 2), "error", "certificate", "cannot be used")
        Path(pair["tls_cert"]).unlink()
        assert has(look(service, 2), "error", "certificate", "not there")


def test_a_self_signed_certificate_on_the_net(tmp_path: Path) -> None:
    pair = with_certificate(tmp_path, "mail.postroom.test", datetime.now(UTC))
    with Service.new(**pair, mail_host="0.0.0.0") as service:
        assert has(look(service, 1), "warning", "certificate", "self-signed")


def test_dns() -> None:
    with DnsServer.start() as dns, Service.new(hostname="mail.shop.example", resolver=dns.address) as service:
        dns.publish("shop.example", "TXT", "there")
        assert has(look(service, 2), "error", "dns", "no address", "dig mail.shop.example")
        dns.publish("mail.shop.example", "A", "192.0.2.1")
        assert has(look(service, 1), "warning", "dns", "leads back to nothing", "dig -x 192.0.2.1")
        dns.publish("1.2.0.192.in-addr.arpa", "PTR", "mail.shop.example.")
        assert has(look(service, 0), "ok", "dns", "192.0.2.1")
        dns.publish("mail.shop.example", "MX", "10 elsewhere.example.")
        assert has(look(service, 1), "warning", "dns", "MX", "elsewhere.example")
        dns.rcodes["mail.shop.example"] = "SERVFAIL"
        assert has(look(service, 1), "warning", "dns", "no answer")


@root
def test_port_25() -> None:
    with DnsServer.start() as dns, Service.new(outbound="on", resolver=dns.address) as service:
        dns.publish("mail.postroom.test", "A", "192.0.2.1")
        dns.publish("1.2.0.192.in-addr.arpa", "PTR", "mail.postroom.test.")
        assert has(look(service, 1), "warning", "port 25", "no mail exchanger")
        dns.publish("gmail.com", "MX", "5 mx.gmail.com.")
        dns.publish("mx.gmail.com", "A", "127.0.0.25")
        assert has(look(service, 2), "error", "port 25", "POSTROOM_RELAYHOST", "nc -zv mx.gmail.com 25")
        with socket.create_server(("127.0.0.25", 25)):
            assert has(look(service, 0), "ok", "port 25")


def test_a_part_is_down(service: Service) -> None:
    service.start()
    os.kill(service.pid("api"), signal.SIGSTOP)
    try:
        assert has(look(service, 2), "error", "parts", "api", "api.log")
    finally:
        os.kill(service.pid("api"), signal.SIGCONT)


@root
def test_without_root(service: Service) -> None:
    """As another user, the doctor prints no traceback and says what it cannot check."""
    environment = [f"{name}={value}" for name, value in service.environment.items() if name.startswith("POSTROOM_")]
    command = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "env", *environment]
    done = subprocess.run([*command, str(COMMAND), "doctor", "--json"], capture_output=True, text=True, cwd="/")
    assert (done.returncode, done.stderr) == (0, "")
    skipped = [row["subject"] for row in json.loads(done.stdout) if "as root" in row["text"]]
    assert skipped == ["permissions", "database"]
