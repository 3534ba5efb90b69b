"""Delete, restore and purge with real daemons, and the worker's repetition of revocations that
Dovecot missed."""

import os
import signal
import smtplib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.harness.service import RETRIED, Service, wait_for
from tests.mail.clients import message, refusal, submission
from tests.mail.platform import Mailbox, Platform

FILES = 20_000


def events(mailbox: Mailbox) -> list[str]:
    found = mailbox.platform.call("GET", f"/v2/events?account_id={mailbox.id}", None)["items"]
    return [event["type"] for event in found]


def restore(mailbox: Mailbox) -> tuple[int, Any]:
    return mailbox.platform.try_call("POST", f"/v2/email-accounts/{mailbox.id}/restore", {})


def purge(mailbox: Mailbox) -> None:
    mailbox.platform.call("POST", "/v2/email-accounts/delete", {"id": mailbox.id, "purge": True})


def test_a_restored_account_has_its_password_and_its_mail(platform: Platform) -> None:
    mailbox = platform.create()
    mailbox.receive("before")
    mailbox.wait_for("before")
    mailbox.delete()
    assert not mailbox.can_login()
    assert refusal(platform.service, mailbox.address)[0] == 550
    assert restore(mailbox)[0] == 200
    assert mailbox.subjects() == ["before"]
    mailbox.receive("after")
    mailbox.wait_for("after")
    mailbox.send(mailbox.address, "to myself")
    mailbox.wait_for("to myself")


def test_a_restored_account_stays_suspended(platform: Platform) -> None:
    mailbox = platform.create()
    mailbox.update(status="suspended")
    mailbox.delete()
    assert restore(mailbox)[1]["account"]["status"] == "suspended"
    assert not mailbox.can_login()
    mailbox.update(status="active")
    assert mailbox.can_login()


def test_a_taken_address_is_empty_and_its_old_account_stays_deleted(platform: Platform) -> None:
    mailbox = platform.create()
    mailbox.receive("private")
    mailbox.wait_for("private")
    mailbox.delete()
    again = platform.create()
    assert restore(mailbox)[0] == 409
    assert again.subjects() == []
    assert not again.can_login(mailbox.password)


def test_after_a_purge_the_folder_is_gone_and_nothing_else(platform: Platform) -> None:
    mailbox, other = platform.create("alice"), platform.create("bob")
    for box in (mailbox, other):
        box.receive("hello")
        box.wait_for("hello")
    imap = mailbox.login()
    purge(mailbox)
    assert not imap.is_open()
    wait_for("the purge", lambda: events(mailbox)[-1] == "account.purged")
    assert not mailbox.home.exists()
    assert restore(mailbox)[0] == 404
    assert other.subjects() == ["hello"]
    assert platform.create("alice").subjects() == []


def test_a_grace_that_is_over_ends_in_a_purge(platform: Platform) -> None:
    mailbox = platform.create()
    mailbox.receive("hello")
    mailbox.wait_for("hello")
    mailbox.delete()
    wait_for("the last revocation", lambda: not platform.sql(ENDINGS, id=mailbox.id))
    assert mailbox.home.exists()
    platform.sql("UPDATE accounts SET purge_at = 1 WHERE id = :id", id=mailbox.id)
    wait_for("the purge", lambda: events(mailbox)[-1] == "account.purged")
    assert not mailbox.home.exists()


def test_an_erasing_that_is_killed_goes_on(platform: Platform) -> None:
    mailbox, other = platform.create("alice"), platform.create("bob")
    for box in (mailbox, other):
        box.receive("hello")
        box.wait_for("hello")
    new, owner = mailbox.home / "Maildir" / "new", mailbox.home.stat()
    for number in range(FILES):
        path = new / f"{number}.M{number}P1.host"
        path.write_text("Subject: x\n\nx\n")
        os.chown(path, owner.st_uid, owner.st_gid)
    outside = platform.service.data.parent / "outside"
    outside.mkdir(exist_ok=True)
    (outside / "kept").write_text("kept")
    (mailbox.home / "Maildir" / "link").symlink_to(outside)
    purge(mailbox)
    wait_for("a part to be erased", lambda: _files(mailbox) < FILES)
    before = platform.service.pid("worker")
    os.kill(before, signal.SIGKILL)
    assert mailbox.home.exists()
    assert "account.purged" not in events(mailbox)
    wait_for("the purge", lambda: events(mailbox)[-1] == "account.purged", RETRIED)
    assert platform.service.pid("worker") != before
    assert not mailbox.home.exists()
    assert (outside / "kept").read_text() == "kept"
    assert other.subjects() == ["hello"]


def _files(mailbox: Mailbox) -> int:
    return sum(len(files) for _, _, files in os.walk(mailbox.home))


ACTS: dict[str, Callable[[Mailbox], Any]] = {
    "reset": lambda m: _call(m, "POST", f"/v2/email-accounts/{m.id}/password/reset?fields=*", {}),
    "suspend": lambda m: _call(m, "PUT", f"/v2/email-accounts/{m.id}?fields=*", {"status": "suspended"}),
    "disable": lambda m: _call(m, "PUT", f"/v2/email-accounts/{m.id}?fields=*", {"status": "disabled"}),
    "delete": lambda m: _call(m, "POST", "/v2/email-accounts/delete?fields=*", {"id": m.id}),
}


def _call(mailbox: Mailbox, method: str, path: str, body: Any) -> Any:
    answer = mailbox.platform.call(method, path, body)
    return (answer.get("account") or answer["deleted"])["sessions_ended"]


@contextmanager
def doveadm_refuses(service: Service) -> Iterator[None]:
    """Dovecot runs and accepts logins but refuses doveadm requests, because their key is wrong."""
    key = service.data / "run" / "doveadm.key"
    right = key.read_text()
    key.write_text("wrong\n")
    try:
        yield
    finally:
        key.write_text(right)


def test_sessions_that_could_not_be_ended_are_ended_later(platform: Platform) -> None:
    boxes = {act: platform.create(act) for act in ACTS}
    sessions = {act: box.login() for act, box in boxes.items()}
    with doveadm_refuses(platform.service):
        for act, box in boxes.items():
            assert ACTS[act](box) is False, act
            assert not box.can_login(), act
            assert sessions[act].is_open(), act
            assert events(box)[-1] == "account.sessions_pending"
    for act, box in boxes.items():
        wait_for(f"the end of the session after {act}", lambda act=act: not sessions[act].is_open())
        wait_for("its event", lambda box=box: events(box)[-1] == "account.sessions_ended")


def imap_processes(service: Service) -> list[int]:
    """Returns the IMAP processes, which are children of Dovecot's master. Each serves a session."""
    master, found = service.pid("dovecot"), []
    for pid in Path(f"/proc/{master}/task/{master}/children").read_text().split():
        with suppress(FileNotFoundError, ProcessLookupError):  # one that has ended
            if Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"dovecot-postroom/imap\0"):
                found.append(int(pid))
    return found


def test_a_session_that_does_not_go_is_not_called_ended(platform: Platform) -> None:
    """A kick is a signal. A session that has not obeyed the signal yet has not ended."""
    mailbox = platform.create()
    session = mailbox.login()
    held = imap_processes(platform.service)
    assert held
    for pid in held:
        os.kill(pid, signal.SIGSTOP)
    try:
        assert ACTS["reset"](mailbox) is False
    finally:
        for pid in held:
            os.kill(pid, signal.SIGCONT)
    wait_for("the end of the session", lambda: not session.is_open())
    wait_for("the event", lambda: events(mailbox)[-1] == "account.sessions_ended")


def test_dovecot_was_away(platform: Platform) -> None:
    """Dovecot's master and all of its processes are stopped, so that none answers."""
    mailbox = platform.create()
    master = platform.service.pid("dovecot")
    group = os.getpgid(master)
    os.killpg(group, signal.SIGSTOP)
    try:
        assert ACTS["reset"](mailbox) is False
    finally:
        os.killpg(group, signal.SIGCONT)
    assert not mailbox.can_login()
    wait_for("the event", lambda: events(mailbox)[-1] == "account.sessions_ended")


@pytest.mark.parametrize("act", ACTS)
def test_an_smtp_session_that_had_authenticated_sends_nothing_more(platform: Platform, act: str) -> None:
    mailbox, friend = platform.create("alice"), platform.create("bob")
    idle = submission(platform.service, mailbox.address, mailbox.password)
    busy = submission(platform.service, mailbox.address, mailbox.password)
    busy.mail(mailbox.address)
    busy.rcpt(friend.address)
    assert ACTS[act](mailbox) is True
    assert busy.data(message(mailbox.address, friend.address, "too late").as_bytes())[0] == 421
    with pytest.raises((smtplib.SMTPResponseException, smtplib.SMTPRecipientsRefused)) as refused:
        idle.send_message(message(mailbox.address, friend.address, "too late"), mailbox.address, [friend.address])
    assert "421" in str(refused.value)
    with pytest.raises(smtplib.SMTPAuthenticationError):
        submission(platform.service, mailbox.address, mailbox.password)
    assert friend.subjects() == []


ENDINGS = "SELECT id FROM session_endings WHERE account_id = :id"
