"""PostgreSQL goes away while the daemons run, and comes back: no wrong answer in the meantime, and
no restart afterwards. Also tests of passwords and ids that only PostgreSQL has."""

import os
import re
import smtplib
import subprocess
from collections.abc import Callable, Iterator
from email import message_from_bytes

import psycopg
import pytest
from psycopg import sql

from tests.harness import mail_queue, traces
from tests.harness.postgres import PostgresServer
from tests.harness.service import Service, wait_for
from tests.mail.clients import Imap, imap_login, refusal, submission
from tests.mail.platform import Mailbox, Platform
from tests.mail.test_delivery_rules import forward

SECRET = "the-owners-password"


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """Starts a PostgreSQL that asks for passwords and that a test may stop."""
    with PostgresServer.start(password=SECRET) as server:
        yield server


@pytest.fixture(scope="module")
def service(server: PostgresServer) -> Iterator[Service]:
    assert os.geteuid() == 0, "Postfix needs root: run the tests as root"
    with Service.new(database_url=server.new_database()) as new:
        new.start()
        yield new
        assert new.stop() == 0


@pytest.fixture(scope="module")
def mailbox(service: Service) -> Mailbox:
    return Platform.new(service).create()


def logs_in(mailbox: Mailbox) -> bool:
    try:
        imap_login(mailbox.platform.service, mailbox.address, mailbox.password).logout()
    except Imap.error as error:
        if "[UNAVAILABLE]" not in str(error):
            raise
        return False
    return True


def accepted(send: Callable[[], None]) -> bool:
    """Returns whether a message was accepted. A refusal at any stage must be temporary: the sending
    server tries again."""
    try:
        send()
    except smtplib.SMTPRecipientsRefused as refused:
        codes = [code for code, _ in refused.recipients.values()]
    except smtplib.SMTPResponseException as refused:
        codes = [refused.smtp_code]
    else:
        return True
    assert {code // 100 for code in codes} == {4}, codes
    return False


def submits(mailbox: Mailbox) -> bool:
    return accepted(lambda: mailbox.send(mailbox.address, "submitted"))


def receive(mailbox: Mailbox, subject: str) -> None:
    wait_for("a delivery", lambda: accepted(lambda: mailbox.receive(subject)), 5)


def takes(mailbox: Mailbox, address: str = "") -> int:
    code = refusal(mailbox.platform.service, address or mailbox.address)[0]
    assert code == 250 or code // 100 == 4 or address
    return code


def test_it_works(mailbox: Mailbox, server: PostgresServer) -> None:
    service = mailbox.platform.service
    mailbox.receive("before")
    mailbox.wait_for("before")
    open_session = mailbox.login()
    before = [service.pid(name) for name in ("api", "worker", "dovecot", "opendkim", "postfix")]
    server.stop()
    for _ in range(3):
        assert not logs_in(mailbox)
        assert not submits(mailbox)
        assert takes(mailbox) // 100 == 4
        assert takes(mailbox, f"nobody@{mailbox.platform.domain}") // 100 == 4
        assert open_session.is_open()
    server.resume()
    wait_for("logins", lambda: logs_in(mailbox), 5)
    wait_for("recipients", lambda: takes(mailbox) == 250, 5)
    wait_for("submission", lambda: submits(mailbox), 5)
    assert message_from_bytes(mailbox.wait_for("submitted"))["DKIM-Signature"]
    wait_for("a refusal", lambda: takes(mailbox, f"nobody@{mailbox.platform.domain}") == 550, 5)
    assert [service.pid(name) for name in ("api", "worker", "dovecot", "opendkim", "postfix")] == before
    wait_for("the API", service.ready)


def test_connections_that_are_cut_off_are_made_again(mailbox: Mailbox, server: PostgresServer) -> None:
    """A failover or a proxy can cut connections without a shutdown of the server."""
    wait_for("logins", lambda: logs_in(mailbox), 5)
    wait_for("recipients", lambda: takes(mailbox) == 250, 5)
    server.restart()
    wait_for("logins", lambda: logs_in(mailbox), 5)
    wait_for("recipients", lambda: takes(mailbox) == 250, 5)
    wait_for("submission", lambda: submits(mailbox), 5)


def test_a_forward_after_connections_were_cut_off(mailbox: Mailbox, server: PostgresServer) -> None:
    """The process that reads the rules connects again at its next question."""
    target = mailbox.platform.create("after")
    forward(mailbox, target.address, keep_copy=False)
    receive(mailbox, "before the cut")
    assert target.wait_for("before the cut")
    server.restart()
    receive(mailbox, "after the cut")
    assert target.wait_for("after the cut")
    forward(mailbox, enabled=False)


def test_a_delivery_waits_while_its_rules_cannot_be_read(mailbox: Mailbox) -> None:
    """Without the rules, the mail would stay in the mailbox of somebody who wants no copy there."""
    service, target = mailbox.platform.service, mailbox.platform.create("waits")
    forward(mailbox, target.address, keep_copy=False)
    with psycopg.connect(service.database_url, autocommit=True) as owner:
        role = sql.Identifier(f"{owner.info.dbname}_mail")
        owner.execute(sql.SQL("REVOKE SELECT ON mail_scripts FROM {}").format(role))
        receive(mailbox, "unread rules")
        log = service.data / "log" / "postfix.log"
        deferred = re.compile(rf"to=<{mailbox.id}@acct\.internal>.* dsn=4.2.0, status=deferred")
        wait_for("the deferred delivery", lambda: deferred.search(log.read_text()))
        assert "unread rules" not in mailbox.subjects()
        owner.execute(sql.SQL("GRANT SELECT ON mail_scripts TO {}").format(role))
    mail_queue.flush(service)
    assert target.wait_for("unread rules")
    assert "unread rules" not in mailbox.subjects()
    forward(mailbox, enabled=False)


def test_without_the_key_of_app_passwords_the_own_password_works(mailbox: Mailbox) -> None:
    data = mailbox.platform.service.data
    key, log = data / "db" / "digest.key", data / "log" / "dovecot.log"
    # The new workers have not read the key.
    reload = ["doveadm", "-c", str(data / "dovecot" / "dovecot.conf"), "reload"]
    key.rename(key.with_name("kept"))
    try:
        subprocess.run(reload, check=True)
        said = "no app password works"
        wait_for("a login of a new worker", lambda: mailbox.can_login() and said in log.read_text(errors="replace"))
    finally:
        key.with_name("kept").rename(key)
        subprocess.run(reload, check=True)


def test_a_wrong_password_is_still_wrong(mailbox: Mailbox) -> None:
    service = mailbox.platform.service
    with pytest.raises(Imap.error, match="AUTHENTICATIONFAILED"):
        imap_login(service, mailbox.address, "wrong")
    with pytest.raises(smtplib.SMTPAuthenticationError) as refused:
        submission(service, mailbox.address, "wrong")
    assert refused.value.smtp_code == 535


def test_the_passwords_of_the_database_are_nowhere_else(mailbox: Mailbox) -> None:
    service = mailbox.platform.service
    ours = (service.data / "db" / "mail_role.password").read_text().strip()
    for path, text in traces.files(service.data):
        if SECRET.encode() in text or ours.encode() in text:
            assert path.stat().st_mode & 0o777 == 0o600, path
            assert SECRET.encode() not in text, path
    started = [(path, text) for path, text in traces.processes(service) if path.name == "cmdline"]
    assert started
    assert not [path for path, text in started if SECRET.encode() in text or ours.encode() in text]
    assert SECRET not in service.said()
    assert ours not in service.said()


@pytest.mark.parametrize(
    ("name", "code"), [("{id}", 0), ("x", 1), ("{id}x", 1), ("9" * 30, 1), ("-1", 1), ("'; SELECT 1 --", 1)]
)
def test_an_id_that_is_none_is_nobodys(mailbox: Mailbox, name: str, code: int) -> None:
    """The query must not fail, because a failure would mean a 4xx forever."""
    service = mailbox.platform.service
    folder, address = service.data / "postfix", f"{name.format(id=mailbox.id)}@acct.internal"
    asked = subprocess.run(
        ["postmap", "-c", folder, "-q", address, f"pgsql:{folder}/recipients.cf"],
        env=os.environ | {"PGSERVICEFILE": str(service.data / "run" / "postfix-database.conf")},
        capture_output=True,
        text=True,
    )
    assert (asked.returncode, asked.stderr) == (code, "")


def test_doctor_looks_at_the_role_and_its_password(service: Service) -> None:
    assert "The daemons' role can read the mail views" in service.run("doctor").stdout
    file = service.data / "run" / "postfix-database.conf"
    file.chmod(0o644)
    assert f"{file} is open to others" in service.run("doctor").stdout
    file.chmod(0o600)
