"""Mail continues without the API, the settings take effect, and SQLite may fail."""

import os
import shutil
import socket
import sqlite3
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest

from postroom.mailplane.certificate import self_signed
from tests.harness.service import Service, wait_for
from tests.mail.clients import Imap, refusal, submission, tls
from tests.mail.platform import Mailbox, Platform
from tests.mail.test_outage import logs_in


@pytest.fixture
def lone() -> Iterator[Service]:
    """Starts a service that a test may stop and start."""
    with Service.new() as new:
        yield new


@pytest.fixture(scope="module")
def mailbox() -> Iterator[Mailbox]:
    """Returns an account of a service without the API."""
    with Service.new() as service:
        made = Platform.new(service.start()).create()
        assert service.stop() == 0
        assert {path.name for path in (service.data / "db").iterdir()} == {
            "digest.key",
            "postroom.db",
            "postroom.db-lock",
            "postroom.db-turn",
        }
        service.launch("--only", "mail")
        wait_for("Dovecot and Postfix", lambda: _answers(service, "imaps_port") and _answers(service, "smtp_port"))
        nobody = f"nobody@{made.platform.domain}"
        wait_for("the milter", lambda: refusal(service, nobody)[0] // 100 == 5)
        yield made
        assert service.stop() == 0


def test_mail_goes_on_while_the_api_is_stopped(mailbox: Mailbox) -> None:
    """Without the API, no process keeps the database's -wal and -shm files, so the daemons must
    create them."""
    service = mailbox.platform.service
    assert refusal(service, f"nobody@{mailbox.platform.domain}")[0] == 550
    mailbox.receive("without the API")
    assert mailbox.wait_for("without the API")
    mailbox.send(mailbox.address, "sent without the API")
    assert mailbox.wait_for("sent without the API")
    owner = (service.data / "db").stat().st_uid
    assert {path.stat().st_uid for path in (service.data / "db").iterdir()} == {owner}


def test_a_look_up_ends_its_read(mailbox: Mailbox) -> None:
    """Otherwise no checkpoint could empty the log (WAL), which would grow as long as nobody else
    logs in."""
    path = mailbox.platform.service.data / "db" / "postroom.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as writer:
        mailbox.receive("a look-up of a delivery")
        assert mailbox.wait_for("a look-up of a delivery")
        writer.execute("UPDATE accounts SET updated_at = updated_at + 1")
        emptied = "PRAGMA wal_checkpoint(TRUNCATE)"
        wait_for("an empty log", lambda: writer.execute(emptied).fetchone() == (0, 0, 0), 5)


def is_refused(mailbox: Mailbox) -> bool:
    """False also where a reload has cut the connection."""
    with suppress(Imap.abort):
        return not logs_in(mailbox)
    return False


def test_without_a_database_a_login_fails_for_now(mailbox: Mailbox) -> None:
    """A database that is not there or is damaged makes no password wrong."""
    data = mailbox.platform.service.data
    folder, aside = data / "db", data / "aside"
    folder.rename(aside)
    try:
        # The new workers have no connection.
        subprocess.run(["doveadm", "-c", str(data / "dovecot" / "dovecot.conf"), "reload"], check=True)
        wait_for("a login of a new worker", lambda: is_refused(mailbox))
        folder.mkdir()
        (folder / "postroom.db").write_bytes(b"not a database " * 1000)
        for path in (folder, folder / "postroom.db"):
            os.chown(path, aside.stat().st_uid, aside.stat().st_gid)
        assert not logs_in(mailbox)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        aside.rename(folder)
    assert mailbox.can_login()
    with pytest.raises(Imap.error, match="AUTHENTICATIONFAILED"):
        mailbox.login("wrong")


def test_a_mailbox_outlives_a_restart(lone: Service) -> None:
    mailbox = Platform.new(lone.start()).create()
    mailbox.receive("kept")
    mailbox.wait_for("kept")
    assert lone.stop() == 0
    of_an_earlier_version = [lone.data / "dovecot" / name for name in ("sql.conf.ext", "refused.conf.ext")]
    for path in of_an_earlier_version:
        path.touch()
    lone.start()
    assert not [path for path in of_an_earlier_version if path.exists()]
    assert mailbox.subjects() == ["kept"]
    assert "pr_" not in lone.said(), "the API key is shown at the first start only"


@pytest.fixture
def certificate() -> Iterator[tuple[Path, Path]]:
    """Returns an operator's certificate whose key only root can read."""
    with Service.new() as scratch:
        folder = scratch.data.parent
        cert, key = folder / "cert.pem", folder / "key.pem"
        certificate_pem, key_pem = self_signed("mail.own.example", datetime.now(UTC))
        cert.write_bytes(certificate_pem)
        key.write_bytes(key_pem)
        key.chmod(0o600)
        yield cert, key


def test_settings_reach_the_daemons(certificate: tuple[Path, Path]) -> None:
    cert, key = certificate
    settings = {
        "mail_host": "127.0.0.1,::1",
        "hostname": "mail.own.example",
        "outbound": "on",
        "message_size": "100000",
        "tls_cert": str(cert),
        "tls_key": str(key),
    }
    with Service.new(**settings) as service:
        mailbox = Platform.new(service.start()).create()
        for address in ("127.0.0.1", "::1"):
            for port in ("imaps_port", "submissions_port"):
                assert _served_certificate(address, service.ports[port]) == ssl.PEM_cert_to_DER_cert(cert.read_text())
            with socket.create_connection((address, service.ports["smtp_port"])) as client:
                assert client.recv(1024).startswith(b"220 mail.own.example ESMTP")
        with submission(service, mailbox.address, mailbox.password) as client:
            client.ehlo()
            assert client.esmtp_features["size"] == "100000"
            client.mail(mailbox.address)
            assert client.rcpt("someone@elsewhere.example")[0] == 250
        assert service.stop() == 0


def test_no_password_and_no_key_reaches_a_log(lone: Service) -> None:
    platform = Platform.new(lone.start())
    old = platform.create("alice", password="the old secret passphrase 1")
    new = old.reset()
    new.send(new.address)
    assert not old.can_login()
    assert new.wait_for("hello")
    assert lone.stop() == 0
    text = b"".join(path.read_bytes() for path in (lone.data / "log").iterdir()) + os.fsencode(lone.said())
    for secret in (old.password, new.password, platform.key):
        assert secret.encode() not in text


def _answers(service: Service, port: str) -> bool:
    try:
        socket.create_connection(("127.0.0.1", service.ports[port])).close()
    except ConnectionRefusedError:
        return False
    return True


def _served_certificate(address: str, port: int) -> bytes | None:
    with socket.create_connection((address, port)) as plain, tls().wrap_socket(plain) as client:
        return client.getpeercert(binary_form=True)
