"""What Dovecot reports about one mailbox: its size and its open sessions, and the end of all its
sessions."""

import smtplib
from contextlib import ExitStack
from typing import Any

import pytest

from tests.harness.service import Service, wait_for
from tests.mail.clients import HOST, Pop3, message, own_address, submission
from tests.mail.platform import Mailbox, Platform
from tests.mail.test_pools import managesieve


def ask(mailbox: Mailbox, what: str) -> Any:
    return mailbox.platform.call("GET", f"/v2/email-accounts/{mailbox.id}/{what}", None)


def sessions(mailbox: Mailbox) -> list[str]:
    return [session["protocol"] for session in ask(mailbox, "sessions")["sessions"]]


def test_it_works(platform: Platform) -> None:
    mailbox, other = platform.create(), platform.create("other")
    who: dict[str, Any] = {"id": mailbox.id, "address": mailbox.address, "forwards_by_script": False}
    who |= {"quota_bytes": None, "quota_messages": None, "over_quota": False, "sent": ask(mailbox, "usage")["sent"]}
    assert who["sent"]["recipients_today"] == 0
    assert ask(mailbox, "usage") == {**who, "used_bytes": 0, "messages": 0}
    mailbox.receive("one")
    size = len(mailbox.wait_for("one"))
    assert ask(mailbox, "usage") == {**who, "used_bytes": size, "messages": 1}
    with mailbox.login() as imap:
        imap.append("Sent", "", "", b"Subject: two\r\n\r\nHello.\r\n")
        assert ask(mailbox, "usage") == {**who, "used_bytes": size + 24, "messages": 2}
        imap.select("INBOX")
        imap.store("1", "+FLAGS", "\\Deleted")
        imap.expunge()
    assert ask(mailbox, "usage") == {**who, "used_bytes": 24, "messages": 1}
    assert ask(other, "usage")["used_bytes"] == 0


def test_sessions_of_this_account_and_no_other(platform: Platform) -> None:
    mailbox = platform.create()
    others = [platform.create(f"other{number}") for number in range(3)]
    assert ask(mailbox, "sessions") == {"id": mailbox.id, "address": mailbox.address, "sessions": []}
    open_ = [one.login() for one in (mailbox, mailbox, *others)]
    pop3 = Pop3(HOST, platform.service.ports["pop3s_port"])
    pop3.user(mailbox.address)
    pop3.pass_(mailbox.password)
    wait_for("all of its sessions", lambda: sessions(mailbox) == ["imap", "imap", "pop3"])
    addresses = {imap.socket().getsockname()[0] for imap in open_[:2]} | {pop3.sock.getsockname()[0]}
    assert {session["client_address"] for session in ask(mailbox, "sessions")["sessions"]} == addresses
    open_[0].logout()
    pop3.quit()
    wait_for("the remaining session", lambda: sessions(mailbox) == ["imap"])


def test_a_session_of_managesieve(platform: Platform) -> None:
    mailbox = platform.create()
    with ExitStack() as held:
        assert managesieve(mailbox, own_address(), held) == "OK"
        wait_for("it", lambda: sessions(mailbox) == ["managesieve"])
        platform.call("POST", f"/v2/email-accounts/{mailbox.id}/sessions/end?fields=sessions_ended", {})
        assert sessions(mailbox) == []


def test_a_sign_out_ends_all_of_them(platform: Platform) -> None:
    mailbox, other = platform.create(), platform.create("other")
    imap, theirs = mailbox.login(), other.login()
    smtp = submission(platform.service, mailbox.address, mailbox.password)
    wait_for("a session", lambda: sessions(mailbox) == ["imap"])
    answer = platform.call("POST", f"/v2/email-accounts/{mailbox.id}/sessions/end?fields=sessions_ended", {})
    assert answer == {"account": {"sessions_ended": True}}
    assert sessions(mailbox) == []
    assert not imap.is_open()
    assert theirs.is_open()
    with pytest.raises(smtplib.SMTPException):
        smtp.send_message(message(mailbox.address, other.address, "late"), mailbox.address, [other.address])
    smtp.close()
    assert mailbox.can_login()


def test_dovecot_is_away(platform: Platform, service: Service) -> None:
    """The key is wrong, so that doveadm refuses every request."""
    mailbox = platform.create()
    path, key = f"/v2/email-accounts/{mailbox.id}", service.data / "run" / "doveadm.key"
    aside = key.rename(key.with_suffix(".aside"))
    try:
        for what in ("usage", "sessions"):
            status, problem = platform.try_call("GET", f"{path}/{what}", None)
            assert (status, problem["code"]) == (503, "mail_unavailable")
            assert str(service.data) not in str(problem)
    finally:
        aside.rename(key)
    assert ask(mailbox, "usage")["messages"] == 0
