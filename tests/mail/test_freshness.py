"""What the API answers is true for the daemons at that moment: the next LOGIN, the next RCPT,
the open sessions."""

import smtplib
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.harness.service import wait_for
from tests.mail.clients import HOST, Imap, Pop3, message, refusal, submission
from tests.mail.platform import Mailbox, Platform

PASSWORDS = [{}, {"password": "correct horse battery staple"}, {"password": "Zwölf Boxkämpfer ☃ jagen"}]


def test_it_works(platform: Platform) -> None:
    alice, bob = platform.create("alice"), platform.create("bob")
    alice.receive("welcome")
    assert alice.wait_for("welcome")
    alice.send(bob.address, "from alice")
    assert bob.wait_for("from alice")


def test_a_created_account_works_at_the_first_try(platform: Platform) -> None:
    for number in range(10):
        mailbox = platform.create(f"user{number}")
        assert mailbox.subjects() == []
        assert refusal(platform.service, mailbox.address)[0] == 250


@pytest.mark.parametrize("password", PASSWORDS, ids=["generated", "chosen", "not ASCII"])
def test_every_kind_of_password_works(platform: Platform, password: dict[str, str]) -> None:
    mailbox = platform.create(**password)
    with submission(platform.service, mailbox.address, mailbox.password) as client:
        assert client.noop()[0] == 250
    pop3 = Pop3(HOST, platform.service.ports["pop3s_port"])
    pop3.user(mailbox.address)
    assert pop3.pass_(mailbox.password).startswith(b"+OK")
    pop3.quit()


def test_reset_ends_the_old_password_and_its_sessions(platform: Platform) -> None:
    old = platform.create()
    imap = old.login()
    new = old.reset()
    assert not imap.is_open()
    assert not old.can_login()
    assert new.can_login()
    with pytest.raises(smtplib.SMTPAuthenticationError):
        submission(platform.service, old.address, old.password)


def test_a_session_that_has_just_been_opened_ends_too(platform: Platform) -> None:
    mailbox = platform.create()
    for _ in range(30):
        imap = mailbox.login()
        mailbox = mailbox.reset()
        assert not imap.is_open()


def test_sessions_that_end_at_the_same_time_end_each(platform: Platform) -> None:
    """They share a question to doveadm, and no answer is sent before its own sessions are gone."""
    mailboxes = [platform.create(f"user{number}") for number in range(12)]
    kept = platform.create("kept").login()

    def ends(mailbox: Mailbox) -> list[bool]:
        sessions = [mailbox.login(), mailbox.login()]
        gate.wait(30)
        mailbox.reset()
        return [imap.is_open() for imap in sessions]

    gate = threading.Barrier(len(mailboxes))
    with ThreadPoolExecutor(len(mailboxes)) as pool:
        assert list(pool.map(ends, mailboxes)) == [[False, False]] * len(mailboxes)
    assert kept.is_open()


def test_a_session_of_the_new_password_outlives_the_second_ending(platform: Platform) -> None:
    mailbox = platform.create().reset()
    imap = mailbox.login()
    wait_for("the worker's second ending", lambda: _due_endings(platform) == 0)
    assert imap.is_open()


def test_a_login_under_way_at_the_reset_is_ended_by_the_worker(platform: Platform) -> None:
    """Played by a session that the first ending cannot see: it is made from the row alone."""
    mailbox = platform.create()
    imap = mailbox.login()
    platform.sql("INSERT INTO session_endings (account_id, generation, due_at) VALUES (:id, 1, 0)", id=mailbox.id)
    wait_for("the end of the session", lambda: not imap.is_open())


def test_an_smtp_session_that_had_authenticated_is_cut_off(platform: Platform) -> None:
    mailbox, friend = platform.create("alice"), platform.create("bob")
    client = submission(platform.service, mailbox.address, mailbox.password)
    mailbox.reset()
    with pytest.raises((smtplib.SMTPResponseException, smtplib.SMTPRecipientsRefused)) as refused:
        client.send_message(message(mailbox.address, friend.address, "too late"), mailbox.address, [friend.address])
    assert "421" in str(refused.value)
    with pytest.raises(smtplib.SMTPServerDisconnected):
        client.noop()


def test_a_message_that_was_being_sent_at_the_reset_is_refused(platform: Platform) -> None:
    mailbox, friend = platform.create("alice"), platform.create("bob")
    client = submission(platform.service, mailbox.address, mailbox.password)
    client.mail(mailbox.address)
    client.rcpt(friend.address)
    mailbox.reset()
    code, text = client.data(message(mailbox.address, friend.address, "too late").as_bytes())
    assert (code, text[:5]) == (421, b"4.7.0")
    assert friend.subjects() == []


@pytest.mark.parametrize("status", ["suspended", "disabled"])
def test_who_is_not_active_cannot_log_in_or_send(platform: Platform, status: str) -> None:
    mailbox = platform.create()
    imap = mailbox.login()
    client = submission(platform.service, mailbox.address, mailbox.password)
    mailbox.update(status=status)
    assert not imap.is_open()
    assert not mailbox.can_login()
    with pytest.raises((smtplib.SMTPResponseException, smtplib.SMTPRecipientsRefused)):
        client.send_message(message(mailbox.address, mailbox.address, "no"), mailbox.address, [mailbox.address])
    with pytest.raises(smtplib.SMTPAuthenticationError):
        submission(platform.service, mailbox.address, mailbox.password)


def test_suspended_still_receives_and_resumes_with_all_mail(platform: Platform) -> None:
    mailbox = platform.create()
    mailbox.receive("before")
    mailbox.wait_for("before")
    mailbox.update(status="suspended")
    mailbox.receive("meanwhile")
    mailbox.update(status="active")
    assert mailbox.wait_for("meanwhile")
    assert mailbox.subjects() == ["before", "meanwhile"]


@pytest.mark.parametrize("status", ["suspended", "disabled"])
def test_a_user_who_is_refused_is_told_why(platform: Platform, status: str) -> None:
    """Only after the right password: to anyone else such an account is like one that does not
    exist."""
    mailbox = platform.create()
    mailbox.update(status=status)
    with pytest.raises(Imap.error, match=f"This account is {status}"):
        mailbox.login()
    with pytest.raises(smtplib.SMTPAuthenticationError, match=f"This account is {status}"):
        submission(platform.service, mailbox.address, mailbox.password)
    for address, password in ((mailbox.address, "wrong"), (f"nobody@{platform.domain}", "wrong")):
        with pytest.raises(smtplib.SMTPAuthenticationError, match="reason unavailable"):
            submission(platform.service, address, password)


def test_disabled_is_refused_and_comes_back(platform: Platform) -> None:
    mailbox = platform.create()
    mailbox.update(status="disabled")
    code, text = refusal(platform.service, mailbox.address)
    assert (code, text[:5]) == (550, "5.2.1")
    local_part, domain = mailbox.address.split("@")
    for local in ("{0}+tag", "{0}+", "{0}+a+b", '"{0}"', '"{0}+a b"'):
        to = f"{local.format(local_part)}@{domain}"
        for spelled in (to, to.upper()):
            code, text = refusal(platform.service, spelled)
            assert (spelled, code, text[:5]) == (spelled, 550, "5.2.1")
    mailbox.update(status="active")
    assert refusal(platform.service, mailbox.address)[0] == 250
    assert mailbox.can_login()


def test_disabled_is_refused_at_submission_too(platform: Platform) -> None:
    mailbox, friend = platform.create("alice"), platform.create("bob")
    friend.update(status="disabled")
    with submission(platform.service, mailbox.address, mailbox.password) as client:
        client.mail(mailbox.address)
        assert client.rcpt(friend.address)[0] == 550


def test_delete_acts_at_once(platform: Platform) -> None:
    mailbox = platform.create()
    imap = mailbox.login()
    mailbox.delete()
    assert not imap.is_open()
    assert not mailbox.can_login()
    code, text = refusal(platform.service, mailbox.address)
    assert (code, text[:5]) == (550, "5.1.1")
    assert platform.try_call("POST", "/v2/email-accounts/delete", {"id": mailbox.id})[0] == 404


def test_other_sessions_stay_open(platform: Platform) -> None:
    mailbox, other = platform.create("alice"), platform.create("bob")
    imap = other.login()
    for end in (mailbox.reset, lambda: mailbox.update(status="suspended"), mailbox.delete):
        end()
        assert imap.is_open()


def test_a_suspended_domain_keeps_its_mail(platform: Platform) -> None:
    mailbox = platform.create()
    suspend = ("domains", "suspend", platform.domain, "--organization", platform.organization)
    platform.service.run(*suspend).check_returncode()
    mailbox.receive("still here")
    assert mailbox.wait_for("still here")
    body = {"domain": platform.domain, "local_part": "another", "user_id": "u"}
    assert platform.try_call("POST", "/v2/email-accounts/create", body)[0] == 409
    assert mailbox.reset().can_login()


def _due_endings(platform: Platform) -> int:
    return int(platform.sql("SELECT COUNT(*) FROM session_endings")[0][0])
