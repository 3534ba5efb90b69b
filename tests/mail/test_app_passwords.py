"""App passwords over real IMAP, POP3, submission and ManageSieve, on both engines."""

import os
import signal
import smtplib
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.harness import traces
from tests.harness.service import wait_for
from tests.harness.stopped_worker import stop_the_worker
from tests.mail.clients import HOST, Imap, submission, tls
from tests.mail.platform import Mailbox
from tests.mail.sessions import PROTOCOLS, Session, works

# Letters that mean something in SQL, in Lua or to Dovecot's variables, and one of several bytes.
LETTERS = ("'", "\\", "%", ";", "\u00e9")
POSITIONS = 13


def create(mailbox: Mailbox, **fields: Any) -> tuple[int, str]:
    """Makes an app password. Returns its id and the password."""
    body = {"name": "phone", "scopes": list(PROTOCOLS)} | fields
    answer = mailbox.platform.call("POST", f"/v2/email-accounts/{mailbox.id}/app-passwords/create", body)
    return answer["app_password"]["id"], answer["password"]


def delete(mailbox: Mailbox, credential_id: int) -> Any:
    path = f"/v2/email-accounts/{mailbox.id}/app-passwords/delete"
    return mailbox.platform.call("POST", path, {"id": credential_id})["deleted"]


def listed(mailbox: Mailbox) -> list[Any]:
    found: list[Any] = mailbox.platform.call("GET", f"/v2/email-accounts/{mailbox.id}/app-passwords", None)[
        "app_passwords"
    ]
    return found


def test_it_works(alice: Mailbox) -> None:
    _, whole = create(alice)
    _, only_read = create(alice, name="reader", scopes=["pop3", "imap"])
    assert works(alice, whole) == list(PROTOCOLS)
    assert works(alice, only_read) == ["imap", "pop3"]
    assert works(alice, alice.password) == list(PROTOCOLS)
    used = wait_for("the last uses", lambda: [one for one in listed(alice) if one["last_used_protocol"]][1:])
    assert used[0]["last_used_protocol"] in ("imap", "pop3")
    assert used[0]["last_used_at"] > used[0]["created_at"][:19]


def test_networks_and_expiry(alice: Mailbox) -> None:
    _, elsewhere = create(alice, networks=["192.0.2.0/24", "2001:db8::/32"])
    _, here = create(alice, networks=["192.0.2.7", "127.0.0.0/8"])
    short, password = create(alice, expires_at=(datetime.now(UTC) + timedelta(hours=1)).isoformat())
    session = Session(alice, "imap", password)
    assert works(alice, elsewhere) == []
    assert works(alice, here) == list(PROTOCOLS)
    alice.platform.sql("UPDATE app_passwords SET expires_at = 1 WHERE id = :id RETURNING id", id=short)
    wait_for("the expiry", lambda: short not in [one["id"] for one in listed(alice)])
    wait_for("the end of its session", lambda: not session.is_open())
    assert works(alice, password) == []


def test_an_expired_one_is_refused_without_the_worker(alice: Mailbox) -> None:
    credential_id, password = create(alice)
    worker = stop_the_worker(alice.platform.service)
    try:
        alice.platform.sql("UPDATE app_passwords SET expires_at = 1 WHERE id = :id RETURNING id", id=credential_id)
        assert works(alice, password) == []
        assert len(listed(alice)) == 1
    finally:
        os.kill(worker, signal.SIGCONT)


def test_deleting_one_ends_its_sessions_and_no_others(alice: Mailbox) -> None:
    credential_id, lost = create(alice, name="lost phone")
    _, kept = create(alice, name="laptop")
    ended = {protocol: Session(alice, protocol, lost) for protocol in PROTOCOLS}
    others = [Session(alice, protocol, password) for protocol in PROTOCOLS for password in (kept, alice.password)]
    assert delete(alice, credential_id) == {"id": credential_id, "name": "lost phone", "sessions_ended": True}
    assert [protocol for protocol in PROTOCOLS if ended[protocol].is_open()] == []
    assert all(session.is_open() for session in others)
    assert works(alice, lost) == []
    assert works(alice, kept) == list(PROTOCOLS)


def test_suspension_reset_and_restore(alice: Mailbox) -> None:
    _, password = create(alice)
    _, reader = create(alice, name="reader", scopes=["imap"])
    _, elsewhere = create(alice, name="elsewhere", networks=["192.0.2.0/24"])
    session = Session(alice, "imap", password)
    alice.update(status="suspended")
    assert not session.is_open()
    assert works(alice, password) == []
    with pytest.raises(smtplib.SMTPAuthenticationError, match="This account is suspended"):
        submission(alice.platform.service, alice.address, password)
    for other in (reader, elsewhere):  # the answer to a wrong password
        with pytest.raises(smtplib.SMTPAuthenticationError) as refused:
            submission(alice.platform.service, alice.address, other)
        assert b"suspended" not in refused.value.smtp_error
    alice.update(status="active")
    session = Session(alice, "imap", password)
    alice.reset()
    assert not session.is_open()
    assert works(alice, password) == list(PROTOCOLS)
    alice.delete()
    assert works(alice, password) == []
    alice.platform.call("POST", f"/v2/email-accounts/{alice.id}/restore", {})
    session = Session(alice, "imap", password)
    alice.platform.call("POST", f"/v2/email-accounts/{alice.id}/password/reset", {"revoke_app_passwords": True})
    assert not session.is_open()
    assert works(alice, password) == []


def says(mailbox: Mailbox, password: str) -> str:
    """Returns what IMAP answers to a login with any letters."""
    imap = Imap(HOST, mailbox.platform.service.ports["imaps_port"], ssl_context=tls())
    try:
        _, text = imap.authenticate("PLAIN", lambda _: f"\0{mailbox.address}\0{password}".encode())
        return str(text[0])
    except Imap.error as error:
        return str(error)
    finally:
        imap.shutdown()


def test_letters_that_mean_something(alice: Mailbox) -> None:
    """At every place around the ten digits that are cut out of the digest."""
    _, password = create(alice)
    wrong = [password[:at] + letter + password[at + 1 :] for at in range(POSITIONS) for letter in LETTERS]
    with ThreadPoolExecutor(16) as pool:
        answers = set(pool.map(lambda one: says(alice, one), wrong))
    assert len(answers) == 1
    assert "AUTHENTICATIONFAILED" in answers.pop()
    phrase = "violet harbor sings"
    singles = [phrase[:at] + "'" + phrase[at + 1 :] for at in range(POSITIONS)]
    mixed = [
        "".join(LETTERS[(at + by) % len(LETTERS)] for at in range(POSITIONS)) + phrase for by in range(len(LETTERS))
    ]
    for chosen in [*singles, *mixed]:
        body = {"password": chosen}
        alice.platform.call("POST", f"/v2/email-accounts/{alice.id}/password/reset", body)
        assert "Logged in" in says(alice, chosen), chosen


def test_the_key_of_the_digests_is_secret(alice: Mailbox) -> None:
    """It is in no other file, and nobody but the system user and root can read this one."""
    data = alice.platform.service.data
    path = data / "db" / "digest.key"
    key = path.read_bytes().strip()
    assert [path for path, content in traces.files(data) if key in content] == [path]
    assert path.stat().st_mode & 0o777 == 0o600
